//! End hooks: at least once, one kind only, tried again as often as the program says, and then the
//! command is stuck with its locks until an operator lets it go on.

use std::time::Duration;

use coco_core::lock::LockConflict;
use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::crash::{sweep_lives, waits};
use super::home::{Home, failure_of, on_every_store, start_with, stuck_of, until};
use super::sagas::parts::{brittle, own};
use super::sagas::{Brittle, OwnSaga, Saga};
use super::world::World;

on_every_store!(
    a_crash_at_every_commit,
    attempts_are_counted,
    attempts_are_counted_over_restarts,
    the_pause_is_stored,
    stuck_with_its_locks,
    a_child_that_is_stuck,
    hooks_that_succeed_after_others_failed,
    an_error_that_would_come_again,
);

fn no_pause(attempts: u32) -> Retry {
    Retry::new(attempts).backoff(Duration::ZERO)
}

fn deeds_of(world: &World, what: &str) -> usize {
    world.deeds().iter().filter(|deed| deed.contains(what)).count()
}

/// What is stored as succeeded ends well, whatever died; what is not, badly.
async fn a_crash_at_every_commit(home: Home) {
    let plan = vec![brittle("a"), own("mid", [brittle("b")])];
    let command = |_: &World| OwnSaga { label: "top".into(), plan: plan.clone() };
    let commits = sweep_lives(&home, command, waits, |life| {
        let (world, at) = (&life.world, &life.crashes);
        for row in &life.rows.commands {
            let label = row.command_parameters.split('"').nth(3).unwrap();
            let through = |how: &str| world.count(&format!("{label} ends {how}: through"));
            let (well, badly) = (through("well"), through("badly"));
            let kind = row
                .progress
                .failure
                .as_deref()
                .map(|json| serde_json::from_str::<Failure>(json).unwrap().kind);
            if row.progress.executed {
                assert!((1..=2).contains(&well) && badly == 0, "{at:?}, {label}: {well}, {badly}");
                assert_eq!(row.progress.status, CommandStatus::EndedSuccessfully);
            } else {
                assert!((1..=2).contains(&badly) && well == 0, "{at:?}, {label}: {well}, {badly}");
                assert_eq!(kind, Some(FailureKind::Restarted));
            }
            assert!(row.progress.callback_notified);
            assert!(world.count(label) <= 1, "{at:?}");
        }
    })
    .await;
    assert_eq!(commits, 9);
}

async fn attempts_are_counted(home: Home) {
    let world = World::new();
    world.say("fail a ends well", "2 times");
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(no_pause(3))).await;
    let handle = coordinator.submit(Brittle::new("a")).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "a!");
    let attempts = |deed: &str| {
        let entries = world.ledger().into_iter().filter(|entry| entry.deed == deed);
        entries.map(|entry| entry.attempt).collect::<Vec<_>>()
    };
    assert_eq!(attempts("a ends well"), [1, 2, 3]);
    assert_eq!((world.count("a"), deeds_of(&world, "badly")), (1, 0));

    world.say("fail b", "it broke");
    world.say("fail b ends badly", "2 times");
    world.say("fail undo half b", "2 times");
    let handle = coordinator.submit(Brittle::new("b")).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    assert_eq!(attempts("undo half b"), [1, 2, 3]);
    assert_eq!(attempts("b ends badly"), [1, 2, 3], "each kind has all attempts");
    coordinator.shutdown().await.unwrap();
}

/// What failed is counted also when the engine dies in between.
async fn attempts_are_counted_over_restarts(home: Home) {
    let world = World::new();
    world.say("fail a ends well", "it broke");
    let (mut root, mut runs) = (None, 0);
    // The start is the first commit, success the second, each attempt that failed one more.
    for crash in [3, 2, 2] {
        let store = home.faulty().await;
        store.crash(Crash::After(crash));
        let coordinator =
            start_with(store.clone(), &world, |builder| builder.hook_retry(no_pause(4))).await;
        let id = match root {
            None => coordinator.submit(Brittle::new("a")).await.unwrap().id(),
            Some(root) => root,
        };
        root = Some(id);
        until(|| async { store.is_dead() }).await;
        drop(coordinator);
        runs += 1;
        assert_eq!(home.entity(id).await.progress.hook_attempt, runs);
    }
    let root = root.unwrap();
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(no_pause(4))).await;
    let handle = coordinator.handle::<Brittle>(root).await.unwrap();
    assert_eq!(stuck_of(handle.output().await).0, root);
    assert_eq!(world.count("a ends well"), 4);
    assert_eq!(world.count("a"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn the_pause_is_stored(home: Home) {
    let world = World::new();
    world.say("fail a ends well", "1 times");
    let patient = Retry::new(2).backoff(Duration::from_secs(3600));
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(patient)).await;
    let handle = coordinator.submit(Brittle::new("a")).await.unwrap();
    let row = async || home.entity(handle.id()).await.progress;
    until(async || row().await.wake_at.is_some()).await;
    let before = row().await;
    assert_eq!((before.status, before.hook_attempt), (CommandStatus::Succeeded, 1));
    drop(coordinator);

    let coordinator = home.start_with(&world, |builder| builder.hook_retry(patient)).await;
    assert_eq!(row().await.wake_at, before.wake_at);
    assert_eq!(world.count("a ends well"), 1, "it waits for its time");
    assert!(coordinator.cancel(handle.id(), "").await.is_err(), "it has succeeded");
    coordinator.shutdown().await.unwrap();
    assert_eq!(row().await.wake_at, before.wake_at);
}

/// Holds a key until its end hook is through.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Command, needs(World))]
struct HoldsToTheEnd {
    #[lock(exclusive, group = "end hooks")]
    key: u64,
    fails: bool,
}

impl Execute for HoldsToTheEnd {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        if self.fails { Err(Error::other("no")) } else { Ok(()) }
    }

    async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
        self.ends(cx)
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        self.ends(cx)
    }
}

impl HoldsToTheEnd {
    fn ends(&self, cx: &LeafContext<Self>) -> Result<()> {
        if cx.get::<World>().is_said("may end") { Ok(()) } else { Err(Error::other("not yet")) }
    }
}

async fn stuck_with_its_locks(home: Home) {
    for fails in [false, true] {
        let world = World::new();
        let key = world.number();
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(HoldsToTheEnd { key, fails }).await.unwrap();
        let root = handle.id();
        assert_eq!(stuck_of(handle.output().await).1.message, "not yet");
        let holder = async |coordinator: &Coordinator| {
            let refused = coordinator.submit(HoldsToTheEnd { key, fails }).await.err().unwrap();
            refused.downcast_ref::<LockConflict>().unwrap().holder
        };
        assert_eq!(holder(&coordinator).await, root);
        coordinator.shutdown().await.unwrap();

        let coordinator = home.start(&world).await;
        let handle = coordinator.handle::<HoldsToTheEnd>(root).await.unwrap();
        assert_eq!(stuck_of(handle.output().await).1.message, "not yet", "also after a restart");
        assert_eq!(holder(&coordinator).await, root);
        world.say("may end", "now");
        coordinator.retry(root).await.unwrap();
        assert_eq!(handle.output().await.is_err(), fails);
        let handle = coordinator.submit(HoldsToTheEnd { key, fails }).await.unwrap();
        assert_eq!(handle.output().await.is_err(), fails, "the locks are free");
        coordinator.shutdown().await.unwrap();
    }
}

/// Its parent waits, its siblings end, and other trees go on.
async fn a_child_that_is_stuck(home: Home) {
    let world = World::new();
    world.say("fail a ends well", "not yet");
    let coordinator = home.start(&world).await;
    let plan = vec![brittle("a"), brittle("b")];
    let handle = coordinator.submit(Saga { plan }).await.unwrap();
    let (child, _) = stuck_of(handle.output().await);
    assert_ne!(child, handle.id());
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Active);
    assert_eq!(world.count("b"), 0, "an outcome is given when the child is terminal");
    let other = coordinator.submit(Brittle::new("other")).await.unwrap();
    assert_eq!(other.output().await.unwrap(), "other!");
    world.unsay("fail a ends well");
    coordinator.retry(handle.id()).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!((world.count("a"), world.count("b ends well")), (1, 1));
    let audit = coordinator.audit(handle.id()).await.unwrap();
    let audit: Vec<_> = audit.iter().map(|entry| (&*entry.action, entry.command_id)).collect();
    assert_eq!(audit, [("retry", child)]);
    coordinator.shutdown().await.unwrap();
}

/// A retry begins again with all attempts.
async fn hooks_that_succeed_after_others_failed(home: Home) {
    let world = World::new();
    world.say("fail a ends well", "3 times");
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(no_pause(2))).await;
    let handle = coordinator.submit(Brittle::new("a")).await.unwrap();
    stuck_of(handle.output().await);
    assert_eq!(world.count("a ends well"), 2);
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "a!");
    assert_eq!(world.count("a ends well"), 4);
    assert_eq!(home.entity(handle.id()).await.progress.hook_attempt, 0);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct GivesUpEnding {}

impl Execute for GivesUpEnding {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "gives up", cx.hook_attempt());
        Err(Error::other("never").fatal())
    }
}

async fn an_error_that_would_come_again(home: Home) {
    let world = World::new();
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(no_pause(9))).await;
    let handle = coordinator.submit(GivesUpEnding {}).await.unwrap();
    assert_eq!(stuck_of(handle.output().await).1.message, "never");
    assert_eq!(world.count("gives up"), 1);
    coordinator.shutdown().await.unwrap();
}
