//! A disk, and commands that hold it, from their beginning on or later.

use std::time::Duration;

use coco_core::lock::{LockConflict, LockProperties, LockScope};
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::until;
use super::world::World;

#[derive(LockKey, Serialize, Deserialize, Clone, Copy, Debug)]
#[lock_key(group = "late disk")]
pub(crate) struct Disk(pub(crate) u32);

/// Whether a command waits for its locks.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) enum Wait {
    No,
    Yes,
    Seconds(u64),
}

impl Wait {
    pub(crate) fn apply(self, properties: LockProperties) -> LockProperties {
        match self {
            Self::No => properties,
            Self::Yes => properties.with_wait(),
            Self::Seconds(longest) => properties.with_wait_timeout(Duration::from_secs(longest)),
        }
    }
}

/// Holds a disk from its beginning on, as long as its gate is closed.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
pub(crate) struct HoldDisk {
    #[lock(exclusive)]
    pub(crate) disk: Disk,
    pub(crate) wait: Wait,
}

impl Execute for HoldDisk {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.wait.apply(properties)
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("hold {}", self.disk.0), cx.attempt());
        world.pass(&format!("hold {}", self.disk.0)).await;
        Ok(())
    }
}

pub(crate) const fn hold(disk: u32) -> HoldDisk {
    HoldDisk { disk: Disk(disk), wait: Wait::No }
}

/// Takes a disk while it runs, and keeps it as long as its gate is closed.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
pub(crate) struct TakeDisk {
    disk: Disk,
    wait: Wait,
}

impl Execute for TakeDisk {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.wait.apply(properties.with_scope(LockScope::Execution))
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (world, disk) = (cx.get::<World>(), self.disk.0);
        world.note(cx.id(), format!("ask {disk}"), cx.attempt());
        let held = cx.lock(self.disk, Exclusive).await?;
        world.note(cx.id(), format!("took {}", held.0), cx.attempt());
        world.pass(&format!("took {disk}")).await;
        Ok(())
    }
}

pub(crate) const fn take(disk: u32, wait: Wait) -> TakeDisk {
    TakeDisk { disk: Disk(disk), wait }
}

pub(crate) fn conflict_of<T>(result: Result<T>) -> LockConflict {
    match result {
        Ok(_) => panic!("it was not locked"),
        Err(error) => error.downcast_ref::<LockConflict>().expect("a conflict").clone(),
    }
}

pub(crate) async fn is_free(coordinator: &Coordinator, disk: u32) -> bool {
    let held = coordinator.locks().await.unwrap().held;
    held.iter().all(|held| held.lock.key != disk.to_string())
}

/// Waits until so many requests are in line.
pub(crate) async fn in_line(coordinator: &Coordinator, requests: usize) {
    let all = async || coordinator.locks().await.unwrap().waiting.len() == requests;
    until(all).await;
}
