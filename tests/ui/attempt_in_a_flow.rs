use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let _: u32 = cx.attempt();
        Ok(())
    }
}

fn main() {}
