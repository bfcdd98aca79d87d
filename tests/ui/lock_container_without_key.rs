use std::collections::BTreeSet;

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct MoveDisk {
    #[lock(exclusive)]
    names: Vec<String>,
    #[lock(shared)]
    target: Option<u64>,
    #[lock(shared)]
    sources: BTreeSet<u32>,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
