//! Trees of their own that commands launch.

use std::collections::BTreeSet;

use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, EngineError};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, start, until};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    by_a_leaf,
    by_a_leaf_that_fails,
    by_a_flow,
    by_a_round,
    over_a_crash_at_every_commit,
    it_goes_on_when_its_starter_is_cancelled,
    an_undo_command_is_told_that_it_cannot,
);

/// Launches what is named, and fails or not.
#[derive(Command, Serialize, Deserialize)]
struct Launcher {
    names: Vec<String>,
    fails: bool,
}

impl Execute for Launcher {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for name in &self.names {
            cx.launch_detached(Mark::new(name.clone())).await?;
        }
        if self.fails { Err(Error::other("no")) } else { Ok(()) }
    }
}

fn launcher(fails: bool) -> Launcher {
    Launcher { names: vec!["one".to_owned(), "two".to_owned()], fails }
}

async fn by_a_leaf(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    coordinator.submit(launcher(false)).await.unwrap().output().await.unwrap();
    world.noted("one").await;
    world.noted("two").await;
    coordinator.shutdown().await.unwrap();
}

async fn by_a_leaf_that_fails(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    let output = coordinator.submit(launcher(true)).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "no");
    coordinator.submit(Mark::new("after")).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    assert_eq!(world.deeds(), ["after", "after done"]);
}

/// A flow that launches between its children.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct LaunchingFlow {}

impl Execute for LaunchingFlow {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Mark::new("first")).await?;
        cx.launch_detached(Mark::new("launched")).await?;
        cx.child(Mark::new("last")).await?;
        Ok(())
    }
}

async fn by_a_flow(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(LaunchingFlow {}).await.unwrap();
    handle.output().await.unwrap();
    world.noted("launched").await;
    let launched = world.ledger().into_iter().find(|entry| entry.deed == "launched").unwrap();
    coordinator.shutdown().await.unwrap();
    let row = home.entity(launched.id).await;
    assert_eq!((row.parent_command_id, row.root_command_id), (None, launched.id));
    assert_ne!(launched.id, handle.id());
    assert_eq!(world.count("launched"), 1);
}

async fn over_a_crash_at_every_commit(home: Home) {
    for crash in (1..=6).flat_map(|n| [Crash::Before(n), Crash::After(n)]) {
        let (home, world) = (home.another().await, World::new());
        let store = home.faulty().await;
        store.crash(crash);
        let coordinator = start(store.clone(), &world).await;
        let id = coordinator.submit(LaunchingFlow {}).await.map(|handle| handle.id());
        until(|| async { store.is_dead() || world.count("last done") > 0 }).await;
        drop((coordinator, store));

        let coordinator = home.start(&world).await;
        // Whoever got no answer finds in the report whether it was stored.
        let id = match (id, &*coordinator.report().resumed) {
            (Ok(id), _) => id,
            (Err(_), [id]) => *id,
            (Err(_), _) => coordinator.submit(LaunchingFlow {}).await.unwrap().id(),
        };
        let handle = coordinator.handle::<LaunchingFlow>(id).await.unwrap();
        handle.output().await.unwrap();
        world.noted("launched").await;
        coordinator.shutdown().await.unwrap();
        let launched = world.ledger().into_iter().filter(|entry| entry.deed == "launched");
        let launched: BTreeSet<_> = launched.map(|entry| entry.id).collect();
        assert_eq!(launched.len(), 1, "{crash:?}");
    }
}

/// Launches a tree in each of three rounds.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, poll(every = "1ms"))]
struct LaunchingRounds {
    rounds: u32,
}

impl Execute for LaunchingRounds {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl NextOperation for LaunchingRounds {
    async fn perform_next_operation(
        &mut self,
        _: &mut (),
        _: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        self.rounds += 1;
        cx.launch_detached(Mark::new(format!("round {}", self.rounds))).await?;
        Ok(self.rounds < 3)
    }
}

async fn by_a_round(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    let rounds = coordinator.submit(LaunchingRounds { rounds: 0 }).await.unwrap();
    rounds.output().await.unwrap();
    for round in 1..=3 {
        world.noted(&format!("round {round}")).await;
    }
    coordinator.shutdown().await.unwrap();
    assert_eq!(world.deeds().iter().filter(|deed| !deed.ends_with("done")).count(), 3);
}

/// Launches, and then waits for ever.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct LaunchesAndWaits {}

impl Execute for LaunchesAndWaits {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.launch_detached(Mark::new("launched")).await?;
        cx.sleep(std::time::Duration::from_secs(1_000_000)).await
    }
}

async fn it_goes_on_when_its_starter_is_cancelled(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(LaunchesAndWaits {}).await.unwrap();
    world.noted("launched").await;
    handle.cancel().await.unwrap();
    assert!(handle.output().await.is_err());
    coordinator.shutdown().await.unwrap();
    let launched = world.ledger()[0].id;
    assert_eq!(home.entity(launched).await.progress.status, CommandStatus::EndedSuccessfully);
}

/// Registers an undo command that would launch something, and fails.
#[derive(Command, Serialize, Deserialize)]
struct RegistersLaunch {}

impl Execute for RegistersLaunch {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.compensate_with(LaunchesInUndo {}).await?;
        Err(Error::other("no"))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct LaunchesInUndo {}

impl Execute for LaunchesInUndo {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let refused = engine_error_of(cx.launch_detached(Mark::new("launched")).await);
        assert_eq!(refused, EngineError::LaunchInUndo(cx.id()));
        cx.get::<World>().note(cx.id(), "told", cx.attempt());
        Ok(())
    }
}

async fn an_undo_command_is_told_that_it_cannot(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    let output = coordinator.submit(RegistersLaunch {}).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "no");
    coordinator.shutdown().await.unwrap();
    assert_eq!(world.deeds(), ["told"]);
}
