use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(LockKey, Serialize, Deserialize)]
#[lock_key(group = "disk")]
struct DiskId(u64);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait = "0s")]
struct MoveDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
