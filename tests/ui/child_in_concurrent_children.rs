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
#[command(callback = ConcurrentChildren)]
struct UpgradeAll;

impl Execute for UpgradeAll {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Leaf).await
    }
}

impl ConcurrentChildren for UpgradeAll {}

fn main() {}
