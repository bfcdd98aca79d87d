//! How an engine stops, and what handles say then.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, in_time, on_every_store, start, until};
use super::leaves::{Mark, Nothing};
use super::world::World;

on_every_store!(
    flows_are_dropped_and_leaves_are_waited_for,
    the_end_hook_of_a_flow_is_waited_for,
    the_deadline_drops_leaves,
    twice,
    without_a_limit,
    dropped_handles,
    a_handle_while_the_end_is_stored,
    a_submit_that_nobody_waits_for,
);

/// Asks for a next child when the first has ended, and ends as the test says.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Steps {}

impl Execute for Steps {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.child(Mark::new("step one")).await?;
        cx.child(Mark::new("step two")).await
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), "the steps end", cx.attempt());
        world.pass("end of steps").await;
        world.note(cx.id(), "the steps ended", cx.attempt());
        Ok(())
    }
}

async fn flows_are_dropped_and_leaves_are_waited_for(home: Home) {
    let world = World::new();
    world.close("step one");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Steps {}).await.unwrap();
    world.noted("step one").await;
    let shutdown = tokio::spawn(coordinator.clone().shutdown());
    until(|| async { coordinator.submit(Nothing {}).await.is_err() }).await;
    world.open("step one");
    shutdown.await.unwrap().unwrap();
    assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);
    assert_eq!(world.deeds(), ["step one", "step one done"], "nothing new is started");
    let rows = home.tree(handle.id()).await.commands;
    let ended = rows.iter().filter(|row| row.progress.status == CommandStatus::EndedSuccessfully);
    assert_eq!((rows.len(), ended.count()), (2, 1), "the end of the leaf is stored");

    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Steps>(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "step two!");
    assert_eq!(world.count("step one"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn the_end_hook_of_a_flow_is_waited_for(home: Home) {
    let world = World::new();
    world.close("end of steps");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Steps {}).await.unwrap();
    world.noted("the steps end").await;
    let shutdown = tokio::spawn(coordinator.clone().shutdown());
    until(|| async { coordinator.submit(Nothing {}).await.is_err() }).await;
    world.open("end of steps");
    shutdown.await.unwrap().unwrap();
    assert_eq!(world.count("the steps ended"), 1, "a hook is no flow");
    assert_eq!(handle.status().await.unwrap(), CommandStatus::EndedSuccessfully);
    assert_eq!(handle.output().await.unwrap(), "step two!");
}

async fn the_deadline_drops_leaves(home: Home) {
    let world = World::new();
    world.close("endless");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Mark::new("endless")).await.unwrap();
    world.noted("endless").await;
    coordinator.shutdown_within(Duration::ZERO).await.unwrap();
    assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Active);
    world.open("endless");
    let coordinator = home.start(&world).await;
    let again = coordinator.handle::<Mark>(handle.id()).await.unwrap();
    assert_eq!(again.output().await.unwrap(), "endless!");
    assert_eq!(world.count("endless done"), 1, "the first run was dropped");
    // What an earlier process said of it was not final.
    assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);
    coordinator.shutdown().await.unwrap();
}

async fn twice(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let clone = coordinator.clone();
    coordinator.shutdown().await.unwrap();
    assert_eq!(engine_error_of(clone.submit(Nothing {}).await), EngineError::Shutdown);
    assert_eq!(engine_error_of(clone.shutdown().await), EngineError::Shutdown);
}

async fn without_a_limit(home: Home) {
    let coordinator = home.start(&World::new()).await;
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    coordinator.shutdown_within(Duration::MAX).await.unwrap();
}

async fn dropped_handles(home: Home) {
    let world = World::new();
    world.close("dropped");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Mark::new("dropped")).await.unwrap().id();
    world.noted("dropped").await;
    world.open("dropped");
    let first = coordinator.handle::<Mark>(id).await.unwrap();
    let second = first.clone();
    assert_eq!(first.output().await.unwrap(), "dropped!");
    drop(first);
    assert_eq!(second.output().await.unwrap(), "dropped!");
    let later = coordinator.handle::<Mark>(id).await.unwrap();
    assert_eq!(later.output().await.unwrap(), "dropped!", "the end is in the store");
    coordinator.shutdown().await.unwrap();
    assert_eq!(later.output().await.unwrap(), "dropped!", "an outcome stays");
}

async fn a_handle_while_the_end_is_stored(home: Home) {
    let world = World::new();
    world.close("ending");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Mark::new("ending")).await.unwrap().id();
    world.noted("ending").await;
    drop(coordinator);

    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    world.noted_times("ending", 2).await;
    store.hold();
    world.open("ending");
    store.held().await;
    let handle = coordinator.handle::<Mark>(id).await.unwrap();
    let output = tokio::spawn(async move { handle.output().await });
    store.let_go();
    assert_eq!(output.await.unwrap().unwrap(), "ending!");
    coordinator.shutdown().await.unwrap();
}

/// The caller goes away while its command is stored; it runs all the same.
async fn a_submit_that_nobody_waits_for(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    store.hold();
    let submit = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.submit(Mark::new("alone")).await }
    });
    store.held().await;
    submit.abort();
    assert!(submit.await.unwrap_err().is_cancelled());
    store.let_go();
    world.noted("alone done").await;
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    assert!(coordinator.report().resumed.is_empty(), "it has ended");
    coordinator.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_nothing_is_waited_for_a_few_seconds() {
    in_time(async {
        let world = World::new();
        let home = Home::memory();
        let store = home.faulty().await;
        let coordinator = start(store.clone(), &world).await;
        store.hold();
        let submit = tokio::spawn({
            let coordinator = coordinator.clone();
            async move { coordinator.submit(Mark::new("alone")).await.map(drop) }
        });
        store.held().await;
        let began = tokio::time::Instant::now();
        coordinator.shutdown_within(Duration::from_secs(1)).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(1 + 5));
        assert_eq!(engine_error_of(submit.await.unwrap()), EngineError::Shutdown);
    })
    .await;
}
