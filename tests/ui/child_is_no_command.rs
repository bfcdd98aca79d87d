use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

struct Plain;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Plain).await?;
        Ok(())
    }
}

fn main() {}
