use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct MoveDisk {
    #[lock(exclusive, group = "disk\0")]
    disk: String,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(LockKey)]
#[lock_key(group = "\0")]
struct DiskId(u64);

fn main() {}
