//! Commands that begin later.

use std::time::{Duration, SystemTime};

use coco_core::lock::LockConflict;
use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::crash::{sweep_lives, waits};
use super::home::{Home, failure_of, in_no_time, on_every_store};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    a_time_that_has_passed,
    in_milliseconds,
    it_holds_no_locks_until_then,
    locks_that_are_refused_then,
    over_a_restart,
    never_reached,
);
in_no_time!(in_the_order_of_their_times, after_a_long_stop);

async fn a_time_that_has_passed(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    for time in [SystemTime::UNIX_EPOCH, SystemTime::now() - Duration::from_secs(3600)] {
        let handle = coordinator.submit_at(time, Mark::new("a")).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), "a!");
    }
    let handle = coordinator.submit_after(Duration::ZERO, Mark::new("a")).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "a!");
    assert_eq!(world.count("a"), 3);
    coordinator.shutdown().await.unwrap();
}

async fn in_milliseconds(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let time = SystemTime::now() + Duration::from_millis(30);
    let at = coordinator.submit_at(time, Mark::new("a")).await.unwrap();
    let after = coordinator.submit_after(Duration::from_millis(30), Mark::new("b")).await.unwrap();
    at.output().await.unwrap();
    assert!(SystemTime::now() >= time);
    after.output().await.unwrap();
    let row = home.entity(at.id()).await;
    let started = row.began_at().unwrap();
    assert!(SystemTime::from(started) >= time - Duration::from_micros(1));
    assert_eq!(row.progress.wake_at, None);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct LockedLater {
    #[lock(exclusive, group = "delayed")]
    disk: u32,
    label: String,
}

impl Execute for LockedLater {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), &*self.label, 1);
        cx.get::<World>().pass(&self.label).await;
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "it ended", 1);
        Ok(())
    }
}

fn locked(label: &str) -> LockedLater {
    LockedLater { disk: 1, label: label.to_owned() }
}

async fn it_holds_no_locks_until_then(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let late = coordinator.submit_after(Duration::from_secs(3600), locked("late")).await.unwrap();
    coordinator.submit(locked("now")).await.unwrap().output().await.unwrap();
    assert_eq!(late.status().await.unwrap(), CommandStatus::NotStarted);
    coordinator.shutdown().await.unwrap();
}

async fn locks_that_are_refused_then(home: Home) {
    let world = World::new();
    world.close("holder");
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(locked("holder")).await.unwrap();
    world.noted("holder").await;
    let late = coordinator.submit_after(Duration::from_millis(1), locked("late")).await.unwrap();
    let failure = failure_of(late.output().await);
    assert_eq!(failure.kind, FailureKind::LockConflict);
    let conflict: LockConflict = serde_json::from_value(failure.data.unwrap()).unwrap();
    assert_eq!(conflict.holder, holder.id());
    world.open("holder");
    holder.output().await.unwrap();
    assert_eq!(world.deeds(), ["holder"], "what had not begun has no end");
    coordinator.shutdown().await.unwrap();
}

async fn over_a_restart(home: Home) {
    // Each process sleeps only as long as the stored time says.
    let command = |_: &World| Later {};
    let commits = sweep_lives(&home, command, waits, |life| {
        assert_eq!(life.root().progress.status, CommandStatus::EndedSuccessfully);
    })
    .await;
    assert_eq!(commits, 2);

    let world = World::new();
    let coordinator = home.start(&world).await;
    let pause = Duration::from_millis(400);
    let handle = coordinator.submit_after(pause, Mark::new("a")).await.unwrap();
    let id = handle.id();
    let before = home.entity(id).await.progress.wake_at.unwrap();
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Mark>(id).await.unwrap();
    handle.output().await.unwrap();
    let row = home.entity(id).await;
    assert!(row.began_at().unwrap() >= before);
    let row = row.progress;
    assert_eq!((row.attempt, world.count("a"), row.deaths), (1, 1, 0));
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent)]
struct Later {}

impl Execute for Later {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

async fn never_reached(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let far = coordinator.submit_after(Duration::MAX, Mark::new("a")).await.unwrap();
    let now = coordinator.submit(Mark::new("b")).await.unwrap();
    now.output().await.unwrap();
    assert_eq!(far.status().await.unwrap(), CommandStatus::NotStarted);
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.report().resumed, [far.id()]);
    coordinator.cancel(far.id(), "").await.unwrap();
    assert_eq!(world.count("a"), 0);
    coordinator.shutdown().await.unwrap();
}

mod scenario {
    use super::*;

    async fn start(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, coco_core::Builder::on_tokio_time).await
    }

    pub(super) async fn in_the_order_of_their_times(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let mut handles = Vec::new();
        for minutes in [5, 1, 4, 2, 3] {
            let label = format!("{minutes}");
            let pause = Duration::from_secs(60 * minutes);
            handles.push(coordinator.submit_after(pause, Mark::new(label)).await.unwrap());
        }
        for handle in handles {
            handle.output().await.unwrap();
        }
        let began: Vec<_> =
            world.deeds().into_iter().filter(|deed| !deed.contains("done")).collect();
        assert_eq!(began, ["1", "2", "3", "4", "5"]);
        assert!(world.age() >= Duration::from_secs(300) && world.age() < Duration::from_secs(301));
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn after_a_long_stop(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let pause = Duration::from_secs(3600);
        let id = coordinator.submit_after(pause, Mark::new("a")).await.unwrap().id();
        coordinator.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_secs(7200)).await;
        let coordinator = start(&home, &world).await;
        let handle = coordinator.handle::<Mark>(id).await.unwrap();
        handle.output().await.unwrap();
        assert!(world.age() < Duration::from_secs(7201));
        coordinator.shutdown().await.unwrap();
    }
}
