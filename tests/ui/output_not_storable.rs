use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

struct Volume;

#[derive(Command, Serialize, Deserialize)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = Volume;

    async fn execute(&mut self, _: &Context<Self>) -> Result<Volume> {
        Ok(Volume)
    }
}

fn main() {}
