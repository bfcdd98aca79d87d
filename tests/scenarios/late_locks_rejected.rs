//! The store refuses a step of a tree in which a leaf asks for a lock: the leaf is answered, and asks
//! again.

use std::time::Duration;

use coco_core::FailureKind;
use coco_core::lock::{LockProperties, LockScope};
use coco_core::prelude::*;
use coco_core::store::Write;
use serde::{Deserialize, Serialize};

use super::disks::{Disk, HoldDisk, Wait, hold, in_line, is_free};
use super::home::{
    FaultyHome, Home, failure_of, in_no_time, on_every_store, start, start_with, stuck_of,
};
use super::leaves::Mark;
use super::quarantine::{Key, unreadable};
use super::slow_reads::SlowReads;
use super::world::World;

on_every_store!(
    asked_in_the_same_commit,
    in_line_when_the_tree_is_read_again,
    asked_while_it_is_read,
);
in_no_time!(out_of_time_in_the_same_commit);

/// Two leaves side by side: the end of one is refused, and the other one takes a disk.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct BothAtOnce {
    key: u64,
}

impl Execute for BothAtOnce {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (refused, taken) =
            tokio::join!(cx.child(EndsOddly {}), cx.child(TakesAgain { key: Key(self.key) }));
        assert!(refused.is_err());
        taken
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct EndsOddly {}

impl Execute for EndsOddly {
    type Output = u64;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
        let world = cx.get::<World>();
        world.pass("end").await;
        // The engine hears of this end before the other leaf, which wakes up now, asks.
        world.open("ask");
        Ok(4711)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct TakesAgain {
    key: Key,
}

impl Execute for TakesAgain {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties.with_scope(LockScope::Execution).with_wait_timeout(Duration::from_secs(1000))
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.pass("ask").await;
        world.note(cx.id(), "asks", cx.attempt());
        if let Err(error) = cx.lock(Disk(1), Exclusive).await {
            world.note(cx.id(), error.to_string(), cx.attempt());
            if let Err(error) = cx.lock(Disk(1), Exclusive).await {
                world.note(cx.id(), format!("again: {error}"), cx.attempt());
                return Err(error);
            }
            world.note(cx.id(), "asked again", cx.attempt());
        }
        cx.held::<Exclusive, Disk>(Disk(1)).map(drop)
    }
}

/// A key of this world only.
fn key(world: &World) -> u64 {
    world.number() + 2_000_000
}

const AGAIN: &str = "nothing was done: the store refused another step of this tree; ask again";

/// Refuses the odd end, once.
fn refuse_the_end(store: &FaultyHome) {
    let mut open = true;
    store.reject(move |step| {
        let is_end = |write: &Write| match write {
            Write::Update(_, progress) => progress.return_value.as_deref() == Some("4711"),
            _ => false,
        };
        let hit = open && step.writes.iter().any(is_end);
        open &= !hit;
        hit
    });
}

async fn asked_in_the_same_commit(home: Home) {
    let (store, world) = (home.faulty().await, World::new());
    ["end", "ask"].iter().for_each(|gate| world.close(gate));
    let coordinator = start(store.clone(), &world).await;
    let both = coordinator.submit(BothAtOnce { key: key(&world) }).await.unwrap();
    store.hold();
    let held = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.submit(Mark::new("held")).await.map(drop) }
    });
    store.held().await;
    refuse_the_end(&store);
    world.open("end");
    world.noted("asks").await;
    store.let_go();
    held.await.unwrap().unwrap();
    both.output().await.unwrap();
    assert_eq!((world.count(AGAIN), world.count("asked again")), (1, 1), "{:?}", world.ledger());
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

async fn in_line_when_the_tree_is_read_again(home: Home) {
    let (store, world) = (home.faulty().await, World::new());
    ["end", "hold 1"].iter().for_each(|gate| world.close(gate));
    let coordinator = start(store.clone(), &world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let both = coordinator.submit(BothAtOnce { key: key(&world) }).await.unwrap();
    in_line(&coordinator, 1).await;
    let next = HoldDisk { disk: Disk(1), wait: Wait::Yes };
    let next = coordinator.submit(next).await.unwrap();
    in_line(&coordinator, 2).await;
    let line = coordinator.locks().await.unwrap().waiting;
    refuse_the_end(&store);
    world.open("end");
    world.noted(AGAIN).await;
    // Behind what it asks again.
    coordinator.submit(Mark::new("beside")).await.unwrap().output().await.unwrap();
    assert_eq!(coordinator.locks().await.unwrap().waiting, line, "it keeps its rank");
    world.open("hold 1");
    holder.output().await.unwrap();
    both.output().await.unwrap();
    assert_eq!((world.count(AGAIN), world.count("asked again")), (1, 1), "{:?}", world.ledger());
    next.output().await.unwrap();
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

/// What it asks while its tree is being read, it hears when that is over, also when nobody can read
/// it any more.
async fn asked_while_it_is_read(home: Home) {
    for is_readable in [true, false] {
        let (home, world, reads) = (home.another().await, World::new(), World::new());
        let store = home.faulty().await;
        ["end", "ask"].iter().for_each(|gate| world.close(gate));
        reads.close("read");
        let slow = SlowReads { store: store.clone(), world: reads.clone() };
        let coordinator = start(slow, &world).await;
        let both = coordinator.submit(BothAtOnce { key: key(&world) }).await.unwrap();
        store.hold();
        let held = tokio::spawn({
            let coordinator = coordinator.clone();
            async move { coordinator.submit(Mark::new("held")).await.map(drop) }
        });
        store.held().await;
        refuse_the_end(&store);
        world.open("end");
        world.noted("asks").await;
        store.let_go();
        held.await.unwrap().unwrap();
        world.noted(AGAIN).await;
        reads.noted("read").await;
        if is_readable {
            reads.open("read");
            both.output().await.unwrap();
            assert_eq!(world.count("asked again"), 1);
        } else {
            unreadable().insert(key(&world));
            reads.open("read");
            let (_, reason) = stuck_of(both.output().await);
            world.noted(&format!("again: {reason}")).await;
            unreadable().remove(&key(&world));
        }
        coordinator.shutdown().await.unwrap();
    }
}

mod scenario {
    use super::*;

    /// It is told that it has waited too long only when that is stored.
    pub(super) async fn out_of_time_in_the_same_commit(home: Home) {
        let (store, world) = (home.faulty().await, World::new());
        ["end", "hold 1"].iter().for_each(|gate| world.close(gate));
        let on_tokio_time = coco_core::Builder::on_tokio_time;
        let coordinator = start_with(store.clone(), &world, on_tokio_time).await;
        let holder = coordinator.submit(hold(1)).await.unwrap();
        let both = coordinator.submit(BothAtOnce { key: key(&world) }).await.unwrap();
        in_line(&coordinator, 1).await;
        store.hold();
        let held = tokio::spawn({
            let coordinator = coordinator.clone();
            async move { coordinator.submit(Mark::new("held")).await.map(drop) }
        });
        store.held().await;
        refuse_the_end(&store);
        world.open("end");
        tokio::time::sleep(Duration::from_secs(1001)).await;
        assert_eq!(world.deeds(), ["hold 1", "asks"], "nothing is stored");
        store.let_go();
        held.await.unwrap().unwrap();
        let output = tokio::time::timeout(Duration::from_secs(10_000), both.output()).await;
        let failure = failure_of(output.expect("the leaf is answered"));
        assert_eq!(world.count(AGAIN), 1, "{:?}", world.ledger());
        assert_eq!(failure.kind, FailureKind::LockTimedOut);
        world.open("hold 1");
        holder.output().await.unwrap();
        assert!(is_free(&coordinator, 1).await);
        coordinator.shutdown().await.unwrap();
    }
}
