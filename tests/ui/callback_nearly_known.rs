use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChild)]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildern)]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling<3>)]
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
