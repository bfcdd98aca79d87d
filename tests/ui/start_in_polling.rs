use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Leaf;

impl Execute for Leaf {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling)]
struct Reboot;

impl Execute for Reboot {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(Leaf);
        Ok(())
    }
}

impl Polling for Reboot {
    async fn poll(&mut self, _: &mut (), _: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Ready)
    }
}

fn main() {}
