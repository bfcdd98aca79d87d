use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct MoveDisk {
    #[command(idempotent)]
    disk: u64,
}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
