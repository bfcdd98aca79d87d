//! More trees than there is room for: they wait in the store, begin in their order, and none is
//! lost or run twice.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, start_with, stuck_of, until};
use super::leaves::{Mark, Nothing};
use super::sagas::parts::{brittle, keep};
use super::sagas::{Brittle, Saga};
use super::world::World;

on_every_store!(
    fifty_of_all_kinds,
    over_a_crash,
    in_the_order_of_submission,
    what_waits_gives_its_room_back,
    what_is_not_in_memory,
    locks_that_are_refused_when_admitted,
    a_held_store,
    a_held_store_and_a_shutdown,
);

async fn narrow(home: &Home, world: &World, most: usize) -> Coordinator {
    home.start_with(world, |builder| builder.most_trees(most)).await
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct LockedWork {
    #[lock(exclusive, group = "admission")]
    disk: u32,
    label: String,
}

impl Execute for LockedWork {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), &*self.label, 1);
        cx.get::<World>().pass(&self.label).await;
        Ok(())
    }
}

/// Submits one of several kinds. What it does is noted once, as its label.
async fn submit(coordinator: &Coordinator, n: u32) -> CommandId {
    let label = format!("n {n}");
    match n % 6 {
        0 => coordinator.submit(Mark::new(label)).await.unwrap().id(),
        1 => {
            let plan = vec![keep(&label), super::sagas::parts::mark("inner")];
            coordinator.submit(Saga { plan }).await.unwrap().id()
        }
        2 => coordinator.submit(LockedWork { disk: n, label }).await.unwrap().id(),
        3 => {
            let key = label.clone();
            let first = coordinator.submit_with_key(key.as_str(), Mark::new(&*label)).await;
            let second = coordinator.submit_with_key(key, Mark::new(label)).await.unwrap();
            assert_eq!(first.unwrap().id(), second.id());
            second.id()
        }
        4 => {
            let pause = Duration::from_millis(u64::from(n) % 5);
            coordinator.submit_after(pause, Mark::new(label)).await.unwrap().id()
        }
        _ => coordinator.submit(Brittle::new(label)).await.unwrap().id(),
    }
}

async fn all_end(home: &Home, ids: &[CommandId]) {
    let store = home.open().await;
    let is_over = async |id| store.entity(id).await.unwrap().unwrap().progress.status.is_terminal();
    for id in ids {
        until(async || is_over(*id).await).await;
    }
}

async fn fifty_of_all_kinds(home: Home) {
    let rooms = if home.is_memory() { &[1, 2, 7][..] } else { &[2] };
    for &most in rooms {
        let (home, world) = (home.another().await, World::new());
        let coordinator = narrow(&home, &world, most).await;
        let mut ids = Vec::new();
        for n in 0..50 {
            ids.push(submit(&coordinator, n).await);
        }
        all_end(&home, &ids).await;
        for n in 0..50 {
            assert_eq!(world.count(&format!("n {n}")), 1, "n {n}");
        }
        coordinator.shutdown().await.unwrap();
        assert_eq!(home.start(&world).await.report().resumed, []);
    }
}

async fn over_a_crash(home: Home) {
    let world = World::new();
    ["n 0", "n 6"].iter().for_each(|gate| world.close(gate));
    let coordinator = narrow(&home, &world, 2).await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(submit(&coordinator, n).await);
    }
    world.noted("n 6").await;
    drop(coordinator);
    let coordinator = narrow(&home, &world, 2).await;
    world.noted_times("n 6", 2).await;
    ["n 0", "n 6"].iter().for_each(|gate| world.open(gate));
    all_end(&home, &ids).await;
    let mut repeated = Vec::new();
    for n in 0..50 {
        let count = world.count(&format!("n {n}"));
        assert!((1..=2).contains(&count), "n {n}: {count}");
        if count == 2 {
            repeated.push(n);
        }
    }
    assert!(repeated.len() <= 2 && repeated.contains(&6), "{repeated:?}");
    coordinator.shutdown().await.unwrap();
}

async fn in_the_order_of_submission(home: Home) {
    let world = World::new();
    ["n 0", "n 1"].iter().for_each(|gate| world.close(gate));
    let coordinator = narrow(&home, &world, 2).await;
    let mut handles = Vec::new();
    for n in 0..40 {
        handles.push(coordinator.submit(Mark::new(format!("n {n}"))).await.unwrap());
    }
    world.noted("n 1").await;
    assert_eq!(handles[2].status().await.unwrap(), CommandStatus::NotStarted);
    assert_eq!(world.deeds(), ["n 0", "n 1"]);
    let waits = handles[39].clone();
    let output = tokio::spawn(async move { waits.output().await });
    world.open("n 1");
    for handle in &handles[1..] {
        handle.output().await.unwrap();
    }
    assert_eq!(output.await.unwrap().unwrap(), "n 39!");
    let began = world.deeds().into_iter().filter(|deed| !deed.contains("done"));
    let expected: Vec<_> = (0..40).map(|n| format!("n {n}")).collect();
    assert_eq!(began.collect::<Vec<_>>(), expected);
    world.open("n 0");
    handles[0].output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Dozes {}

impl Execute for Dozes {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Mark::new("before")).await?;
        cx.sleep(Duration::from_secs(3600)).await
    }
}

async fn what_waits_gives_its_room_back(home: Home) {
    let world = World::new();
    world.say("fail stuck ends well", "not yet");
    let coordinator = narrow(&home, &world, 1).await;
    let dozes = coordinator.submit(Dozes {}).await.unwrap();
    let late =
        coordinator.submit_after(Duration::from_secs(3600), Mark::new("late")).await.unwrap();
    let stuck = coordinator.submit(Saga { plan: vec![brittle("stuck")] }).await.unwrap();
    let runs = coordinator.submit(Mark::new("runs")).await.unwrap();
    runs.output().await.unwrap();
    let (child, _) = stuck_of(stuck.output().await);
    assert_eq!(late.status().await.unwrap(), CommandStatus::NotStarted);
    world.unsay("fail stuck ends well");
    coordinator.retry(child).await.unwrap();
    stuck.output().await.unwrap();
    for handle in [dozes.cancel().await, late.cancel().await] {
        handle.unwrap();
    }
    assert_eq!(failure_of(dozes.output().await).kind, FailureKind::Cancelled);
    assert_eq!(failure_of(late.output().await).kind, FailureKind::Cancelled);
    assert_eq!((world.count("before"), world.count("stuck"), world.count("late")), (1, 1, 0));
    coordinator.shutdown().await.unwrap();
}

async fn what_is_not_in_memory(home: Home) {
    let world = World::new();
    world.close("runs");
    let coordinator = narrow(&home, &world, 1).await;
    let runs = coordinator.submit(Mark::new("runs")).await.unwrap();
    world.noted("runs").await;
    let waits = coordinator.submit(Brittle::new("waits")).await.unwrap();
    let second = coordinator.submit(Mark::new("second")).await.unwrap();
    let id = waits.id();
    assert_eq!(engine_error_of(coordinator.retry(id).await), EngineError::NotStuck(id));
    assert_eq!(engine_error_of(coordinator.abandon(id, "").await), EngineError::NotStuck(id));
    coordinator.cancel(id, "before it began").await.unwrap();
    assert_eq!(failure_of(waits.output().await).message, "it was cancelled: before it began");
    let twice = engine_error_of(coordinator.cancel(id, "").await);
    assert_eq!(twice, EngineError::AlreadyEnded(id));
    world.open("runs");
    runs.output().await.unwrap();
    second.output().await.unwrap();
    assert_eq!(world.deeds(), ["runs", "runs done", "second", "second done"]);
    let resubmitted = coordinator.resubmit::<Brittle>(id).await.unwrap();
    resubmitted.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

async fn locks_that_are_refused_when_admitted(home: Home) {
    let world = World::new();
    world.close("holder");
    let coordinator = narrow(&home, &world, 2).await;
    let work = |label: &str| LockedWork { disk: 1, label: label.to_owned() };
    let holder = coordinator.submit(work("holder")).await.unwrap();
    world.close("other");
    let other = coordinator.submit(Mark::new("other")).await.unwrap();
    world.noted("other").await;
    let refused = coordinator.submit(work("refused")).await.unwrap();
    world.open("other");
    assert_eq!(failure_of(refused.output().await).kind, FailureKind::LockConflict);
    world.open("holder");
    holder.output().await.unwrap();
    other.output().await.unwrap();
    assert_eq!(world.count("refused"), 0);
    coordinator.shutdown().await.unwrap();
}

async fn all_run() {
    for _ in 0..2000 {
        tokio::task::yield_now().await;
    }
}

/// More than the engine takes while it waits for the store.
const MANY: usize = 2200;

fn spawn_submits(
    coordinator: &Coordinator,
    n: usize,
) -> Vec<tokio::task::JoinHandle<Result<CommandHandle<Nothing>>>> {
    let submit = |_| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { coordinator.submit(Nothing {}).await })
    };
    (0..n).map(submit).collect()
}

/// Submits wait and are not lost; a cancel does not wait behind them.
async fn a_held_store(home: Home) {
    let world = World::new();
    world.close("a");
    let store = home.faulty().await;
    let coordinator = start_with(store.clone(), &world, |builder| builder.most_trees(10)).await;
    let handle = coordinator.submit(super::sagas::Heeds::new("a")).await.unwrap();
    world.noted("a").await;
    store.hold();
    let submits = spawn_submits(&coordinator, MANY);
    store.held().await;
    all_run().await;
    let cancel = tokio::spawn({
        let (coordinator, id) = (coordinator.clone(), handle.id());
        async move { coordinator.cancel(id, "").await }
    });
    all_run().await;
    assert!(submits.iter().all(|submit| !submit.is_finished()));
    let before = store.commits();
    store.let_go();
    cancel.await.unwrap().unwrap();
    assert!(store.commits() <= before + 2, "it went with the next batch");
    for submit in submits {
        submit.await.unwrap().unwrap().output().await.unwrap();
    }
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    coordinator.shutdown().await.unwrap();
}

/// Who was told `Ok` is stored; who was not was told that the engine has stopped.
async fn a_held_store_and_a_shutdown(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    let coordinator = start_with(store.clone(), &world, |builder| builder.most_trees(10)).await;
    store.hold();
    let submits = spawn_submits(&coordinator, MANY);
    store.held().await;
    all_run().await;
    let stop = tokio::spawn(coordinator.shutdown());
    all_run().await;
    assert!(!stop.is_finished());
    store.let_go();
    stop.await.unwrap().unwrap();
    let mut stored = Vec::new();
    for submit in submits {
        match submit.await.unwrap() {
            Ok(handle) => stored.push(handle.id()),
            Err(error) => {
                assert_eq!(engine_error_of::<()>(Err(error)), EngineError::Shutdown);
            }
        }
    }
    assert!(!stored.is_empty() && stored.len() < MANY, "{} were stored", stored.len());
    let coordinator = home.start(&world).await;
    all_end(&home, &stored).await;
    coordinator.shutdown().await.unwrap();
}
