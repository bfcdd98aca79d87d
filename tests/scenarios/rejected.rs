//! The store refuses the data of one step: that command fails, and the rest of its tree goes on.

use coco_core::prelude::*;
use coco_core::store::{Step, Store, Write};
use coco_core::testing::FaultyStore;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store, start, stuck_of};
use super::leaves::{Fragile, Mark, Nothing};
use super::slow_reads::SlowReads;
use super::world::World;

on_every_store!(
    a_root,
    a_child,
    the_start_of_a_child_with_locks,
    the_end_of_a_leaf,
    the_end_of_a_hook,
    the_result_of_a_once,
    the_end_of_a_flow,
    leaves_that_run_meanwhile,
    leaves_that_end_in_the_same_batch,
    leaves_that_end_while_the_tree_is_read,
    leaves_without_end_hooks,
    a_tree_of_which_nothing_is_taken,
);

/// Rejects the first step of which `is_it` says so.
fn reject_once<S>(store: &FaultyStore<S>, is_it: impl Fn(&Write) -> bool + Send + 'static) {
    let mut open = true;
    store.reject(move |step: &Step| {
        let hit = open && step.writes.iter().any(&is_it);
        open &= !hit;
        hit
    });
}

fn inserts(name: &'static str) -> impl Fn(&Write) -> bool + Send + 'static {
    move |write| matches!(write, Write::Insert(row) if row.command_type == name)
}

/// Stores that a command may have begun.
fn begins(write: &Write) -> bool {
    matches!(write, Write::Update(_, progress) if progress.status == CommandStatus::Active)
}

/// Stores the end of a command with this output.
fn ends_with(output: &'static str) -> impl Fn(&Write) -> bool + Send + 'static {
    move |write| match write {
        Write::Update(_, progress) => {
            progress.return_value.as_deref() == Some(output) && progress.status.is_terminal()
        }
        _ => false,
    }
}

const MESSAGE: &str = "the store refused its data: a fault of the test";

async fn a_root(home: Home) {
    let store = home.faulty().await;
    reject_once(&store, inserts("mark"));
    let world = World::new();
    let coordinator = start(store.clone(), &world).await;
    let beside = coordinator.submit(Nothing {}).await.unwrap();
    let error = coordinator.submit(Mark::new("rejected")).await.unwrap_err();
    assert!(error.to_string().contains("a fault of the test"), "{error}");
    assert!(world.ledger().is_empty());
    beside.output().await.unwrap();
    let again = coordinator.submit(Mark::new("taken")).await.unwrap();
    assert_eq!(again.output().await.unwrap(), "taken!");
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    assert!(coordinator.report().resumed.is_empty());
    coordinator.shutdown().await.unwrap();
}

/// Three children side by side of which the middle one may fail, and one after them.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Trio {
    /// Whether the middle one has locks.
    locked: bool,
}

impl Execute for Trio {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let middle = async {
            match self.locked {
                true => cx.child(Bolted { key: cx.id().to_string() }).await,
                false => cx.child(Nothing {}).await.map(|()| "nothing".to_owned()),
            }
        };
        let (left, middle, right) =
            tokio::join!(cx.child(Fragile::new("left")), middle, cx.child(Mark::new("right")));
        let middle = middle.unwrap_or_else(|error| error.to_string());
        let step = |cx: LeafContext<Self>| async move {
            cx.get::<World>().note(cx.id(), "step", cx.attempt());
            Ok("step".to_owned())
        };
        let step = cx.once("step", step).await.unwrap_or_else(|error| error.to_string());
        let last = cx.child(Mark::new("last")).await?;
        Ok(vec![left?, middle, right?, step, last])
    }

    async fn end_with_failure(&mut self, failure: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("trio ends: {failure}"), cx.attempt());
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution)]
struct Bolted {
    #[lock(exclusive, group = "rejected")]
    key: String,
}

impl Execute for Bolted {
    type Output = String;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<String> {
        Ok("bolted".to_owned())
    }
}

/// Runs a trio over a store that rejects a step of it; then once more from the rows before the
/// last child, as a replay. The outputs are the same.
async fn trio(
    home: &Home,
    locked: bool,
    is_it: impl Fn(&Write) -> bool + Send + 'static,
) -> Vec<String> {
    let world = World::new();
    world.close("last");
    let store = home.faulty().await;
    reject_once(&store, is_it);
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Trio { locked }).await.unwrap();
    world.noted("last").await;
    assert_eq!(world.count("left"), 1, "what ran was not started twice");
    assert_eq!(world.count("right"), 1);
    drop(coordinator);
    world.open("last");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Trio>(handle.id()).await.unwrap();
    let replayed = handle.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    let rows = home.tree(handle.id()).await.commands;
    assert!(rows.iter().all(|row| row.progress.status.is_terminal()));
    replayed
}

async fn a_child(home: Home) {
    let outputs = trio(&home, false, inserts("nothing")).await;
    assert_eq!(outputs, ["left!", MESSAGE, "right!", "step", "last!"]);
}

async fn the_start_of_a_child_with_locks(home: Home) {
    let outputs = trio(&home, true, inserts("bolted")).await;
    assert_eq!(outputs, ["left!", MESSAGE, "right!", "step", "last!"]);
    let home = home.another().await;
    // Its start is a step of its own.
    let outputs = trio(&home, true, begins).await;
    assert_eq!(outputs, ["left!", MESSAGE, "right!", "step", "last!"]);
}

async fn the_end_of_a_leaf(home: Home) {
    let outputs = trio(&home, false, ends_with("null")).await;
    assert_eq!(outputs, ["left!", MESSAGE, "right!", "step", "last!"]);
    let outputs = trio(&home.another().await, true, ends_with(r#""bolted""#)).await;
    assert_eq!(outputs, ["left!", MESSAGE, "right!", "step", "last!"]);
}

async fn the_end_of_a_hook(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    reject_once(&store, ends_with(r#""hooked!""#));
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Fragile::new("hooked")).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.kind), (handle.id(), FailureKind::Rejected));
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Stuck);
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "hooked!");
    assert_eq!((world.count("hooked"), world.count("hooked ended")), (1, 2));
    coordinator.shutdown().await.unwrap();
}

async fn the_result_of_a_once(home: Home) {
    let outputs = trio(&home, false, |write| matches!(write, Write::Once(_))).await;
    assert_eq!(outputs, ["left!", "nothing", "right!", MESSAGE, "last!"]);
}

async fn the_end_of_a_flow(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    reject_once(&store, ends_with(r#"["left!","nothing","right!","step","last!"]"#));
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Trio { locked: false }).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Rejected, MESSAGE));
    assert_eq!(failure.command, Some(handle.id()));
    assert_eq!(world.count("last"), 1);
    assert_eq!(world.count(&format!("trio ends: {MESSAGE}")), 1);
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.status, row.executed), (CommandStatus::EndedWithFailure, false));
    coordinator.shutdown().await.unwrap();
}

/// Asks for something that is rejected once the others are at work.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Late {}

impl Execute for Late {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let late = async {
            cx.child(Mark::new("first")).await?;
            cx.child(Nothing {}).await.map(|()| "nothing".to_owned())
        };
        let (late, fragile, plain, mark) = tokio::join!(
            late,
            cx.child(Fragile::new("fragile")),
            cx.child(Plain { label: "plain".into() }),
            cx.child(Mark::new("mark"))
        );
        let late = late.unwrap_or_else(|error| error.to_string());
        Ok(vec![late, fragile?, plain?, mark?])
    }
}

/// May not run twice, and has no end hooks.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct Plain {
    label: String,
}

impl Execute for Plain {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let world = cx.get::<World>();
        world.note(cx.id(), self.label.as_str(), cx.attempt());
        world.pass(&self.label).await;
        world.note(cx.id(), format!("{} done", self.label), cx.attempt());
        Ok(format!("{}!", self.label))
    }
}

const OTHERS: [&str; 3] = ["fragile", "plain", "mark"];

/// A late flow of which the others are at work, and its first child waits.
async fn late<S: Store + Clone>(store: &S) -> (World, Coordinator, CommandHandle<Late>) {
    let world = World::new();
    world.close("first");
    OTHERS.into_iter().for_each(|gate| world.close(gate));
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Late {}).await.unwrap();
    for label in ["first"].iter().chain(&OTHERS) {
        world.noted(label).await;
    }
    (world, coordinator, handle)
}

async fn finish(world: &World, coordinator: Coordinator, handle: &CommandHandle<Late>) {
    let outputs = handle.output().await.unwrap();
    assert_eq!(outputs, [MESSAGE, "fragile!", "plain!", "mark!"]);
    for label in OTHERS {
        assert_eq!(world.count(label), 1, "{label} ran twice");
        assert_eq!(world.count(&format!("{label} done")), 1);
    }
    assert_eq!(world.count("fragile ends: fragile!"), world.count("fragile ended"));
    coordinator.shutdown().await.unwrap();
}

async fn leaves_that_run_meanwhile(home: Home) {
    let store = home.faulty().await;
    let (world, coordinator, handle) = late(&store).await;
    let (told, heard) = tokio::sync::oneshot::channel();
    let mut told = Some(told);
    store.reject(move |step| {
        let is_it = step.writes.iter().any(inserts("nothing"));
        is_it && told.take().is_some_and(|told| told.send(()).is_ok())
    });
    world.open("first");
    heard.await.unwrap();
    // What comes after the rejection ends after it.
    let rejected = || async {
        let rows = home.tree(handle.id()).await.commands;
        rows.iter().any(|row| row.command_type == "nothing")
    };
    super::home::until(rejected).await;
    OTHERS.into_iter().for_each(|gate| world.open(gate));
    finish(&world, coordinator, &handle).await;
}

async fn leaves_that_end_in_the_same_batch(home: Home) {
    let store = home.faulty().await;
    let (world, coordinator, handle) = late(&store).await;
    // A commit is held, so that all that follows makes one batch, with the rejected step first.
    store.hold();
    let held = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.submit(Mark::new("held")).await.map(drop) }
    });
    store.held().await;
    reject_once(&store, inserts("nothing"));
    for label in ["first"].iter().chain(&OTHERS) {
        world.open(label);
        world.noted(&format!("{label} done")).await;
    }
    let before = store.commits();
    store.let_go();
    held.await.unwrap().unwrap();
    finish(&world, coordinator, &handle).await;
    assert!(store.commits() > before, "{before}");
}

async fn leaves_that_end_while_the_tree_is_read(home: Home) {
    let reads = World::new();
    reads.close("read");
    let store = SlowReads { store: home.faulty().await, world: reads.clone() };
    let (world, coordinator, handle) = late(&store).await;
    reject_once(&store.store, inserts("nothing"));
    world.open("first");
    reads.noted("read").await;
    for label in OTHERS {
        world.open(label);
        world.noted(&format!("{label} done")).await;
    }
    // Beside it, the engine does its work.
    coordinator.submit(Mark::new("beside")).await.unwrap().output().await.unwrap();
    reads.open("read");
    finish(&world, coordinator, &handle).await;
}

/// An end that was skipped is stored again as it was, and calls no end hook that is not there.
async fn leaves_without_end_hooks(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    reject_once(&store, ends_with(r#""plain!""#));
    let handle = coordinator.submit(Plain { label: "plain".into() }).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Rejected, MESSAGE));
    assert_eq!(world.deeds(), ["plain", "plain done"]);
    coordinator.shutdown().await.unwrap();
}

/// The store takes not even the failure: the tree rests as it is stored, and others go on.
async fn a_tree_of_which_nothing_is_taken(home: Home) {
    let store = home.faulty().await;
    store.reject(|step: &Step| step.writes.iter().any(|write| matches!(write, Write::Update(..))));
    let world = World::new();
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Fragile::new("a")).await.unwrap();
    let (stuck, reason) = stuck_of(handle.output().await);
    assert_eq!((stuck, reason.kind), (handle.id(), FailureKind::Rejected));
    let text = "the store refuses what is to be stored of it again and again: a fault of the test";
    assert_eq!(reason.message, text);
    assert_eq!(world.count("a"), 1);

    store.reject(|_| false);
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Fragile>(handle.id()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Restarted);
    assert_eq!(world.count("a"), 1, "it was interrupted, as far as anybody knows");
    coordinator.shutdown().await.unwrap();
}
