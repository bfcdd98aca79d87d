use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(LockKey, Serialize, Deserialize)]
#[lock_key(group = "disk")]
struct DiskId(u64);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait = true)]
struct MoveDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait = 30)]
struct CopyDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait("30s"))]
struct WipeDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait = "soon")]
struct GrowDisk {
    #[lock(exclusive)]
    disk: DiskId,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait, wait = "30s")]
struct ShrinkDisk {
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

does_nothing!(MoveDisk, CopyDisk, WipeDisk, GrowDisk, ShrinkDisk);

fn main() {}
