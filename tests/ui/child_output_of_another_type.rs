use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Leaf;

impl Execute for Leaf {
    type Output = u64;

    async fn execute(&mut self, _: &Context<Self>) -> Result<u64> {
        Ok(7)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.child(Leaf).await
    }
}

fn main() {}
