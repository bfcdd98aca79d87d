use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Disk(u64);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct MoveDisk {
    #[lock(exclusive, group = "disk")]
    disk: Disk,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
