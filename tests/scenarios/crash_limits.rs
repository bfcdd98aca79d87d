//! A tree that kills its engine again and again is found out, alone, and waits for an operator.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{FaultyHome, Home, engine_error_of, failure_of, on_every_store, start, stuck_of};
use super::leaves::{Mark, Nothing};
use super::sagas::parts::{keep, mark};
use super::sagas::{Saga, undone};
use super::world::World;

on_every_store!(
    one_of_three,
    progress_in_between,
    retried,
    cancelled,
    abandoned,
    a_clean_stop_counts_nothing,
    what_only_waits_is_innocent,
    in_its_end_hook,
);

/// A process, as the store sees it.
async fn process(home: &Home, world: &World) -> (FaultyHome, Coordinator) {
    let store = home.faulty().await;
    let coordinator = start(store.clone(), world).await;
    (store, coordinator)
}

/// The process dies, as the store sees it.
async fn dies((store, coordinator): (FaultyHome, Coordinator)) {
    store.crash(Crash::Before(store.commits() + 1));
    let submitted = coordinator.submit(Nothing {}).await;
    assert_eq!(engine_error_of(submitted), EngineError::Shutdown);
    assert!(store.is_dead());
}

/// Wherever it stands among the others: after its third death alone it is stuck, and they end.
async fn one_of_three(home: Home) {
    for place in 0..3 {
        let (home, world) = (home.another().await, World::new());
        let mut labels = ["one", "two", "three"];
        labels[place] = "killer";
        labels.iter().for_each(|label| world.close(label));
        let first = process(&home, &world).await;
        let mut handles = Vec::new();
        for label in labels {
            handles.push(first.1.submit(Mark::new(label)).await.unwrap().id());
        }
        for label in labels {
            world.noted(label).await;
        }
        dies(first).await;
        let second = process(&home, &world).await;
        for label in labels {
            world.noted_times(label, 2).await;
        }
        dies(second).await;

        // The others would end now, if they were let.
        labels.iter().filter(|label| **label != "killer").for_each(|label| world.open(label));
        let third = process(&home, &world).await;
        world.noted_times("killer", 3).await;
        let before = handles[..place].iter();
        for id in before {
            third.1.handle::<Mark>(*id).await.unwrap().output().await.unwrap();
        }
        for label in &labels[place + 1..] {
            assert_eq!(world.count(label), 2, "suspects run one at a time");
        }
        dies(third).await;

        let (store, coordinator) = process(&home, &world).await;
        for (n, id) in handles.iter().enumerate() {
            let handle = coordinator.handle::<Mark>(*id).await.unwrap();
            if n == place {
                let (stuck, reason) = stuck_of(handle.output().await);
                assert_eq!((stuck, reason.kind), (*id, FailureKind::Crashed));
                assert_eq!(handle.status().await.unwrap(), CommandStatus::Stuck);
            } else {
                assert_eq!(handle.output().await.unwrap(), format!("{}!", labels[n]));
            }
        }
        let new = coordinator.submit(Mark::new("new")).await.unwrap();
        new.output().await.unwrap();
        assert_eq!(world.count("killer"), 3);
        // It stays so over any more.
        dies((store, coordinator)).await;
        let (_, coordinator) = process(&home, &world).await;
        let handle = coordinator.handle::<Mark>(handles[place]).await.unwrap();
        assert_eq!(stuck_of(handle.output().await).1.kind, FailureKind::Crashed);
        assert_eq!(world.count("killer"), 3);
        coordinator.shutdown().await.unwrap();
    }
}

/// Each process dies, but not before something has ended.
async fn progress_in_between(home: Home) {
    let world = World::new();
    let labels: Vec<_> = (0..6).map(|n| format!("step {n}")).collect();
    labels.iter().for_each(|label| world.close(label));
    let plan = labels.iter().map(|label| mark(label)).collect();
    let mut process_now = process(&home, &world).await;
    let id = process_now.1.submit(Saga { plan }).await.unwrap().id();
    for label in &labels {
        world.noted(label).await;
        dies(process_now).await;
        process_now = process(&home, &world).await;
        world.noted_times(label, 2).await;
        world.open(label);
    }
    let (_, coordinator) = process_now;
    let handle = coordinator.handle::<Saga>(id).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!(world.count("step 3"), 2);
    coordinator.shutdown().await.unwrap();
}

/// A tree that is stuck by the crash limit.
async fn convicted(home: &Home, world: &World) -> (Coordinator, CommandHandle<Saga>) {
    world.close("killer");
    let first = process(home, world).await;
    let plan = vec![keep("a"), mark("killer"), mark("b")];
    let id = first.1.submit(Saga { plan }).await.unwrap().id();
    world.noted("killer").await;
    dies(first).await;
    for n in 2..=3 {
        let next = process(home, world).await;
        world.noted_times("killer", n).await;
        dies(next).await;
    }
    let (_, coordinator) = process(home, world).await;
    let handle = coordinator.handle::<Saga>(id).await.unwrap();
    assert_eq!(stuck_of(handle.output().await).0, id, "its root");
    assert_eq!(world.count("killer"), 3);
    world.open("killer");
    (coordinator, handle)
}

async fn retried(home: Home) {
    let world = World::new();
    let (coordinator, handle) = convicted(&home, &world).await;
    coordinator.retry(handle.id()).await.unwrap();
    handle.output().await.unwrap();
    let deeds = ["a", "killer done", "b"].map(|deed| world.count(deed));
    assert_eq!((deeds, world.count("killer")), ([1, 1, 1], 4));
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.deaths, row.stuck_reason), (0, None));
    let audit = coordinator.audit(handle.id()).await.unwrap();
    assert_eq!(audit.iter().map(|entry| &*entry.action).collect::<Vec<_>>(), ["retry"]);
    coordinator.shutdown().await.unwrap();
}

async fn cancelled(home: Home) {
    let world = World::new();
    let (coordinator, handle) = convicted(&home, &world).await;
    coordinator.cancel(handle.id(), "it kills").await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it was cancelled: it kills");
    assert_eq!(undone(&world), ["undo done a"]);
    assert_eq!(world.count("killer"), 3, "it did not run again");
    let rows = home.tree(handle.id()).await.commands;
    assert!(rows.iter().all(|row| row.progress.status.is_terminal()));
    coordinator.shutdown().await.unwrap();
}

/// Its child is open, and nothing of it moves: the child is cancelled first.
async fn abandoned(home: Home) {
    let world = World::new();
    let (coordinator, handle) = convicted(&home, &world).await;
    let id = handle.id();
    let refused = engine_error_of(coordinator.abandon(id, "").await);
    assert_eq!(refused, EngineError::OpenChildren { command: id, open: 1 });
    assert_eq!(stuck_of(handle.output().await).0, id);
    coordinator.shutdown().await.unwrap();
}

async fn a_clean_stop_counts_nothing(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Mark::new("a")).await.unwrap().id();
    world.noted("a").await;
    coordinator.shutdown_within(Duration::ZERO).await.unwrap();
    for n in 2..8 {
        let coordinator = home.start(&world).await;
        world.noted_times("a", n).await;
        assert_eq!(home.entity(id).await.progress.deaths, 0);
        coordinator.shutdown_within(Duration::ZERO).await.unwrap();
    }
    world.open("a");
    let coordinator = home.start(&world).await;
    coordinator.handle::<Mark>(id).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct OnlySleeps {}

impl Execute for OnlySleeps {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.sleep(Duration::from_secs(3600)).await
    }
}

async fn what_only_waits_is_innocent(home: Home) {
    let world = World::new();
    let first = process(&home, &world).await;
    let sleeps = first.1.submit(OnlySleeps {}).await.unwrap().id();
    let late = first.1.submit_after(Duration::from_secs(3600), Mark::new("late")).await;
    let late = late.unwrap().id();
    super::home::until(async || !home.tree(sleeps).await.sleeps.is_empty()).await;
    dies(first).await;
    for n in 0..6 {
        let next = process(&home, &world).await;
        // It lives long enough to say that they do nothing.
        let label = format!("lives {n}");
        next.1.submit(Mark::new(label)).await.unwrap().output().await.unwrap();
        assert_eq!(home.entity(late).await.progress.status, CommandStatus::NotStarted);
        let row = home.entity(sleeps).await.progress;
        assert_eq!(row.status, CommandStatus::Active, "after {n} more: {:?}", row.stuck_reason);
        dies(next).await;
    }
    let coordinator = home.start(&world).await;
    coordinator.cancel(sleeps, "").await.unwrap();
    coordinator.cancel(late, "").await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Its outcome stands, and it kills in its end hook.
async fn in_its_end_hook(home: Home) {
    let world = World::new();
    world.close("a ends well");
    let first = process(&home, &world).await;
    let id = first.1.submit(super::sagas::Brittle::new("a")).await.unwrap().id();
    world.noted("a ends well").await;
    dies(first).await;
    for n in 2..=3 {
        let next = process(&home, &world).await;
        world.noted_times("a ends well", n).await;
        dies(next).await;
    }
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<super::sagas::Brittle>(id).await.unwrap();
    assert_eq!(stuck_of(handle.output().await).1.kind, FailureKind::Crashed);
    let refused = engine_error_of(coordinator.cancel(id, "").await);
    assert_eq!(refused, EngineError::AlreadyEnded(id));
    world.open("a ends well");
    coordinator.retry(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "a!");
    assert_eq!((world.count("a"), world.count("a ends well")), (1, 4));
    coordinator.shutdown().await.unwrap();
}
