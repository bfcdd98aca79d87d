use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(retry(backoff = "2s"))]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 0))]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 1))]
struct WipeDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 5000))]
struct GrowDisk;

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

does_nothing!(MoveDisk, CopyDisk, WipeDisk, GrowDisk);

fn main() {}
