use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(LockKey, Serialize, Deserialize)]
#[lock_key(group = "disk")]
struct DiskId(u64);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct MoveDisk {
    #[lock(exclusive)]
    #[lock(shared)]
    disk: DiskId,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
