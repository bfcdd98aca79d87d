use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(poll(every = "1s"))]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, poll(every = "1s"))]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, poll(every = "1s"))]
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

impl ConcurrentChildren for WipeDisk {}

fn main() {}
