use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

struct Storage;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(Storage))]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let _: &Storage = cx.get::<Storage>();
        Ok(())
    }
}

fn main() {}
