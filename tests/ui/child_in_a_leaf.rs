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
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Leaf).await
    }
}

fn main() {}
