use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(LockKey, Serialize, Deserialize)]
#[lock_key(group = "disk")]
struct DiskId(u64);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = None, wait)]
struct WipeDisk;

#[derive(Command, Serialize, Deserialize)]
#[command(lock = None, wait = "30s")]
struct MoveDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

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

does_nothing!(WipeDisk, MoveDisk);

fn main() {}
