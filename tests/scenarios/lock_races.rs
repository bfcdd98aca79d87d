//! A grant, and what comes at the same time as it: in both orders, nobody has a lock who has ended,
//! and nobody waits for what is free.

use std::time::Duration;

use coco_core::Builder;
use coco_core::lock::LockProperties;
use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{
    FaultyHome, Home, engine_error_of, failure_of, in_no_time, on_every_store, start_with, until,
};
use super::turns::{
    Disk, Take, alone, begun, free, line, mark, nothing_is_locked, plan, queued, shared, take,
};
use super::world::World;

on_every_store!(
    a_cancel_while_it_is_let_in,
    a_cancel_when_it_was_let_in,
    a_cancel_while_it_asks,
    a_child_that_asks_while_its_parent_is_cancelled,
    a_stop_while_it_is_let_in,
    a_cancel_of_one_who_rests,
    a_crash_while_it_leaves,
    its_place_in_line_is_rejected,
    its_start_is_rejected,
    let_in_by_one_who_is_rejected,
    many_cancels,
);
in_no_time!(a_time_that_is_out_while_it_is_let_in, its_time_out_begins_when_it_begins);

async fn all_run() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

/// A holder of disk 1 behind the gate `holder`, and one who waits.
async fn held(
    home: &Home,
    world: &World,
) -> (FaultyHome, Coordinator, CommandHandle<Take>, CommandHandle<Take>) {
    held_with(home, world, |builder| builder).await
}

/// The same, by an engine as `chosen`.
async fn held_with(
    home: &Home,
    world: &World,
    chosen: impl Fn(Builder) -> Builder,
) -> (FaultyHome, Coordinator, CommandHandle<Take>, CommandHandle<Take>) {
    world.close("holder");
    let store = home.faulty().await;
    let coordinator = start_with(store.clone(), world, chosen).await;
    let holder = coordinator.submit(take("holder", alone([1]))).await.unwrap();
    world.noted("holder").await;
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    assert_eq!(line(home).await, [next.id()]);
    (store, coordinator, holder, next)
}

fn cancels(coordinator: &Coordinator, id: CommandId) -> tokio::task::JoinHandle<Result<()>> {
    let coordinator = coordinator.clone();
    tokio::spawn(async move { coordinator.cancel(id, "").await })
}

async fn last_one(home: &Home, coordinator: Coordinator) {
    coordinator.submit(take("last", alone([1]))).await.unwrap().output().await.unwrap();
    nothing_is_locked(home).await;
    coordinator.shutdown().await.unwrap();
}

/// The commit that lets it in is on its way when it is cancelled.
async fn a_cancel_while_it_is_let_in(home: Home) {
    let world = World::new();
    let (store, coordinator, holder, next) = held(&home, &world).await;
    store.hold();
    world.open("holder");
    store.held().await;
    let cancel = cancels(&coordinator, next.id());
    all_run().await;
    store.let_go();
    cancel.await.unwrap().unwrap();
    assert_eq!(failure_of(next.output().await).kind, FailureKind::Cancelled);
    holder.output().await.unwrap();
    assert_eq!(world.count("next"), 0);
    last_one(&home, coordinator).await;
}

/// It has its locks, and the commit that begins it is on its way.
async fn a_cancel_when_it_was_let_in(home: Home) {
    let world = World::new();
    let (store, coordinator, holder, next) = held(&home, &world).await;
    world.open("holder");
    holder.output().await.unwrap();
    store.hold();
    let cancel = cancels(&coordinator, next.id());
    all_run().await;
    store.let_go();
    match cancel.await.unwrap() {
        Ok(()) => assert_eq!(failure_of(next.output().await).kind, FailureKind::Cancelled),
        Err(error) => {
            assert_eq!(engine_error_of::<()>(Err(error)), EngineError::AlreadyEnded(next.id()));
            next.output().await.unwrap();
        }
    }
    last_one(&home, coordinator).await;
}

/// It asks once its key is known not to be taken.
async fn a_cancel_while_it_asks(home: Home) {
    let world = World::new();
    let (store, coordinator, holder, next) = held(&home, &world).await;
    let keyed = coordinator.submit_with_key("key", take("keyed", alone([1]))).await.unwrap();
    store.hold();
    let cancel = cancels(&coordinator, keyed.id());
    all_run().await;
    store.let_go();
    cancel.await.unwrap().unwrap();
    assert_eq!(failure_of(keyed.output().await).kind, FailureKind::Cancelled);
    assert_eq!(line(&home).await, [next.id()]);
    world.open("holder");
    holder.output().await.unwrap();
    next.output().await.unwrap();
    assert_eq!(world.count("keyed"), 0);
    last_one(&home, coordinator).await;
}

async fn a_child_that_asks_while_its_parent_is_cancelled(home: Home) {
    for locks in [alone([1]), alone([2])] {
        let (home, world) = (home.another().await, World::new());
        let (store, coordinator, holder, next) = held(&home, &world).await;
        world.close("before");
        let parts = [mark("before"), take("child", locks).into()];
        let flow = coordinator.submit(plan(free(), parts)).await.unwrap();
        world.noted("before").await;
        store.hold();
        world.open("before");
        store.held().await;
        let cancel = cancels(&coordinator, flow.id());
        all_run().await;
        store.let_go();
        cancel.await.unwrap().unwrap();
        assert_eq!(failure_of(flow.output().await).kind, FailureKind::Cancelled);
        assert_eq!(line(&home).await, [next.id()]);
        world.open("holder");
        holder.output().await.unwrap();
        next.output().await.unwrap();
        last_one(&home, coordinator).await;
    }
}

/// The engine stops: who is let in by the end of another begins in the next one.
async fn a_stop_while_it_is_let_in(home: Home) {
    let world = World::new();
    let (_, coordinator, _, next) = held(&home, &world).await;
    let other = coordinator.submit(take("other", alone([1]))).await.unwrap();
    let stop = tokio::spawn(coordinator.shutdown());
    all_run().await;
    world.open("holder");
    stop.await.unwrap().unwrap();
    assert_eq!(begun(&world, &["next", "other"]), [""; 0]);
    assert_eq!(line(&home).await, [other.id()]);
    world.close("next");
    let coordinator = home.start(&world).await;
    world.noted("next").await;
    assert_eq!(line(&home).await, [other.id()]);
    world.open("next");
    coordinator.handle::<Take>(next.id()).await.unwrap().output().await.unwrap();
    coordinator.handle::<Take>(other.id()).await.unwrap().output().await.unwrap();
    assert_eq!(begun(&world, &["next", "other"]), ["next", "other"]);
    last_one(&home, coordinator).await;
}

async fn a_cancel_of_one_who_rests(home: Home) {
    let world = World::new();
    let coordinator = home.start_with(&world, |builder| builder.most_trees(2)).await;
    world.close("holder");
    let holder = coordinator.submit(take("holder", alone([1]))).await.unwrap();
    world.noted("holder").await;
    let mut leaves = Vec::new();
    let mut flows = Vec::new();
    for n in 0..4 {
        leaves.push(coordinator.submit(take(format!("n {n}"), alone([1]))).await.unwrap());
        let parts = [take(format!("n {n}"), alone([1])).into()];
        flows.push(coordinator.submit(plan(shared([2]), parts)).await.unwrap());
    }
    queued(&home, 8).await;
    for leaf in &leaves[1..] {
        leaf.cancel().await.unwrap();
        assert_eq!(failure_of(leaf.output().await).kind, FailureKind::Cancelled);
    }
    for flow in &flows[1..] {
        flow.cancel().await.unwrap();
        assert_eq!(failure_of(flow.output().await).kind, FailureKind::Cancelled);
    }
    assert_eq!(line(&home).await.len(), 2);
    world.open("holder");
    holder.output().await.unwrap();
    leaves[0].output().await.unwrap();
    flows[0].output().await.unwrap();
    last_one(&home, coordinator).await;
}

/// It leaves the line in the commit that ends it.
async fn a_crash_while_it_leaves(home: Home) {
    for (crash, has_left) in [(Crash::Before(3), false), (Crash::After(3), true)] {
        let (home, world) = (home.another().await, World::new());
        let (store, coordinator, holder, next) = held(&home, &world).await;
        assert_eq!(store.commits(), 2);
        store.crash(crash);
        let cancelled = coordinator.cancel(next.id(), "").await;
        assert_eq!(engine_error_of(cancelled), EngineError::Shutdown);
        let (holder, next) = (holder.id(), next.id());
        drop(coordinator);
        assert_eq!(line(&home).await.len(), usize::from(!has_left), "{crash:?}");
        world.open("holder");
        let coordinator = home.start(&world).await;
        coordinator.handle::<Take>(holder).await.unwrap().output().await.unwrap();
        let output = coordinator.handle::<Take>(next).await.unwrap().output().await;
        assert_eq!(output.is_err(), has_left, "{crash:?}");
        last_one(&home, coordinator).await;
    }
}

/// The store refuses the data of the step that asks.
async fn its_place_in_line_is_rejected(home: Home) {
    let world = World::new();
    let (store, coordinator, holder, next) = held(&home, &world).await;
    store.reject(move |step| {
        step.request.as_ref().is_some_and(|r| r.locks.iter().any(|lock| lock.key == "77"))
    });
    let bad = coordinator.submit(take("bad", alone([1, 77]))).await;
    let failure = match bad {
        Ok(bad) => failure_of(bad.output().await),
        Err(error) => panic!("its row is stored: {error}"),
    };
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert_eq!(line(&home).await, [next.id()]);
    world.open("holder");
    holder.output().await.unwrap();
    next.output().await.unwrap();
    assert_eq!(world.count("bad"), 0);
    last_one(&home, coordinator).await;
}

/// It has its locks when the store refuses its start: it gives them back.
async fn its_start_is_rejected(home: Home) {
    let world = World::new();
    let (store, coordinator, holder, next) = held(&home, &world).await;
    let other = coordinator.submit(take("other", alone([1]))).await.unwrap();
    let (id, mut rejects) = (next.id(), true);
    store.reject(move |step| step.command == id && std::mem::take(&mut rejects));
    world.open("holder");
    holder.output().await.unwrap();
    assert_eq!(failure_of(next.output().await).kind, FailureKind::Rejected);
    other.output().await.unwrap();
    assert_eq!(world.count("next"), 0);
    last_one(&home, coordinator).await;
}

/// The end of the holder is rejected, so nobody is let in by it, but by what follows.
async fn let_in_by_one_who_is_rejected(home: Home) {
    let world = World::new();
    let (store, coordinator, holder, next) = held(&home, &world).await;
    let (id, mut rejects) = (holder.id(), true);
    store.reject(move |step| step.command == id && std::mem::take(&mut rejects));
    world.open("holder");
    assert_eq!(failure_of(holder.output().await).kind, FailureKind::Rejected);
    next.output().await.unwrap();
    last_one(&home, coordinator).await;
}

/// Some end, some are cancelled, in one line; nothing is left of either.
async fn many_cancels(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut handles = Vec::new();
    for n in 0..60_u32 {
        let locks = if n % 3 == 0 { shared([1, 2]) } else { alone([1 + n % 2]) };
        handles.push(coordinator.submit(take(format!("n {n}"), locks)).await.unwrap());
    }
    let cancelled: Vec<_> =
        handles.iter().step_by(2).map(|handle| cancels(&coordinator, handle.id())).collect();
    for cancel in cancelled {
        let _ = cancel.await.unwrap();
    }
    for (n, handle) in handles.iter().enumerate() {
        match handle.output().await {
            Ok(_) => {}
            failed => {
                assert_eq!(failure_of(failed).kind, FailureKind::Cancelled);
                assert!(n % 2 == 0);
            }
        }
    }
    until(async || line(&home).await.is_empty()).await;
    last_one(&home, coordinator).await;
}

/// May take ten seconds.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, timeout = "10s", needs(World))]
struct TakeShortly {
    #[lock(exclusive)]
    disk: Disk,
}

impl Execute for TakeShortly {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties.with_wait()
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "shortly", cx.attempt());
        cx.get::<World>().pass("shortly").await;
        Ok(())
    }
}

mod scenario {
    use super::*;

    /// Its time is out by the clock of its engine, and the store lets it in.
    pub(super) async fn a_time_that_is_out_while_it_is_let_in(home: Home) {
        let world = World::new();
        let (store, coordinator, holder, next) =
            held_with(&home, &world, Builder::on_tokio_time).await;
        let short = alone([1]).at_most(Duration::from_millis(20));
        let late = coordinator.submit(take("late", short)).await.unwrap();
        next.cancel().await.unwrap();
        assert_eq!(line(&home).await, [late.id()]);
        store.hold();
        world.open("holder");
        store.held().await;
        tokio::time::sleep(Duration::from_millis(40)).await;
        all_run().await;
        store.let_go();
        assert_eq!(failure_of(late.output().await).kind, FailureKind::LockTimedOut);
        holder.output().await.unwrap();
        assert_eq!(world.count("late"), 0);
        last_one(&home, coordinator).await;
    }

    pub(super) async fn its_time_out_begins_when_it_begins(home: Home) {
        let world = World::new();
        let coordinator = home.start_with(&world, Builder::on_tokio_time).await;
        world.close("holder");
        world.close("shortly");
        coordinator.submit(take("holder", alone([1]))).await.unwrap();
        world.noted("holder").await;
        let shortly = coordinator.submit(TakeShortly { disk: Disk(1) }).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        world.open("holder");
        world.noted("shortly").await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(line(&home).await, []);
        let failure = failure_of(shortly.output().await);
        assert_eq!(failure.kind, FailureKind::TimedOut);
        assert_eq!(world.age(), Duration::from_secs(70 + 10), "ten, and ten to clean up");
        world.open("shortly");
        coordinator.shutdown().await.unwrap();
    }
}
