use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 5, backoff = "1m", max_backoff = "10s"))]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 5, backoff = "10m"))]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 5, max_backoff = "500ms"))]
struct WipeDisk;

macro_rules! does_nothing {
    ($($command:ty),*) => {$(
        impl Execute for $command {
            type Output = ();

            async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

does_nothing!(MoveDisk, CopyDisk, WipeDisk);

fn main() {}
