//! Cancel and completion, in both orders.

use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, EngineError, FailureKind};

use super::home::{FaultyHome, Home, engine_error_of, failure_of, on_every_store, start};
use super::sagas::parts::{heeds, keep, mark};
use super::sagas::{Brittle, Heeds, Saga, undone};
use super::world::World;

on_every_store!(
    completion_first,
    cancel_first_and_a_late_output,
    cancel_first_and_a_late_failure,
    the_end_of_a_child_first,
    cancel_before_the_child_has_begun,
    cancel_and_a_crash_after_it,
    many_at_once,
);

/// What was begun before has read what it needs of the store, and goes on.
async fn all_run(home: &Home) {
    let store = home.open().await;
    let nobody = "00000000-0000-0000-0000-000000000000".parse().unwrap();
    for _ in 0..5 {
        store.entity(nobody).await.unwrap();
        for _ in 0..60 {
            tokio::task::yield_now().await;
        }
    }
}

async fn began(home: &Home, label: &str) -> (World, FaultyHome, Coordinator, CommandHandle<Heeds>) {
    let world = World::new();
    world.close(label);
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Heeds::new(label)).await.unwrap();
    world.noted(label).await;
    (world, store, coordinator, handle)
}

fn cancels(coordinator: &Coordinator, id: CommandId) -> tokio::task::JoinHandle<Result<()>> {
    let coordinator = coordinator.clone();
    tokio::spawn(async move { coordinator.cancel(id, "").await })
}

async fn completion_first(home: Home) {
    let (world, store, coordinator, handle) = began(&home, "a").await;
    store.hold();
    world.open("a");
    store.held().await;
    let cancel = cancels(&coordinator, handle.id());
    all_run(&home).await;
    store.let_go();
    let refused = engine_error_of(cancel.await.unwrap());
    assert_eq!(refused, EngineError::AlreadyEnded(handle.id()));
    assert_eq!(handle.output().await.unwrap(), "a!");
    assert_eq!(undone(&world), [""; 0]);
    assert_eq!(coordinator.audit(handle.id()).await.unwrap(), []);
    coordinator.shutdown().await.unwrap();
}

async fn cancel_first_and_a_late_output(home: Home) {
    let (world, store, coordinator, handle) = began(&home, "a").await;
    store.hold();
    let cancel = cancels(&coordinator, handle.id());
    store.held().await;
    world.open("a");
    all_run(&home).await;
    assert_eq!(world.count("a is told"), 0, "not before it is stored");
    store.let_go();
    cancel.await.unwrap().unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, failure.chain.len()), (FailureKind::Cancelled, 0));
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.executed, row.return_value.as_deref()), (true, Some(r#""a!""#)));
    assert_eq!(row.status, CommandStatus::EndedWithFailure);
    assert!(row.compensated_at.is_some());
    assert_eq!(undone(&world), ["undo done a"]);
    assert_eq!((world.count("a ends badly"), world.count("a ends well")), (1, 0));
    coordinator.shutdown().await.unwrap();
}

async fn cancel_first_and_a_late_failure(home: Home) {
    let world = World::new();
    world.close("a");
    world.say("fail a", "it broke");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Brittle::new("a")).await.unwrap();
    world.noted("a").await;
    store.hold();
    let cancel = cancels(&coordinator, handle.id());
    store.held().await;
    world.open("a");
    world.noted("a failed").await;
    store.let_go();
    cancel.await.unwrap().unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, &*failure.chain), (FailureKind::Cancelled, &["it broke".into()][..]));
    assert_eq!(undone(&world), ["undo half a"]);
    coordinator.shutdown().await.unwrap();
}

/// A child has ended, and its flow was given that, when the flow is cancelled: it ends there.
async fn the_end_of_a_child_first(home: Home) {
    let world = World::new();
    world.close("a");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let plan = vec![keep("a"), mark("b")];
    let handle = coordinator.submit(Saga { plan }).await.unwrap();
    world.noted("a").await;
    store.hold();
    world.open("a");
    store.held().await;
    let cancel = cancels(&coordinator, handle.id());
    all_run(&home).await;
    store.let_go();
    cancel.await.unwrap().unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(undone(&world), ["undo done a"]);
    let rows = home.tree(handle.id()).await.commands;
    assert!(rows.iter().all(|row| row.progress.status.is_terminal()), "{rows:?}");
    coordinator.shutdown().await.unwrap();
}

/// The row of the child is on its way: its code is told at once when it begins.
async fn cancel_before_the_child_has_begun(home: Home) {
    let world = World::new();
    ["a", "b"].iter().for_each(|gate| world.close(gate));
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Saga { plan: vec![keep("a"), heeds("b")] }).await.unwrap();
    world.noted("a").await;
    store.hold();
    world.open("a");
    store.held().await;
    all_run(&home).await;
    let cancel = cancels(&coordinator, handle.id());
    all_run(&home).await;
    store.let_go();
    cancel.await.unwrap().unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(world.count("b"), world.count("b is told"));
    assert_eq!(undone(&world).last().map(String::as_str), Some("undo done a"));
    coordinator.shutdown().await.unwrap();
}

/// What was told that it is cancelled is cancelled, also when the engine dies right then.
async fn cancel_and_a_crash_after_it(home: Home) {
    let (world, store, coordinator, handle) = began(&home, "a").await;
    world.close("a cleans up");
    handle.cancel().await.unwrap();
    world.noted("a is told").await;
    let commits = store.commits();
    store.crash(Crash::Before(commits + 1));
    world.open("a cleans up");
    assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Heeds>(handle.id()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(world.count("a"), 1, "it does not run again");
    assert_eq!(undone(&world), ["undo half a"]);
    coordinator.shutdown().await.unwrap();
}

/// Each is told one of two things, and that is what happened.
async fn many_at_once(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.close("a");
    let mut handles = Vec::new();
    for _ in 0..50 {
        handles.push(coordinator.submit(Heeds::new("a")).await.unwrap());
    }
    world.noted_times("a", 50).await;
    let cancels: Vec<_> = handles.iter().map(|handle| cancels(&coordinator, handle.id())).collect();
    world.open("a");
    let mut refused = 0;
    for (handle, cancel) in handles.iter().zip(cancels) {
        let (cancelled, output) = (cancel.await.unwrap(), handle.output().await);
        match cancelled {
            Ok(()) => assert_eq!(failure_of(output).kind, FailureKind::Cancelled),
            Err(_) => {
                refused += 1;
                assert_eq!(output.unwrap(), "a!");
            }
        }
    }
    let undone = world.count("undo done a") + world.count("undo half a");
    assert_eq!(undone + refused, 50);
    assert_eq!(world.count("a ends badly") + world.count("a ends well"), 50);
    coordinator.shutdown().await.unwrap();
}
