use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(retry(5))]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 5; backoff = "1s"))]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry = 5)]
struct WipeDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = "5", backoff = 10, max_backoff))]
struct GrowDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = ))]
struct ShrinkDisk;

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

does_nothing!(MoveDisk, CopyDisk, WipeDisk, GrowDisk, ShrinkDisk);

fn main() {}
