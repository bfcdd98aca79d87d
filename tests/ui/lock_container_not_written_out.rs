use std::collections::HashSet;

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(LockKey, Serialize, Deserialize, PartialEq, Eq, Hash)]
#[lock_key(group = "disk")]
struct DiskId(u64);

type Disks = Vec<DiskId>;

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct MoveDisk {
    #[lock(exclusive)]
    alias: Disks,
    #[lock(exclusive)]
    unordered: HashSet<DiskId>,
    #[lock(shared)]
    nested: Option<Vec<DiskId>>,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
