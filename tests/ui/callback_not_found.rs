use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = AnyOf)]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = callbacks::AnyOf)]
struct CopyDisk;

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

does_nothing!(MoveDisk, CopyDisk);

fn main() {}
