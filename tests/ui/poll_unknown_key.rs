use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(evry = "1s", maximum = "10s"))]
struct MoveDisk;

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

does_nothing!(MoveDisk);

fn main() {}
