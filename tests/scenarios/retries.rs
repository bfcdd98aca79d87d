//! What is tried again, how often, and what of that is stored.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::crash::{sweep_lives, waits};
use super::home::{Home, failure_of, on_every_store, start, until};
use super::world::World;

on_every_store!(
    until_it_succeeds,
    until_there_is_no_attempt_left,
    what_is_not_tried_again,
    as_its_flow_says,
    the_pause_is_kept,
    the_count_is_kept,
    an_attempt_that_was_interrupted,
    a_crash_at_every_commit,
);

/// Fails as the world says of this attempt: by `error`, `panic`, `fatal`, `large`, `refused`.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(retry(attempts = 4, backoff = "1ms"), needs(World))]
pub(crate) struct Unsteady {
    label: String,
}

impl Unsteady {
    pub(crate) fn new(label: &str) -> Self {
        Self { label: label.to_owned() }
    }
}

impl Execute for Unsteady {
    type Output = String;

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        match cx.get::<World>().word(&format!("{} {}", self.label, cx.attempt())).as_deref() {
            Some("refused") => Err(Error::other("refused")),
            _ => Ok(()),
        }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        unsteady(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }

    async fn compensate(&mut self, output: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        let deed = format!("{} undo {output:?}", self.label);
        cx.get::<World>().note(cx.id(), deed, cx.attempt());
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("{} ends badly", self.label), cx.attempt());
        Ok(())
    }
}

/// The same, idempotent.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(idempotent, retry(attempts = 4, backoff = "1ms"), needs(World))]
struct UnsteadyAgain {
    label: String,
}

impl Execute for UnsteadyAgain {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        unsteady(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }
}

async fn unsteady(world: &World, id: CommandId, label: &str, attempt: u32) -> Result<String> {
    world.note(id, label, attempt);
    let this = format!("{label} {attempt}");
    world.pass(&this).await;
    match world.word(&this).as_deref() {
        Some("panic") => panic!("{this}"),
        Some("fatal") => Err(Error::other(this).fatal()),
        Some("large") => Ok("x".repeat(coco_core::LARGEST_VALUE)),
        Some(_) => Err(Error::other(this)),
        None => Ok(this),
    }
}

fn say(world: &World, label: &str, words: &[&str]) {
    for (attempt, word) in (1..).zip(words) {
        world.say(&format!("{label} {attempt}"), word);
    }
}

fn attempts(world: &World, label: &str) -> Vec<u32> {
    let ledger = world.ledger();
    ledger.iter().filter(|entry| entry.deed == label).map(|entry| entry.attempt).collect()
}

async fn until_it_succeeds(home: Home) {
    let world = World::new();
    say(&world, "a", &["error", "panic"]);
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Unsteady::new("a")).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "a 3");
    assert_eq!(attempts(&world, "a"), [1, 2, 3]);
    assert_eq!(world.deeds().len(), 3, "no hook of what failed in between");
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.attempt, row.failure, row.wake_at), (3, None, None));
    coordinator.shutdown().await.unwrap();
}

async fn until_there_is_no_attempt_left(home: Home) {
    let world = World::new();
    say(&world, "a", &["error", "panic", "error", "error", "error"]);
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Unsteady::new("a")).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "a 4");
    assert_eq!(world.deeds(), ["a", "a", "a", "a", "a undo None", "a ends badly"]);
    coordinator.shutdown().await.unwrap();
}

async fn what_is_not_tried_again(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let cases: [(&str, &[&str], FailureKind, usize); 4] = [
        ("fatal", &["error", "fatal"], FailureKind::Failed, 2),
        ("large", &["large"], FailureKind::NotStorable, 1),
        ("refused at first", &["refused"], FailureKind::Refused, 0),
        ("refused later", &["panic", "refused"], FailureKind::Refused, 1),
    ];
    for (label, words, kind, runs) in cases {
        say(&world, label, words);
        let handle = coordinator.submit(Unsteady::new(label)).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, kind, "{label}: {failure}");
        assert_eq!(world.count(label), runs, "{label}");
        let hooks = usize::from(runs > 0);
        assert_eq!(world.count(&format!("{label} undo None")), hooks, "{label}");
        assert_eq!(world.count(&format!("{label} ends badly")), hooks, "{label}");
    }
    coordinator.shutdown().await.unwrap();
}

/// Retries its child as it says, and not as the child does.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct SaysHow {
    attempts: u32,
    pause: Duration,
}

impl Execute for SaysHow {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let retry = Retry::new(self.attempts).backoff(self.pause).max_backoff(self.pause);
        cx.child(Unsteady::new("a")).retry(retry).await
    }
}

async fn as_its_flow_says(home: Home) {
    for (attempts, runs) in [(1, 1), (2, 2), (6, 6)] {
        let world = World::new();
        say(&world, "a", &["error"; 9]);
        let coordinator = home.start(&world).await;
        let says = SaysHow { attempts, pause: Duration::ZERO };
        let handle = coordinator.submit(says).await.unwrap();
        assert_eq!(failure_of(handle.output().await).message, format!("a {runs}"));
        assert_eq!(world.count("a"), runs);
        coordinator.shutdown().await.unwrap();
    }
}

async fn the_pause_is_kept(home: Home) {
    let world = World::new();
    say(&world, "a", &["error"]);
    let coordinator = home.start(&world).await;
    let says = SaysHow { attempts: 3, pause: Duration::from_secs(3600) };
    let handle = coordinator.submit(says).await.unwrap();
    let child = async || {
        let rows = home.tree(handle.id()).await.commands;
        rows.into_iter().find(|row| row.parent_command_id.is_some())
    };
    until(async || child().await.is_some_and(|row| row.progress.wake_at.is_some())).await;
    let before = child().await.unwrap();
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let after = child().await.unwrap();
    assert_eq!((after.progress.wake_at, after.progress.attempt), (before.progress.wake_at, 1));
    assert_eq!(after.retry, before.retry, "as its flow said");
    assert_eq!(world.count("a"), 1, "it waits for its time");
    coordinator.shutdown().await.unwrap();
}

/// After a restart the attempts go on where they were, by what the flow said.
async fn the_count_is_kept(home: Home) {
    let world = World::new();
    say(&world, "a", &["error"; 9]);
    let mut root = None;
    // The flow, its child, and the first attempt that failed.
    for crash in [3, 3] {
        let store = home.faulty().await;
        store.crash(Crash::After(crash));
        let coordinator = start(store.clone(), &world).await;
        let says = SaysHow { attempts: 6, pause: Duration::ZERO };
        let handle = match root {
            None => coordinator.submit(says).await.unwrap(),
            Some(root) => coordinator.handle(root).await.unwrap(),
        };
        root = Some(handle.id());
        assert!(handle.output().await.is_err());
        assert!(store.is_dead());
    }
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<SaysHow>(root.unwrap()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "a 6");
    assert_eq!(attempts(&world, "a"), [1, 2, 3, 4, 5, 6]);
    coordinator.shutdown().await.unwrap();
}

/// What may not run twice is not tried again when the engine died; what may, is, and that counts.
async fn an_attempt_that_was_interrupted(home: Home) {
    let world = World::new();
    for label in ["a", "b"] {
        say(&world, label, &["error", "hold"]);
        world.close(&format!("{label} 2"));
    }
    let coordinator = home.start(&world).await;
    let a = coordinator.submit(Unsteady::new("a")).await.unwrap().id();
    let b = coordinator.submit(UnsteadyAgain { label: "b".into() }).await.unwrap().id();
    world.noted_times("a", 2).await;
    world.noted_times("b", 2).await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let a = coordinator.handle::<Unsteady>(a).await.unwrap();
    assert_eq!(failure_of(a.output().await).kind, FailureKind::Restarted);
    assert_eq!(world.count("a"), 2);
    let b = coordinator.handle::<UnsteadyAgain>(b).await.unwrap();
    assert_eq!(b.output().await.unwrap(), "b 3");
    assert_eq!(attempts(&world, "b"), [1, 2, 3]);
    coordinator.shutdown().await.unwrap();
}

async fn a_crash_at_every_commit(home: Home) {
    let command = |world: &World| {
        say(world, "a", &["error", "panic", "error"]);
        UnsteadyAgain { label: "a".into() }
    };
    sweep_lives(&home, command, waits, |life| {
        let runs = attempts(&life.world, "a");
        // One that the crash interrupted is made again, also the last.
        assert!(runs.len() <= 4 + life.deaths, "{:?}", life.crashes);
        assert!(runs.is_sorted_by(|a, b| a < b), "{runs:?}, {:?}", life.crashes);
        assert_eq!(life.root().progress.status, CommandStatus::EndedSuccessfully);
    })
    .await;
}
