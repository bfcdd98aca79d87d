//! What locks cost: commits, counted exactly, and statements of a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coco_core::entity::{Audit, CommandEntity, Delivery, TreeRows};
use coco_core::prelude::*;
use coco_core::store::{
    CommitError, Committed, EngineId, Lease, LockRows, Step, Store, StoreError, StoreFuture,
};
use coco_core::testing::FaultyStore;
use coco_store::SeaOrmStore;

use super::home::{Home, failure_of, on_each_database, on_every_store, start};
use super::turns::{Locks, Take, alone, close, free, nothing_is_locked, plan, shared, take};
use super::world::World;

on_every_store!(
    granted_at_once,
    children_granted_at_once,
    who_waits,
    a_whole_line,
    a_child_that_waits,
    cancelled_or_too_late,
    side_by_side,
);
on_each_database!(a_constant_number_of_statements);

/// Runs `command` alone in a store, and gives how many commits it took.
async fn commits<C: Command>(home: &Home, command: C) -> usize {
    let home = home.another().await;
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    coordinator.submit(command).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    store.commits()
}

fn many() -> Locks {
    alone(0..10).and(shared(10..20))
}

async fn granted_at_once(home: Home) {
    for locks in [free(), alone([1]), shared([1]), many()] {
        assert_eq!(commits(&home, take("a", locks.clone().no_wait())).await, 2);
        assert_eq!(commits(&home, take("a", locks)).await, 2);
    }
    // Whether its key is taken is known before it may wait.
    let home_of_keyed = home.another().await;
    let store = home_of_keyed.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    let keyed = coordinator.submit_with_key("key", take("a", alone([1]))).await.unwrap();
    keyed.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    assert_eq!(store.commits(), 3);
    // What is freed before the end hook, or after it, goes with a commit that is there anyway.
    assert_eq!(commits(&home, close("a", free())).await, 3);
    assert_eq!(commits(&home, close("a", many())).await, 3);
    assert_eq!(commits(&home, close("a", many().until_the_end())).await, 3);
}

async fn children_granted_at_once(home: Home) {
    for locks in [free(), alone([1]), many(), many().no_wait()] {
        for n in [1, 5] {
            let parts = vec![take("a", locks.clone()).into(); n];
            assert_eq!(commits(&home, plan(locks.clone(), parts)).await, n + 2);
        }
    }
}

/// A holder of disk 1, and the store that counts.
async fn held(home: &Home, world: &World) -> (super::home::FaultyHome, Coordinator) {
    world.close("holder");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), world).await;
    coordinator.submit(take("holder", alone([1]))).await.unwrap();
    world.noted("holder").await;
    assert_eq!(store.commits(), 1);
    (store, coordinator)
}

/// It is stored and in line with one commit, begins with one, and ends with one. Who lets it in
/// commits no more than otherwise.
async fn who_waits(home: Home) {
    let world = World::new();
    let (store, coordinator) = held(&home, &world).await;
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    assert_eq!(store.commits(), 2, "stored, and in line");
    world.close("next");
    world.open("holder");
    world.noted("next").await;
    assert_eq!(store.commits(), 4, "let in with the end of the holder, and begun");
    world.open("next");
    next.output().await.unwrap();
    assert_eq!(store.commits(), 5);
    coordinator.shutdown().await.unwrap();
    nothing_is_locked(&home).await;
}

/// The end of one and the start of the next but one share no commit: each begins when it is let in.
async fn a_whole_line(home: Home) {
    let world = World::new();
    let (store, coordinator) = held(&home, &world).await;
    let mut line = Vec::new();
    for n in 0..10 {
        line.push(coordinator.submit(take(format!("n {n}"), alone([1]))).await.unwrap());
    }
    assert_eq!(store.commits(), 11);
    world.open("holder");
    for waiting in line {
        waiting.output().await.unwrap();
    }
    assert_eq!(store.commits(), 11 + 1 + 2 * 10);
    coordinator.shutdown().await.unwrap();
}

async fn a_child_that_waits(home: Home) {
    let world = World::new();
    let (store, coordinator) = held(&home, &world).await;
    let flow = coordinator.submit(plan(free(), [take("child", alone([1])).into()])).await.unwrap();
    super::turns::queued(&home, 1).await;
    assert_eq!(store.commits(), 3, "the flow, and its child in line");
    world.open("holder");
    flow.output().await.unwrap();
    assert_eq!(store.commits(), 6, "let in, begun, and ended with its flow");
    coordinator.shutdown().await.unwrap();
}

async fn cancelled_or_too_late(home: Home) {
    let world = World::new();
    let (store, coordinator) = held(&home, &world).await;
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    next.cancel().await.unwrap();
    failure_of(next.output().await);
    assert_eq!(store.commits(), 3);
    let short = alone([1]).at_most(std::time::Duration::from_millis(5));
    let late = coordinator.submit(take("late", short)).await.unwrap();
    failure_of(late.output().await);
    assert_eq!(store.commits(), 5);
    world.open("holder");
    coordinator.shutdown().await.unwrap();
    assert_eq!(store.commits(), 6);
}

/// Many that wait for one are let in together.
async fn side_by_side(home: Home) {
    let world = World::new();
    let (store, coordinator) = held(&home, &world).await;
    store.hold();
    let submits: Vec<_> = (0..64)
        .map(|n| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move {
                coordinator.submit(take(format!("n {n}"), shared([1]))).await.unwrap()
            })
        })
        .collect();
    store.held().await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    store.let_go();
    let mut handles: Vec<CommandHandle<Take>> = Vec::new();
    for submit in submits {
        handles.push(submit.await.unwrap());
    }
    let before = store.commits();
    assert!(before <= 3, "{before}");
    world.open("holder");
    for handle in handles {
        handle.output().await.unwrap();
    }
    assert_eq!(store.commits(), before + 3, "let in, begun, ended");
    coordinator.shutdown().await.unwrap();
}

/// Counts the statements of each batch.
#[derive(Clone)]
struct Metered {
    store: SeaOrmStore,
    most: Arc<AtomicU64>,
}

impl Store for Metered {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        self.store.acquire()
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        self.store.release(lease, clean)
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        Box::pin(async move {
            let before = self.store.statistics().statements;
            let committed = self.store.commit(lease, steps).await;
            let statements = self.store.statistics().statements - before;
            self.most.fetch_max(statements, Ordering::Relaxed);
            committed
        })
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        self.store.lost(lease)
    }

    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        self.store.open_trees(of, after, limit)
    }

    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.store.own_tree(engine, root)
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.store.tree(root)
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        self.store.entity(id)
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        self.store.audit(root)
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        self.store.inbox(command, limit)
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        self.store.locks(behind)
    }
}

/// The statements of the largest batch when so many commands come, wait, begin and end together.
async fn most_statements(home: &Home, commands: u32, locks: impl Fn(u32) -> Locks) -> u64 {
    let (home, world) = (home.another().await, World::new());
    let metered = Metered { store: home.counted().await, most: Arc::default() };
    let store = FaultyStore::new(metered.clone());
    let coordinator = start(store.clone(), &world).await;
    world.close("holder");
    coordinator.submit(take("holder", alone([1]))).await.unwrap();
    world.noted("holder").await;
    store.hold();
    let submits: Vec<_> = (0..commands)
        .map(|n| {
            let (coordinator, locks) = (coordinator.clone(), locks(n));
            tokio::spawn(
                async move { coordinator.submit(take(format!("n {n}"), locks)).await.unwrap() },
            )
        })
        .collect();
    store.held().await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    store.let_go();
    let mut handles = Vec::new();
    for submit in submits {
        handles.push(submit.await.unwrap());
    }
    world.open("holder");
    for handle in handles {
        handle.output().await.unwrap();
    }
    coordinator.shutdown().await.unwrap();
    nothing_is_locked(&home).await;
    metered.most.load(Ordering::Relaxed)
}

async fn a_constant_number_of_statements(home: Home) {
    let kinds: [fn(u32) -> Locks; 3] = [
        |n| alone([10 + n, 1000 + n]).and(shared([2])),
        |n| shared([1]).and(alone([10 + n])),
        |n| alone([1, 10 + n % 3]),
    ];
    for locks in kinds {
        let few = most_statements(&home, 4, locks).await;
        assert_eq!(most_statements(&home, 40, locks).await, few);
    }
    let free_ones = most_statements(&home, 40, |_| free()).await;
    let locked = most_statements(&home, 40, kinds[1]).await;
    assert!(locked <= free_ones + 8, "{free_ones} without locks, {locked} with them");
}
