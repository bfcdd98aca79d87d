//! How many commits things cost, counted exactly: each is a wait for the disk.

use coco_core::prelude::*;
use coco_core::testing::FaultyStore;
use serde::{Deserialize, Serialize};

use super::home::{AnyStore, Home, engine_error_of, failure_of, on_every_store, start};
use super::leaves::{Fragile, Nothing};
use super::sagas::Saga;
use super::sagas::parts::{fail, keep};
use super::world::World;

on_every_store!(
    a_leaf,
    a_leaf_with_an_end_hook,
    a_leaf_that_is_refused,
    children_one_after_the_other,
    onces_one_after_the_other,
    a_fan_out,
    nested_flows,
    a_child_with_locks,
    a_child_with_an_end_hook,
    values_that_are_derived,
    leaves_side_by_side,
    what_is_not_stored,
    a_restart,
    what_fails,
    what_is_undone,
    what_is_tried_again,
    what_sleeps,
);

/// Runs `command` alone in a store. Gives its result and how many commits it took.
async fn cost<C: Command>(home: &Home, command: C) -> (Result<C::Output>, usize) {
    let home = home.another().await;
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    let output = coordinator.submit(command).await.unwrap().output().await;
    coordinator.shutdown().await.unwrap();
    (output, store.commits())
}

/// The same, for what succeeds.
async fn commits<C: Command>(home: &Home, command: C) -> usize {
    let (output, commits) = cost(home, command).await;
    assert!(output.is_ok(), "{}", output.err().unwrap());
    commits
}

async fn a_leaf(home: Home) {
    assert_eq!(commits(&home, Nothing {}).await, 2);
}

async fn a_leaf_with_an_end_hook(home: Home) {
    assert_eq!(commits(&home, Fragile::new("hooked")).await, 3);
}

#[derive(Command, Serialize, Deserialize)]
struct Picky {}

impl Execute for Picky {
    type Output = ();

    async fn validate(&self, _cx: &LeafContext<Self>) -> Result<()> {
        Err(Error::other("not today"))
    }

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, _cx: &LeafContext<Self>) -> Result<()> {
        panic!("nothing was begun, so nothing is to be ended")
    }
}

async fn a_leaf_that_is_refused(home: Home) {
    let (output, commits) = cost(&home, Picky {}).await;
    assert_eq!(failure_of(output).message, "not today");
    assert_eq!(commits, 2);
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Row {
    children: usize,
    onces: usize,
}

impl Execute for Row {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for _ in 0..self.children {
            cx.child(Nothing {}).await?;
        }
        for _ in 0..self.onces {
            cx.once("step", |_| async { Ok(()) }).await?;
        }
        Ok(())
    }
}

async fn children_one_after_the_other(home: Home) {
    for children in [0, 1, 5, 20] {
        assert_eq!(commits(&home, Row { children, onces: 0 }).await, children + 2);
    }
}

async fn onces_one_after_the_other(home: Home) {
    for onces in [1, 5, 20] {
        assert_eq!(commits(&home, Row { children: 0, onces }).await, onces + 1);
    }
    assert_eq!(commits(&home, Row { children: 3, onces: 4 }).await, 3 + 4 + 2);
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct FanOut {
    width: usize,
}

impl Execute for FanOut {
    type Output = usize;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<usize> {
        Ok(cx.children((0..self.width).map(|_| Nothing {})).await?.len())
    }
}

async fn a_fan_out(home: Home) {
    for width in [1, 2, 100] {
        assert_eq!(commits(&home, FanOut { width }).await, 3, "{width} wide");
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Onion {
    skins: u32,
}

impl Execute for Onion {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        match self.skins {
            0 => cx.child(Nothing {}).await,
            n => cx.child(Self { skins: n - 1 }).await,
        }
    }
}

/// Each flow is stored before it runs; all of them end with the leaf.
async fn nested_flows(home: Home) {
    for skins in [0, 1, 2, 5] {
        assert_eq!(commits(&home, Onion { skins }).await, skins as usize + 3);
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct LockedNothing {
    #[lock(exclusive, group = "counts")]
    key: u32,
}

impl Execute for LockedNothing {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct LockedRow {
    children: usize,
}

impl Execute for LockedRow {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for _ in 0..self.children {
            cx.child(LockedNothing { key: 1 }).await?;
        }
        Ok(())
    }
}

async fn a_child_with_locks(home: Home) {
    assert_eq!(commits(&home, LockedNothing { key: 1 }).await, 2);
    for children in [1, 5] {
        assert_eq!(commits(&home, LockedRow { children }).await, children + 2);
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct HookedRow {
    children: usize,
}

impl Execute for HookedRow {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for _ in 0..self.children {
            cx.child(Fragile::new("hooked")).await?;
        }
        Ok(())
    }
}

async fn a_child_with_an_end_hook(home: Home) {
    for children in [1, 4] {
        assert_eq!(commits(&home, HookedRow { children }).await, 2 * children + 2);
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Derived {}

impl Execute for Derived {
    type Output = bool;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<bool> {
        let differ = cx.uuid() != cx.uuid();
        Ok(differ && cx.now() == cx.now())
    }
}

async fn values_that_are_derived(home: Home) {
    let (output, commits) = cost(&home, Derived {}).await;
    assert!(output.unwrap());
    assert_eq!(commits, 2);
}

/// Submits `n` leaves at once.
async fn submit_at_once(coordinator: &Coordinator, n: usize) -> Vec<CommandHandle<Nothing>> {
    let submits: Vec<_> = (0..n)
        .map(|_| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move { coordinator.submit(Nothing {}).await.unwrap() })
        })
        .collect();
    let mut handles = Vec::new();
    for submit in submits {
        handles.push(submit.await.unwrap());
    }
    handles
}

async fn leaves_side_by_side(home: Home) {
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    let submit = |n| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { submit_at_once(&coordinator, n).await })
    };
    store.hold();
    let first = submit(1);
    store.held().await;
    let others = submit(64);
    all_wait(&store).await;
    store.let_go();
    for handle in first.await.unwrap().into_iter().chain(others.await.unwrap()) {
        handle.output().await.unwrap();
    }
    assert_eq!(store.commits(), 3);
    coordinator.shutdown().await.unwrap();
}

/// Lets everything run that can, while a commit is held.
async fn all_wait(store: &FaultyStore<AnyStore>) {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.commits(), 1);
}

/// Refused locks and values that cannot be stored leave nothing behind.
async fn what_is_not_stored(home: Home) {
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    assert!(coordinator.submit(Fragile::new("nul \0")).await.is_err());
    assert_eq!(store.commits(), 0);
    coordinator.clone().shutdown().await.unwrap();
    let after = coordinator.submit(Nothing {}).await;
    assert_eq!(engine_error_of(after), coco_core::EngineError::Shutdown);
    assert_eq!(store.commits(), 0);
    drop(coordinator);
    let again = start(store.clone(), &World::new()).await;
    again.shutdown().await.unwrap();
    assert_eq!(store.commits(), 0, "a start with nothing to do writes nothing");
}

/// All that is open is taken up in one commit.
async fn a_restart(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    for n in 0..20 {
        let label = format!("open {n}");
        world.close(&label);
        coordinator.submit(super::leaves::Mark::new(label)).await.unwrap();
    }
    drop(coordinator);
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    for n in 0..20 {
        world.noted_times(&format!("open {n}"), 2).await;
    }
    assert_eq!(store.commits(), 1);
    coordinator.shutdown_within(std::time::Duration::ZERO).await.unwrap();
}

/// The same, for what fails.
async fn failing<C: Command>(home: &Home, command: C) -> usize {
    let (output, commits) = cost(home, command).await;
    failure_of(output);
    commits
}

#[derive(Command, Serialize, Deserialize)]
struct FailsPlainly {}

impl Execute for FailsPlainly {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("it broke"))
    }
}

#[derive(Command, Serialize, Deserialize)]
struct FailsUndone {}

impl Execute for FailsUndone {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("it broke"))
    }

    async fn compensate(&mut self, _: Option<&()>, _: &LeafContext<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
struct FailsHooked {}

impl Execute for FailsHooked {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("it broke"))
    }

    async fn compensate(&mut self, _: Option<&()>, _: &LeafContext<Self>) -> Result<()> {
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, _: &LeafContext<Self>) -> Result<()> {
        Ok(())
    }
}

async fn what_fails(home: Home) {
    assert_eq!(failing(&home, FailsPlainly {}).await, 2, "a default hook costs nothing");
    assert_eq!(failing(&home, FailsUndone {}).await, 3);
    assert_eq!(failing(&home, FailsHooked {}).await, 4);
}

async fn what_is_undone(home: Home) {
    for children in [0, 1, 5] {
        let mut plan = vec![keep("a"); children];
        plan.push(fail("it broke"));
        assert_eq!(failing(&home, Saga { plan }).await, (children + 2) + children);
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 4, backoff = "1ms"))]
struct FailsAgain {}

impl Execute for FailsAgain {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("it broke"))
    }
}

async fn what_is_tried_again(home: Home) {
    assert_eq!(failing(&home, FailsAgain {}).await, 2 * 4);
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct SleepsShort {
    times: usize,
}

impl Execute for SleepsShort {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for _ in 0..self.times {
            cx.sleep(std::time::Duration::ZERO).await?;
        }
        Ok(())
    }
}

/// The end of one and the begin of the next are one commit.
async fn what_sleeps(home: Home) {
    for times in [1, 4] {
        assert_eq!(commits(&home, SleepsShort { times }).await, times + 2);
    }
}
