use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling)]
struct Reboot;

impl Execute for Reboot {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Polling for Reboot {
    async fn poll(&mut self, _: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Ready)
    }
}

fn main() {}
