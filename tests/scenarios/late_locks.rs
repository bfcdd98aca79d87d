//! Locks that a command takes while it runs.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use coco_core::lock::{
    LockConflict, LockMode, LockProperties, LockScope, LockTimedOut, WouldDeadlock,
};
use coco_core::prelude::*;
use coco_core::{EngineError, FailureKind, NotStorable};
use serde::{Deserialize, Serialize};

use super::crash::sweep;
use super::disks::{Disk, HoldDisk, TakeDisk, Wait, conflict_of, hold, in_line, is_free, take};
use super::home::{Home, failure_of, in_no_time, on_every_store, start};
use super::world::World;

on_every_store!(
    taken_and_kept_to_the_end,
    waited_for,
    refused,
    dropped,
    no_more_than_a_cycle,
    what_is_not_asked,
    over_a_restart,
    over_a_crash_anywhere,
);
in_no_time!(not_for_ever);

async fn taken_and_kept_to_the_end(home: Home) {
    let world = World::new();
    world.close("took 1");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(take(1, Wait::No)).await.unwrap();
    world.noted("took 1").await;
    let conflict = conflict_of(coordinator.submit(hold(1)).await);
    assert_eq!((conflict.holder, conflict.command_type.as_str()), (handle.id(), "take_disk"));
    let held = coordinator.locks().await.unwrap().held;
    assert_eq!(
        (held.len(), held[0].owner, held[0].lock.mode),
        (1, handle.id(), LockMode::Exclusive)
    );
    world.open("took 1");
    handle.output().await.unwrap();
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

async fn waited_for(home: Home) {
    let world = World::new();
    ["hold 1", "took 1"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let first = coordinator.submit(take(1, Wait::Yes)).await.unwrap();
    in_line(&coordinator, 1).await;
    let second = coordinator.submit(take(1, Wait::Yes)).await.unwrap();
    in_line(&coordinator, 2).await;
    let waiting = coordinator.locks().await.unwrap().waiting;
    let owners: Vec<_> = waiting.iter().map(|waiting| waiting.request.owner).collect();
    assert_eq!(owners, [first.id(), second.id()]);
    assert_eq!(world.count("took 1"), 0);
    world.open("hold 1");
    holder.output().await.unwrap();
    world.noted("took 1").await;
    assert_eq!(world.ledger().last().unwrap().id, first.id());
    world.open("took 1");
    first.output().await.unwrap();
    second.output().await.unwrap();
    assert_eq!(world.count("took 1"), 2);
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

async fn refused(home: Home) {
    let world = World::new();
    world.close("hold 1");
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let refused = coordinator.submit(take(1, Wait::No)).await.unwrap();
    let failure = failure_of(refused.output().await);
    assert_eq!((failure.kind, failure.command), (FailureKind::LockConflict, Some(refused.id())));
    let data: LockConflict = serde_json::from_value(failure.data.unwrap()).unwrap();
    assert_eq!((data.holder, data.to_string()), (holder.id(), failure.message));
    // The error keeps its type, and what is refused can be handled.
    let handled = coordinator.submit(Tries { disks: vec![Disk(1), Disk(2)] }).await.unwrap();
    assert_eq!(handled.output().await.unwrap(), [Some(holder.id()), None]);
    world.open("hold 1");
    holder.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Tries to take disks, and says who is in the way.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct Tries {
    #[lock(shared)]
    disks: Vec<Disk>,
}

impl Execute for Tries {
    type Output = Vec<Option<CommandId>>;

    fn apply_lock_properties(&self, _: LockProperties) -> LockProperties {
        LockProperties::new(LockScope::Execution)
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<Option<CommandId>>> {
        let mut holders = Vec::new();
        for disk in &self.disks {
            holders.push(match cx.lock(*disk, Shared).await {
                Ok(_) => None,
                error => Some(conflict_of(error).holder),
            });
        }
        Ok(holders)
    }
}

/// Does not wait for a disk any more when its gate is open, and passes another one then.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct Impatient {
    disk: Disk,
}

impl Execute for Impatient {
    type Output = bool;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties.with_scope(LockScope::Execution).with_wait()
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<bool> {
        let world = cx.get::<World>();
        let took = first_of(async { cx.lock(self.disk, Exclusive).await.is_ok() }, async {
            world.pass("patience").await;
            false
        });
        let took = took.await;
        world.note(cx.id(), "no patience", 1);
        world.pass("end").await;
        assert!(cx.held::<Exclusive, Disk>(self.disk).is_err(), "nobody gave it to this run");
        Ok(took)
    }
}

/// Gives the output of whichever is ready first, and drops the other.
async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Pending => other.as_mut().poll(cx),
        ready => ready,
    })
    .await
}

async fn dropped(home: Home) {
    for is_granted in [true, false] {
        let (home, world) = (home.another().await, World::new());
        ["hold 1", "patience", "end"].iter().for_each(|gate| world.close(gate));
        let coordinator = home.start(&world).await;
        let holder = coordinator.submit(hold(1)).await.unwrap();
        let impatient = coordinator.submit(Impatient { disk: Disk(1) }).await.unwrap();
        in_line(&coordinator, 1).await;
        world.open("patience");
        world.noted("no patience").await;
        assert_eq!(coordinator.locks().await.unwrap().waiting.len(), 1, "it stays in line");
        if is_granted {
            world.open("hold 1");
            holder.output().await.unwrap();
            let conflict = conflict_of(coordinator.submit(hold(1)).await);
            assert_eq!(conflict.holder, impatient.id(), "it is the command's all the same");
        }
        world.open("end");
        assert!(!impatient.output().await.unwrap());
        in_line(&coordinator, 0).await;
        world.open("hold 1");
        holder.output().await.unwrap();
        assert!(is_free(&coordinator, 1).await);
        coordinator.shutdown().await.unwrap();
    }
}

/// Takes one disk, passes a gate, and takes another one.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct TakesTwo {
    first: Disk,
    second: Disk,
}

impl Execute for TakesTwo {
    type Output = bool;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties.with_scope(LockScope::Command).with_wait()
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<bool> {
        let world = cx.get::<World>();
        let _first = cx.lock(self.first, Exclusive).await?;
        world.note(cx.id(), format!("took {}", self.first.0), 1);
        world.pass(&format!("second after {}", self.first.0)).await;
        let second = cx.lock(self.second, Exclusive).await;
        if let Err(error) = &second {
            assert_eq!(error.downcast_ref::<WouldDeadlock>().map(|it| it.cycle.len()), Some(2));
        }
        let _second = second?;
        Ok(true)
    }
}

async fn no_more_than_a_cycle(home: Home) {
    let world = World::new();
    ["second after 1", "second after 2"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let one = coordinator.submit(TakesTwo { first: Disk(1), second: Disk(2) }).await.unwrap();
    let other = coordinator.submit(TakesTwo { first: Disk(2), second: Disk(1) }).await.unwrap();
    world.noted("took 1").await;
    world.noted("took 2").await;
    world.open("second after 1");
    in_line(&coordinator, 1).await;
    world.open("second after 2");
    let failure = failure_of(other.output().await);
    assert_eq!((failure.kind, failure.command), (FailureKind::WouldDeadlock, Some(other.id())));
    let data: WouldDeadlock = serde_json::from_value(failure.data.unwrap()).unwrap();
    assert_eq!((data.cycle[0].command, data.cycle[0].holder), (other.id(), one.id()));
    assert!(one.output().await.unwrap(), "it gets what the other one let go of");
    coordinator.shutdown().await.unwrap();
}

/// Has no scope, or a key that no store takes.
#[derive(Command, Serialize, Deserialize)]
struct OddLeaf {
    scoped: bool,
}

#[derive(LockKey)]
#[lock_key(group = "odd")]
struct OddKey(&'static str);

impl Execute for OddLeaf {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        let scope = LockScope::Execution;
        if self.scoped { properties.with_scope(scope) } else { properties }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let refused = cx.lock(OddKey(if self.scoped { "nul \0" } else { "plain" }), Shared).await;
        let error = refused.err().expect("an error");
        match (self.scoped, error.downcast_ref(), error.downcast_ref()) {
            (true, Some(NotStorable::Nul), None) => Err(error),
            (false, None, Some(EngineError::NoLockScope(id))) if *id == cx.id() => Ok(()),
            _ => panic!("{error}"),
        }
    }
}

/// The same as a flow.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct OddFlow {
    scoped: bool,
}

impl Execute for OddFlow {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        OddLeaf { scoped: self.scoped }.apply_lock_properties(properties)
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let refused = cx.lock(OddKey(if self.scoped { "nul \0" } else { "plain" }), Shared).await;
        let error = refused.err().expect("an error");
        match (self.scoped, error.downcast_ref(), error.downcast_ref()) {
            (true, Some(NotStorable::Nul), None) => Err(error),
            (false, None, Some(EngineError::NoLockScope(id))) if *id == cx.id() => Ok(()),
            _ => panic!("{error}"),
        }
    }
}

async fn what_is_not_asked(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    for (scoped, kind) in [(true, Some(FailureKind::NotStorable)), (false, None)] {
        let leaf = coordinator.submit(OddLeaf { scoped }).await.unwrap();
        let flow = coordinator.submit(OddFlow { scoped }).await.unwrap();
        for output in [leaf.output().await, flow.output().await] {
            assert_eq!(output.err().map(|error| error.failure().unwrap().kind), kind);
        }
        assert_eq!(home.tree(flow.id()).await.once_results, [], "nothing was asked");
    }
    assert_eq!(store.commits(), 8, "a start and an end each");
    coordinator.shutdown().await.unwrap();
}

/// What waited keeps its rank, whether it died waiting, or granted and not told.
async fn over_a_restart(home: Home) {
    let world = World::new();
    ["hold 1", "took 1"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let first = coordinator.submit(take(1, Wait::Yes)).await.unwrap().id();
    in_line(&coordinator, 1).await;
    let second =
        coordinator.submit(HoldDisk { disk: Disk(1), wait: Wait::Yes }).await.unwrap().id();
    in_line(&coordinator, 2).await;
    let line = coordinator.locks().await.unwrap().waiting;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("ask 1", 2).await;
    assert_eq!(coordinator.locks().await.unwrap().waiting, line);
    world.open("hold 1");
    coordinator.handle::<HoldDisk>(holder.id()).await.unwrap().output().await.unwrap();
    world.noted("took 1").await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("took 1", 2).await;
    let conflict = conflict_of(coordinator.submit(hold(1)).await);
    assert_eq!(conflict.holder, first);
    world.open("took 1");
    coordinator.handle::<TakeDisk>(first).await.unwrap().output().await.unwrap();
    coordinator.handle::<HoldDisk>(second).await.unwrap().output().await.unwrap();
    assert!(is_free(&coordinator, 1).await);
    coordinator.shutdown().await.unwrap();
}

/// One child holds a disk, and the other one takes it late, and waits for it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct OneByOne {}

impl Execute for OneByOne {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (held, taken) = tokio::join!(cx.child(hold(1)), cx.child(take(1, Wait::Yes)));
        held?;
        taken
    }
}

async fn over_a_crash_anywhere(home: Home) {
    sweep(&home, true, |_| take(1, Wait::No)).await;
    sweep(&home, false, |_| OneByOne {}).await;
}

mod scenario {
    use super::*;

    pub(super) async fn not_for_ever(home: Home) {
        let world = World::new();
        world.close("hold 1");
        let coordinator = home.start_with(&world, coco_core::Builder::on_tokio_time).await;
        let holder = coordinator.submit(hold(1)).await.unwrap();
        let late = coordinator.submit(take(1, Wait::Seconds(30))).await.unwrap();
        let failure = failure_of(late.output().await);
        assert_eq!(
            (world.age(), failure.kind),
            (Duration::from_secs(30), FailureKind::LockTimedOut)
        );
        let data: LockTimedOut = serde_json::from_value(failure.data.unwrap()).unwrap();
        assert_eq!((data.locks[0].key.as_str(), data.locks.len()), ("1", 1));
        assert_eq!(data.to_string(), failure.message);
        assert_eq!(coordinator.locks().await.unwrap().waiting, []);
        world.open("hold 1");
        holder.output().await.unwrap();
        assert!(is_free(&coordinator, 1).await);
        coordinator.shutdown().await.unwrap();
    }
}
