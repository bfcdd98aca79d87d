use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(LockKey, Serialize, Deserialize)]
#[lock_key(group = "disk")]
struct DiskId(u64);

#[derive(Command, Serialize, Deserialize)]
#[command(wait)]
struct MoveDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, wait = "30s")]
struct WipeDisk;

macro_rules! does_nothing {
    ($($command:ty),*) => {$(
        impl Execute for $command {
            type Output = ();

            async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

does_nothing!(MoveDisk, WipeDisk);

fn main() {}
