//! What a program cannot read stops its own tree and nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coco_core::entity::CommandEntity;
use coco_core::lock::LockConflict;
use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::by_hand::copy;
use super::home::{Home, engine_error_of, failure_of, on_every_store, stuck_of};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    an_unknown_name,
    parameters_that_cannot_be_read,
    parameters_that_panic,
    another_callback,
    stuck_from_nowhere,
    an_unknown_child,
    it_comes_back,
    a_stored_failure_that_is_none,
);

/// A command that an earlier version of the program stored, under locks of its own.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct Dated {
    #[lock(exclusive, group = "quarantine")]
    key: Key,
    day: Day,
}

/// Keys that the program of a scenario cannot read.
pub(crate) fn unreadable() -> MutexGuard<'static, BTreeSet<u64>> {
    static UNREADABLE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    UNREADABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Serialize)]
pub(crate) struct Key(pub(crate) u64);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = u64::deserialize(deserializer)?;
        if unreadable().contains(&key) {
            return Err(serde::de::Error::custom("the key is not of this version"));
        }
        Ok(Self(key))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Serialize)]
struct Day(u8);

/// Reads what is written as a day, and panics at what never was one.
impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let day = u8::deserialize(deserializer)?;
        assert!(day < 32, "no month has a day {day}");
        Ok(Self(day))
    }
}

impl Execute for Dated {
    type Output = u8;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u8> {
        cx.get::<World>().note(cx.id(), format!("day {}", self.day.0), cx.attempt());
        cx.get::<World>().pass("dated").await;
        Ok(self.day.0)
    }
}

/// A flow over one of them.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Calendar {}

impl Execute for Calendar {
    type Output = u8;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u8> {
        cx.child(Dated { key: Key(7), day: Day(1) }).await
    }
}

/// Runs `command` until its leaf is at work, and stores a copy of its tree that `change` has
/// spoilt. Gives the root of the copy, and the row that was changed.
async fn spoilt<C: Command>(
    home: &Home,
    command: C,
    change: impl FnMut(&mut CommandEntity) -> bool,
) -> (CommandId, CommandEntity) {
    let world = World::new();
    world.close("dated");
    let coordinator = home.start(&world).await;
    let root = coordinator.submit(command).await.unwrap().id();
    world.noted("day 1").await;
    drop(coordinator);
    let (root, changed) = copy(home, root, change).await;
    (root, changed.into_iter().next().expect("a row was changed"))
}

/// Starts, and finds one tree that cannot be read while another goes on. Gives the reason.
async fn quarantined(home: &Home, root: CommandId, row: &CommandEntity) -> Failure {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let report = coordinator.report();
    assert_eq!(report.resumed.len(), 1, "the tree that it was made from goes on");
    let [quarantine] = &report.quarantined[..] else { panic!("{report:?}") };
    assert_eq!((quarantine.root, quarantine.command), (root, row.command_id));
    assert_eq!(quarantine.reason.kind, FailureKind::Undecodable);
    let reason = quarantine.reason.clone();
    let output = coordinator.submit(Mark::new("beside")).await.unwrap().output().await;
    assert_eq!(output.unwrap(), "beside!");
    let retry = coordinator.retry(row.command_id).await;
    assert_eq!(engine_error_of(retry), EngineError::NotStuck(row.command_id));
    coordinator.shutdown().await.unwrap();
    assert_eq!(&home.entity(row.command_id).await, row, "its rows stay as they are");
    reason
}

async fn an_unknown_name(home: Home) {
    let rename = |row: &mut CommandEntity| {
        row.command_type = "of_yesterday".into();
        true
    };
    let (root, row) = spoilt(&home, Dated { key: Key(7), day: Day(1) }, rename).await;
    let reason = quarantined(&home, root, &row).await.message;
    for part in ["`of_yesterday`", "known: ", "mark", r#"#[command(name = "of_yesterday")]"#] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
}

async fn parameters_that_cannot_be_read(home: Home) {
    let spoil = |row: &mut CommandEntity| {
        row.command_parameters = r#"{"key":7,"day":"monday"}"#.into();
        true
    };
    let (root, row) = spoilt(&home, Dated { key: Key(7), day: Day(1) }, spoil).await;
    let reason = quarantined(&home, root, &row).await.message;
    assert!(reason.contains("`dated`") && reason.contains("monday"), "{reason}");

    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Dated>(root).await.unwrap();
    let (command, stuck) = stuck_of(handle.output().await);
    assert_eq!((command, stuck.kind), (root, FailureKind::Undecodable));
    assert!(stuck.message.contains("monday"), "{stuck}");
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Active);
    coordinator.shutdown().await.unwrap();
}

async fn parameters_that_panic(home: Home) {
    let spoil = |row: &mut CommandEntity| {
        row.command_parameters = r#"{"key":7,"day":77}"#.into();
        true
    };
    let (root, row) = spoilt(&home, Dated { key: Key(7), day: Day(1) }, spoil).await;
    let reason = quarantined(&home, root, &row).await.message;
    assert!(reason.contains("`dated` panicked"), "{reason}");
}

async fn another_callback(home: Home) {
    let spoil = |row: &mut CommandEntity| {
        row.callback_enabled = true;
        true
    };
    let (root, row) = spoilt(&home, Dated { key: Key(7), day: Day(1) }, spoil).await;
    let reason = quarantined(&home, root, &row).await.message;
    assert_eq!(reason, "it began with another callback than `dated` has now");
}

async fn stuck_from_nowhere(home: Home) {
    let spoil = |row: &mut CommandEntity| {
        row.progress.status = CommandStatus::Stuck;
        row.progress.stuck_from = Some(CommandStatus::Unknown);
        true
    };
    let (root, row) = spoilt(&home, Dated { key: Key(7), day: Day(1) }, spoil).await;
    let reason = quarantined(&home, root, &row).await.message;
    assert_eq!(reason, "it is stuck, and from where is not known");
}

async fn an_unknown_child(home: Home) {
    let rename = |row: &mut CommandEntity| {
        let is_child = row.parent_command_id.is_some();
        if is_child {
            row.command_type = "of_yesterday".into();
        }
        is_child
    };
    let (root, row) = spoilt(&home, Calendar {}, rename).await;
    quarantined(&home, root, &row).await;

    let coordinator = home.start(&World::new()).await;
    let handle = coordinator.handle::<Calendar>(root).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!(command, row.command_id, "it is named, and its parents wait");
    assert!(reason.message.contains("`of_yesterday`"), "{reason}");
    coordinator.shutdown().await.unwrap();
}

/// A program that cannot read it, and then one that can. Its locks stay held meanwhile.
async fn it_comes_back(home: Home) {
    let world = World::new();
    let key = world.number() + 1000;
    world.close("dated");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Dated { key: Key(key), day: Day(1) }).await.unwrap().id();
    world.noted("day 1").await;
    drop(coordinator);

    unreadable().insert(key);
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.report().quarantined.len(), 1);
    let handle = coordinator.handle::<Dated>(id).await.unwrap();
    assert!(stuck_of(handle.output().await).1.message.contains("not of this version"));
    let refused = coordinator.submit(Dated { key: Key(key), day: Day(2) }).await;
    let refused = refused.expect_err("it is locked");
    let conflict = refused.downcast_ref::<LockConflict>().expect("a conflict");
    assert_eq!((conflict.holder, conflict.command_type.as_str()), (id, "dated"));
    coordinator.shutdown().await.unwrap();

    unreadable().remove(&key);
    world.open("dated");
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.report().resumed, [id]);
    let handle = coordinator.handle::<Dated>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), 1);
    let free = coordinator.submit(Dated { key: Key(key), day: Day(2) }).await.unwrap();
    assert_eq!(free.output().await.unwrap(), 2);
    coordinator.shutdown().await.unwrap();
}

/// What has ended is not quarantined: it has an outcome, and that says what is wrong with it.
async fn a_stored_failure_that_is_none(home: Home) {
    for (stored, why) in [(Some("no json"), "expected ident"), (None, "EOF while parsing")] {
        let home = home.another().await;
        let spoil = |row: &mut CommandEntity| {
            row.progress.status = CommandStatus::EndedWithFailure;
            row.progress.failure = stored.map(Into::into);
            true
        };
        let (root, row) = spoilt(&home, Dated { key: Key(7), day: Day(1) }, spoil).await;
        let world = World::new();
        let coordinator = home.start(&world).await;
        assert!(coordinator.report().quarantined.is_empty());
        let handle = coordinator.handle::<Dated>(root).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, FailureKind::Unknown);
        let text = "the stored failure cannot be read: ";
        assert!(failure.message.starts_with(text) && failure.message.contains(why), "{failure}");
        assert_eq!(home.entity(root).await, row);
        coordinator.shutdown().await.unwrap();
    }
}
