use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct MoveDisk;

impl Command for MoveDisk {}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
