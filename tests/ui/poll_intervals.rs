use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "1m", max = "10s"))]
struct MoveDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "11s"))]
struct CopyDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(max = "500ms"))]
struct WipeDisk;

macro_rules! does_nothing {
    ($($command:ty),*) => {$(
        impl Execute for $command {
            type Output = ();

            async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
                Ok(())
            }
        }

        impl Polling for $command {
            async fn poll(&mut self, _: &mut (), _: &Context<Self>) -> Result<Poll> {
                Ok(Poll::Ready)
            }
        }
    )*};
}

does_nothing!(MoveDisk, CopyDisk, WipeDisk);

fn main() {}
