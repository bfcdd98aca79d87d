//! `cargo run --example locks`: two backups share a disk, a resize waits for both, and a third backup
//! waits behind the resize, which takes one more lock when it knows which.
use std::sync::Arc;

use coco_core::lock::{HeldLock, WaitingRequest};
use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

#[derive(LockKey, Serialize, Deserialize, Clone, Copy)]
#[lock_key(group = "disk")]
struct DiskId(u32);

#[derive(LockKey, Serialize, Deserialize, Clone, Copy)]
#[lock_key(group = "pool")]
struct PoolId(u32);

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait, idempotent, needs(Arc<Semaphore>))]
struct Backup {
    #[lock(shared)]
    disk: DiskId,
}

impl Execute for Backup {
    type Output = ();
    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Arc<Semaphore>>().acquire().await?.forget(); // here the disk would be copied
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, wait = "1h", idempotent)]
struct Resize {
    #[lock(exclusive)]
    disk: DiskId,
}

impl Execute for Resize {
    type Output = ();
    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let pool = PoolId(self.disk.0 / 10); // found out only now
        let pool = cx.lock(pool, Exclusive).await?;
        grow(&cx.held(self.disk)?, &pool);
        Ok(())
    }
}

/// Cannot be called by who has not locked both.
fn grow(disk: &Held<'_, Exclusive, DiskId>, pool: &Held<'_, Exclusive, PoolId>) {
    println!("disk {} grows in pool {}", disk.0, pool.0);
}

#[tokio::main]
async fn main() -> Result<()> {
    let copies = Arc::new(Semaphore::new(0));
    let builder = Coordinator::builder(MemoryStore::default()).provide(Arc::clone(&copies));
    let coordinator = builder.start().await?;
    let disk = DiskId(17);
    let first = coordinator.submit(Backup { disk }).await?;
    let second = coordinator.submit(Backup { disk }).await?;
    let resize = coordinator.submit(Resize { disk }).await?;
    let third = coordinator.submit(Backup { disk }).await?;

    let locks = coordinator.locks().await?;
    for HeldLock { command_type, lock, .. } in locks.held {
        println!("{command_type} holds {} {} {}", lock.group, lock.key, lock.mode.as_str());
    }
    for WaitingRequest { request, .. } in locks.waiting {
        println!("{} waits", request.command_type);
    }
    println!("the third backup: {}", coordinator.why_waiting(third.id()).await?);

    copies.add_permits(2);
    first.output().await?;
    second.output().await?;
    resize.output().await?;
    copies.add_permits(1);
    third.output().await?;
    coordinator.shutdown().await
}
