//! Locks that a flow takes while it runs: an outcome like others, the same on every run.

use std::time::Duration;

use coco_core::lock::{LockConflict, LockProperties, LockScope, LockTimedOut};
use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::crash::sweep;
use super::disks::{Disk, Wait, hold, in_line, is_free};
use super::home::{Home, failure_of, in_no_time, on_every_store, stuck_of};
use super::world::World;

on_every_store!(taken, refused, waited_for, not_inside_a_once);
in_no_time!(not_for_ever);

/// Takes a disk between two children that use it as well.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
pub(crate) struct TakingFlow {
    disk: Disk,
    wait: Wait,
}

impl Execute for TakingFlow {
    type Output = Vec<FailureKind>;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.wait.apply(properties.with_scope(LockScope::Execution))
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<FailureKind>> {
        cx.child(hold(self.disk.0 + 100)).await?;
        let mut failures = Vec::new();
        match cx.lock(self.disk, Exclusive).await {
            Ok(held) => {
                assert_eq!(cx.held::<Shared, Disk>(self.disk)?.0, held.0);
                cx.child(hold(self.disk.0)).await?;
            }
            Err(error) => {
                assert!(cx.held::<Shared, Disk>(self.disk).is_err());
                failures.extend(error.failure().map(|failure| failure.kind));
                cx.child(hold(self.disk.0 + 200)).await?;
            }
        }
        Ok(failures)
    }
}

pub(crate) const fn taking_flow(disk: u32, wait: Wait) -> TakingFlow {
    TakingFlow { disk: Disk(disk), wait }
}

async fn taken(home: Home) {
    let commits = sweep(&home, true, |_| taking_flow(1, Wait::No)).await;
    assert_eq!(commits, 5, "the request goes with an end, and its answer with what is asked next");
}

/// The answer stays, though after the restart the lock could be had.
async fn refused(home: Home) {
    let world = World::new();
    ["hold 1", "hold 201"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let id = coordinator.submit(taking_flow(1, Wait::No)).await.unwrap().id();
    world.noted("hold 201").await;
    world.open("hold 1");
    holder.output().await.unwrap();
    drop(coordinator);
    world.open("hold 201");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<TakingFlow>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), [FailureKind::LockConflict]);
    let once = home.tree(id).await.once_results;
    let failure: Failure = serde_json::from_str(once[0].failure.as_deref().unwrap()).unwrap();
    assert_eq!((once.len(), failure.command), (1, Some(id)));
    let data: LockConflict = serde_json::from_value(failure.data.unwrap()).unwrap();
    assert_eq!(data.holder, holder.id());
    coordinator.shutdown().await.unwrap();
}

/// One branch holds a disk in a child, the other one waits for it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct TakingBranches {}

impl Execute for TakingBranches {
    type Output = Vec<FailureKind>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<FailureKind>> {
        let (held, taken) = tokio::join!(cx.child(hold(1)), cx.child(taking_flow(1, Wait::Yes)));
        held?;
        taken
    }
}

async fn waited_for(home: Home) {
    sweep(&home, false, |_| TakingBranches {}).await;

    let world = World::new();
    world.close("hold 1");
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let handle = coordinator.submit(taking_flow(1, Wait::Yes)).await.unwrap();
    in_line(&coordinator, 1).await;
    coordinator.cancel(handle.id(), "").await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(coordinator.locks().await.unwrap().waiting, []);
    world.open("hold 1");
    holder.output().await.unwrap();
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

/// Takes a lock of the flow inside a `once`.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution)]
struct Inside {
    #[lock(shared)]
    disk: Disk,
}

impl Execute for Inside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.once("inside", |_| async { cx.lock(self.disk, Shared).await.map(drop) }).await
    }
}

async fn not_inside_a_once(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Inside { disk: Disk(1) }).await.unwrap();
    let (_, reason) = stuck_of(handle.output().await);
    assert!(reason.message.contains("inside a `once`") || reason.message.contains("of a `once`"));
    assert_eq!(reason.kind, FailureKind::Diverged);
    coordinator.shutdown().await.unwrap();
}

mod scenario {
    use super::*;

    /// Its time is counted from when it asked, over a restart.
    pub(super) async fn not_for_ever(home: Home) {
        let world = World::new();
        world.close("hold 1");
        let chosen = coco_core::Builder::on_tokio_time;
        let coordinator = home.start_with(&world, chosen).await;
        coordinator.submit(hold(1)).await.unwrap();
        let id = coordinator.submit(taking_flow(1, Wait::Seconds(30))).await.unwrap().id();
        in_line(&coordinator, 1).await;
        tokio::time::advance(Duration::from_secs(20)).await;
        drop(coordinator);
        let coordinator = home.start_with(&world, chosen).await;
        let handle = coordinator.handle::<TakingFlow>(id).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), [FailureKind::LockTimedOut]);
        assert_eq!(world.age(), Duration::from_secs(30));
        let row = home.entity(id).await.progress;
        assert_eq!(row.status, CommandStatus::EndedSuccessfully);
        let once = &home.tree(id).await.once_results[0];
        let failure: Failure = serde_json::from_str(once.failure.as_deref().unwrap()).unwrap();
        let data: LockTimedOut = serde_json::from_value(failure.data.unwrap()).unwrap();
        assert_eq!(data.to_string(), failure.message);
        coordinator.shutdown().await.unwrap();
    }
}
