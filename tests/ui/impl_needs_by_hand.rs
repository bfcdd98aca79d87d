use coco_core::Needs;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

struct Storage;

#[derive(Command, Serialize, Deserialize)]
struct MoveDisk;

impl Needs<Storage> for MoveDisk {}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
