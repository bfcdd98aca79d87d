//! What commands lock, for how long, and what others are told meanwhile.

use coco_core::lock::{LockConflict, LockMode};
use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store, start};
use super::world::World;

on_every_store!(
    a_conflict_at_submit,
    shared_locks,
    all_or_none,
    parents_and_siblings,
    scopes,
    freed_by_failure,
    kept_over_a_restart,
    freed_with_the_end,
    a_refused_child_in_a_replay,
);

#[derive(LockKey, Serialize, Deserialize, Clone, Copy)]
#[lock_key(group = "disk")]
struct Disk(u32);

/// Holds one disk exclusively and one shared, as long as its gate is closed.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct Use {
    #[lock(exclusive)]
    disk: Disk,
    #[lock(shared)]
    beside: Disk,
}

impl Execute for Use {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("use {}", self.disk.0), cx.attempt());
        world.pass(&format!("use {}", self.disk.0)).await;
        match world.word(&format!("fail use {}", self.disk.0)) {
            Some(why) => Err(Error::other(why)),
            None => Ok(()),
        }
    }
}

const fn on(disk: u32) -> Use {
    Use { disk: Disk(disk), beside: Disk(disk + 100) }
}

/// Only looks at a disk.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct Look {
    #[lock(shared)]
    disk: Disk,
}

impl Execute for Look {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("look {}", self.disk.0), cx.attempt());
        cx.get::<World>().pass("look").await;
        Ok(())
    }
}

fn conflict_of<T>(result: Result<T>) -> LockConflict {
    match result {
        Ok(_) => panic!("it was not locked"),
        Err(error) => error.downcast_ref::<LockConflict>().expect("a conflict").clone(),
    }
}

/// True when nobody holds this disk.
async fn is_free(coordinator: &Coordinator, disk: u32) -> bool {
    match coordinator.submit(Probe { disk: Disk(disk) }).await {
        Ok(handle) => handle.output().await.is_ok(),
        refused => {
            conflict_of(refused);
            false
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct Probe {
    #[lock(exclusive)]
    disk: Disk,
}

impl Execute for Probe {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

async fn a_conflict_at_submit(home: Home) {
    let world = World::new();
    world.close("use 1");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let holder = coordinator.submit(on(1)).await.unwrap();
    world.noted("use 1").await;
    let error = coordinator.submit(on(1)).await.unwrap_err();
    let conflict = error.downcast_ref::<LockConflict>().expect("a typed error");
    assert_eq!((conflict.group.as_str(), conflict.key.as_str()), ("disk", "1"));
    assert_eq!((conflict.mode, conflict.holder), (LockMode::Exclusive, holder.id()));
    assert_eq!(conflict.command_type, "use");
    assert_eq!(
        error.to_string(),
        format!(
            "disk `1` is locked by use `{}`, so it cannot be locked exclusive now",
            holder.id()
        )
    );
    world.open("use 1");
    holder.output().await.unwrap();
    assert_eq!(world.count("use 1"), 1);
    coordinator.submit(on(1)).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    assert!(coordinator.report().resumed.is_empty(), "nothing is stored of what was refused");
    coordinator.shutdown().await.unwrap();
}

async fn shared_locks(home: Home) {
    let world = World::new();
    world.close("look");
    let coordinator = home.start(&world).await;
    let one = coordinator.submit(Look { disk: Disk(1) }).await.unwrap();
    let other = coordinator.submit(Look { disk: Disk(1) }).await.unwrap();
    world.noted_times("look 1", 2).await;
    let conflict = conflict_of(coordinator.submit(on(1)).await);
    assert!([one.id(), other.id()].contains(&conflict.holder));
    world.open("look");
    one.output().await.unwrap();
    other.output().await.unwrap();
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

async fn all_or_none(home: Home) {
    let world = World::new();
    world.close("use 101");
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(on(101)).await.unwrap();
    world.noted("use 101").await;
    // Disk 1 is free, disk 101 is not.
    let conflict = conflict_of(coordinator.submit(on(1)).await);
    assert_eq!((conflict.key.as_str(), conflict.mode), ("101", LockMode::Shared));
    assert!(is_free(&coordinator, 1).await, "none of its locks is held");
    world.open("use 101");
    holder.output().await.unwrap();
    coordinator.submit(on(1)).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Locks a disk, and uses it in children side by side.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution)]
struct Family {
    #[lock(exclusive)]
    disk: Disk,
    children: u32,
}

impl Execute for Family {
    type Output = Vec<Option<Failure>>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<Option<Failure>>> {
        let disk = self.disk.0;
        let failure = |result: Result<()>| result.err().and_then(|e| e.failure().cloned());
        let one = async { failure(cx.child(on(disk)).await) };
        let other =
            async { if self.children > 1 { failure(cx.child(on(disk)).await) } else { None } };
        let (one, other) = tokio::join!(one, other);
        // When both are over, the disk can be had again.
        let later = failure(cx.child(on(disk)).await);
        Ok(vec![one, other, later])
    }
}

async fn parents_and_siblings(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let family = Family { disk: Disk(1), children: 1 };
    let output = coordinator.submit(family).await.unwrap().output().await.unwrap();
    assert_eq!(output, [None, None, None], "a child may take what its parent holds");

    world.close("use 1");
    let family = Family { disk: Disk(1), children: 2 };
    let handle = coordinator.submit(family).await.unwrap();
    world.noted_times("use 1", 3).await;
    let conflict = conflict_of(coordinator.submit(on(1)).await);
    world.open("use 1");
    let output = handle.output().await.unwrap();
    let refused = output[1].as_ref().expect("siblings exclude each other");
    assert_eq!((&output[0], &output[2]), (&None, &None));
    assert_eq!(refused.kind, FailureKind::LockConflict);
    let data: LockConflict = serde_json::from_value(refused.data.clone().unwrap()).unwrap();
    assert_eq!(data.to_string(), refused.message);
    let rows = home.tree(handle.id()).await.commands;
    let row =
        |position| rows.iter().find(|r| r.parent_command_id.is_some() && r.position == position);
    assert_eq!(data.holder, row(0).unwrap().command_id, "the sibling, not the parent");
    assert!(rows.iter().any(|row| row.command_id == conflict.holder));
    let refused_row = row(1).unwrap();
    assert_eq!(refused.command, Some(refused_row.command_id));
    assert_eq!(refused_row.progress.status, CommandStatus::EndedWithFailure);
    assert_eq!((refused_row.progress.attempt, refused_row.progress.executed), (0, false));
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

async fn a_refused_child_in_a_replay(home: Home) {
    let world = World::new();
    world.close("use 1");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Family { disk: Disk(1), children: 2 }).await.unwrap().id();
    world.noted("use 1").await;
    let refused = || async {
        let rows = home.tree(id).await.commands;
        rows.iter().any(|row| row.progress.status == CommandStatus::EndedWithFailure)
    };
    super::home::until(refused).await;
    drop(coordinator);
    world.open("use 1");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Family>(id).await.unwrap();
    let output = handle.output().await.unwrap();
    assert_eq!(output[1].as_ref().map(|failure| failure.kind), Some(FailureKind::LockConflict));
    assert_eq!((&output[0], &output[2]), (&None, &None));
    coordinator.shutdown().await.unwrap();
}

macro_rules! closing {
    ($name:ident, $scope:ident) => {
        /// Has end hooks that pass a gate.
        #[derive(Command, Serialize, Deserialize)]
        #[command(lock = $scope, needs(World))]
        struct $name {
            #[lock(exclusive)]
            disk: Disk,
            fails: bool,
        }

        impl Execute for $name {
            type Output = ();

            async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
                if self.fails { Err(Error::other("it failed")) } else { Ok(()) }
            }

            async fn end_successfully(&mut self, _: &(), cx: &LeafContext<Self>) -> Result<()> {
                cx.get::<World>().note(cx.id(), "closing", cx.attempt());
                cx.get::<World>().pass("closing").await;
                Ok(())
            }

            async fn end_with_failure(
                &mut self,
                _: &Failure,
                cx: &LeafContext<Self>,
            ) -> Result<()> {
                cx.get::<World>().note(cx.id(), "closing", cx.attempt());
                cx.get::<World>().pass("closing").await;
                Ok(())
            }
        }
    };
}

closing!(ClosingExecution, Execution);
closing!(ClosingCommand, Command);

/// Submits `command`, and says whether its disk is free while its end hook runs.
async fn free_in_hook<C: Command>(home: &Home, command: C, restart: bool) -> bool {
    let home = home.another().await;
    let world = World::new();
    world.close("closing");
    let mut coordinator = home.start(&world).await;
    let id = coordinator.submit(command).await.unwrap().id();
    world.noted("closing").await;
    if restart {
        drop(coordinator);
        coordinator = home.start(&world).await;
        world.noted_times("closing", 2).await;
    }
    let free = is_free(&coordinator, 1).await;
    world.open("closing");
    let _ = coordinator.handle::<C>(id).await.unwrap().output().await;
    assert!(is_free(&coordinator, 1).await, "free when it has ended");
    coordinator.shutdown().await.unwrap();
    free
}

async fn scopes(home: Home) {
    let disk = Disk(1);
    for restart in [false, true] {
        for fails in [false, true] {
            // When it fails, it keeps its locks until it is through.
            let free = free_in_hook(&home, ClosingExecution { disk, fails }, restart).await;
            assert_eq!(free, !fails, "Execution, fails: {fails}, restart: {restart}");
            let free = free_in_hook(&home, ClosingCommand { disk, fails }, restart).await;
            assert!(!free, "Command, fails: {fails}, restart: {restart}");
        }
    }
}

async fn freed_by_failure(home: Home) {
    let world = World::new();
    world.say("fail use 1", "it failed");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(on(1)).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it failed");
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

async fn kept_over_a_restart(home: Home) {
    let world = World::new();
    world.close("use 1");
    let mut coordinator = home.start(&world).await;
    let id = coordinator.submit(Family { disk: Disk(1), children: 1 }).await.unwrap().id();
    for times in 1..4 {
        world.noted_times("use 1", times).await;
        assert!(!is_free(&coordinator, 1).await);
        if times == 2 {
            coordinator.shutdown_within(std::time::Duration::ZERO).await.unwrap();
        } else {
            drop(coordinator);
        }
        coordinator = home.start(&world).await;
        // Whatever comes first, the lock was never free.
        assert!(!is_free(&coordinator, 1).await);
        let conflict = conflict_of(coordinator.submit(Look { disk: Disk(1) }).await);
        assert!(["family", "use"].contains(&conflict.command_type.as_str()));
    }
    world.open("use 1");
    let handle = coordinator.handle::<Family>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), [None, None, None]);
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

/// The lock goes in the very commit that stores the end.
async fn freed_with_the_end(home: Home) {
    for (crash, freed) in [(Crash::Before(2), false), (Crash::After(2), true)] {
        let home = home.another().await;
        let world = World::new();
        let store = home.faulty().await;
        store.crash(crash);
        let coordinator = start(store.clone(), &world).await;
        let handle = coordinator.submit(on(1)).await.unwrap();
        assert!(handle.output().await.is_err() && store.is_dead());
        drop(coordinator);
        world.close("use 1");
        let coordinator = home.start(&world).await;
        let status = handle.status().await.unwrap();
        assert_eq!(status.is_terminal(), freed, "{crash:?}");
        assert_eq!(is_free(&coordinator, 1).await, freed, "{crash:?}");
        world.open("use 1");
        coordinator.shutdown().await.unwrap();
    }
}
