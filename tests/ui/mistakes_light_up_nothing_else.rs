use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lok = Execution)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Leaf).await
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "Leaf")]
struct Leaf;

impl Execute for Leaf {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
