use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.once("reach", async |_| Ok(())).await
    }
}

fn main() {}
