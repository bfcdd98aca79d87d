use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "")]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "30")]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "soon")]
struct WipeDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "5min")]
struct GrowDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "30m1h")]
struct ShrinkDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "400d")]
struct CheckDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "0.0001ms")]
struct MountDisk;

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

does_nothing!(MoveDisk, CopyDisk, WipeDisk, GrowDisk, ShrinkDisk, CheckDisk, MountDisk);

fn main() {}
