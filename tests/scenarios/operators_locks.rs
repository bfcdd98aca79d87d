//! What an operator does to locks, and what an engine does with what is granted to those who are not
//! there.

use coco_core::entity::Audit;
use coco_core::lock::{HeldLock, Lock, LockMode, LockRequest};
use coco_core::prelude::*;
use coco_core::store::{Outcome, Step, Store};
use coco_core::testing::Crash;
use coco_core::{CommandStatus, EngineError, NotStorable, Timestamp, Why};
use serde::{Deserialize, Serialize};

use super::disks::{Disk, HoldDisk, Wait, hold, in_line, is_free};
use super::home::{Home, engine_error_of, on_every_store, start, start_with, stuck_of, until};
use super::late_locks_of_flows::{TakingFlow, taking_flow};
use super::leaves::{Mark, Nothing};
use super::quarantine::{Key, unreadable};
use super::slow_reads::SlowReads;
use super::world::World;

on_every_store!(
    holders_and_the_line,
    from_one_that_runs,
    from_one_that_is_stuck,
    from_one_that_is_quarantined,
    from_one_that_has_ended,
    from_a_child,
    what_is_not_held_any_more,
    granted_before_it_is_admitted,
    granted_when_two_engines_have_died,
    granted_while_it_is_at_rest,
    granted_when_the_engine_stops,
);

const GROUP: &str = "taken by force";

/// Holds a key as long as its gate is closed, and fails in its end hook when the world says so.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Command, needs(World))]
struct Keeper {
    #[lock(exclusive, group = "taken by force")]
    key: Key,
}

impl Execute for Keeper {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "kept", cx.attempt());
        cx.get::<World>().pass("keeper").await;
        Ok(())
    }

    async fn end_successfully(&mut self, _: &(), cx: &LeafContext<Self>) -> Result<()> {
        match cx.get::<World>().word("keeper sticks") {
            Some(why) => Err(Error::other(why)),
            None => Ok(()),
        }
    }
}

/// Waits for the key of a keeper.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, wait, needs(World))]
struct NextKeeper {
    #[lock(exclusive, group = "taken by force")]
    key: u64,
}

impl Execute for NextKeeper {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "next", cx.attempt());
        cx.get::<World>().pass("next").await;
        Ok(())
    }
}

/// A key of this world only.
fn key(world: &World) -> u64 {
    world.number() + 1_000_000
}

async fn holders_and_the_line(home: Home) {
    let world = World::new();
    ["hold 1", "hold 2"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.locks().await.unwrap(), coco_core::Locks::default());
    let two = coordinator.submit(hold(2)).await.unwrap();
    let one = coordinator.submit(hold(1)).await.unwrap();
    let mut ids = Vec::new();
    for disk in [2, 1, 2] {
        let waits = HoldDisk { disk: Disk(disk), wait: Wait::Yes };
        ids.push(coordinator.submit(waits).await.unwrap().id());
        in_line(&coordinator, ids.len()).await;
    }
    let locks = coordinator.locks().await.unwrap();
    let held: Vec<_> = locks.held.iter().map(|held| (held.lock.key.as_str(), held.owner)).collect();
    assert_eq!(held, [("1", one.id()), ("2", two.id())], "by key");
    let waiting: Vec<_> = locks.waiting.iter().map(|waiting| waiting.request.owner).collect();
    assert_eq!(waiting, ids, "in the order of asking");
    assert_eq!(locks.waiting[0].request.locks, [lock("2")]);
    ["hold 1", "hold 2"].iter().for_each(|gate| world.open(gate));
    for id in ids {
        coordinator.handle::<HoldDisk>(id).await.unwrap().output().await.unwrap();
    }
    assert_eq!(coordinator.locks().await.unwrap(), coco_core::Locks::default());
    coordinator.shutdown().await.unwrap();
}

fn lock(disk: &str) -> Lock {
    Lock { group: "late disk".into(), key: disk.to_owned(), mode: LockMode::Exclusive }
}

/// Takes its lock from `holder` by force, and sees it in the hands of the next one.
async fn handed_over(
    coordinator: &Coordinator,
    world: &World,
    holder: CommandId,
    status: CommandStatus,
) {
    world.close("next");
    let next = coordinator.submit(NextKeeper { key: key(world) }).await.unwrap();
    in_line(coordinator, 1).await;
    let held = coordinator.locks().await.unwrap().held;
    let [held] = &held[..] else { panic!("{held:?}") };
    assert_eq!((held.owner, held.lock.key.clone()), (holder, key(world).to_string()));
    let audited = coordinator.audit(held.root()).await.unwrap().len();

    coordinator.force_release(held, "it is gone").await.unwrap();
    let locks = coordinator.locks().await.unwrap();
    assert_eq!(locks.waiting, []);
    let owners: Vec<_> = locks.held.iter().map(|held| held.owner).collect();
    assert_eq!(owners, [next.id()], "in the same commit");
    world.noted("next").await;

    let audit = coordinator.audit(held.root()).await.unwrap();
    assert_eq!(audit.len(), audited + 1);
    let Audit { action, command_id, root_command_id, status: stood, reason, linked, .. } =
        audit.last().unwrap();
    assert_eq!((&**action, *command_id, *stood), ("force_release", holder, status));
    assert_eq!((*root_command_id, &**reason, *linked), (held.root(), "it is gone", None));
    let again = coordinator.force_release(held, "").await;
    let gone = EngineError::LockGone { command: holder, lock: held.lock.clone() };
    assert_eq!(engine_error_of(again), gone);
    world.open("next");
    next.output().await.unwrap();
    assert_eq!(coordinator.locks().await.unwrap().held, []);
}

async fn from_one_that_runs(home: Home) {
    let world = World::new();
    world.close("keeper");
    let coordinator = home.start(&world).await;
    let keeper = coordinator.submit(Keeper { key: Key(key(&world)) }).await.unwrap();
    world.noted("kept").await;
    handed_over(&coordinator, &world, keeper.id(), CommandStatus::Active).await;
    // Its end takes nothing from the one that has the lock by then.
    world.close("next");
    let next = coordinator.submit(NextKeeper { key: key(&world) }).await.unwrap();
    world.noted_times("next", 2).await;
    world.open("keeper");
    keeper.output().await.unwrap();
    assert_eq!(coordinator.locks().await.unwrap().held[0].owner, next.id());
    world.open("next");
    next.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

async fn from_one_that_is_stuck(home: Home) {
    for is_restarted in [false, true] {
        let (home, world) = (home.another().await, World::new());
        world.say("keeper sticks", "no");
        let mut coordinator = home.start(&world).await;
        let keeper = coordinator.submit(Keeper { key: Key(key(&world)) }).await.unwrap();
        stuck_of(keeper.output().await);
        if is_restarted {
            coordinator.shutdown().await.unwrap();
            coordinator = home.start(&world).await;
        }
        handed_over(&coordinator, &world, keeper.id(), CommandStatus::Stuck).await;
        world.unsay("keeper sticks");
        coordinator.retry(keeper.id()).await.unwrap();
        let handle = coordinator.handle::<Keeper>(keeper.id()).await.unwrap();
        handle.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}

async fn from_one_that_is_quarantined(home: Home) {
    let world = World::new();
    world.close("keeper");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Keeper { key: Key(key(&world)) }).await.unwrap().id();
    world.noted("kept").await;
    drop(coordinator);
    unreadable().insert(key(&world));
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.report().quarantined.len(), 1);
    handed_over(&coordinator, &world, id, CommandStatus::Active).await;
    let handle = coordinator.handle::<Keeper>(id).await.unwrap();
    stuck_of(handle.output().await);
    coordinator.shutdown().await.unwrap();
    unreadable().remove(&key(&world));
}

/// A lock that an ended command holds, as no engine of this program leaves it.
async fn from_one_that_has_ended(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let ended = coordinator.submit(Nothing {}).await.unwrap();
    ended.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    let mode = LockMode::Exclusive;
    let request = LockRequest {
        owner: ended.id(),
        number: 0,
        command_type: "nothing".into(),
        ancestors: Vec::new(),
        locks: vec![Lock { group: GROUP.into(), key: key(&world).to_string(), mode }],
        at: Timestamp::from_micros(1),
        waits: false,
        until: None,
    };
    let store = home.open().await;
    let lease = store.acquire().await.unwrap();
    let (root, command, request) = (ended.id(), ended.id(), Some(request.into()));
    let leak = Step { root, command, request, writes: Vec::new() };
    let committed = store.commit(&lease, [leak].into()).await.unwrap();
    assert_eq!(committed.outcomes, [Outcome::Applied]);
    store.release(lease, true).await.unwrap();
    drop(store);
    let coordinator = home.start(&world).await;
    handed_over(&coordinator, &world, ended.id(), CommandStatus::EndedSuccessfully).await;
    coordinator.shutdown().await.unwrap();
}

/// Keeps a key in a child.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct KeepsInside {
    key: u64,
}

impl Execute for KeepsInside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Keeper { key: Key(self.key) }).await
    }
}

async fn from_a_child(home: Home) {
    let world = World::new();
    world.close("keeper");
    let coordinator = home.start(&world).await;
    let root = coordinator.submit(KeepsInside { key: key(&world) }).await.unwrap();
    world.noted("kept").await;
    let keeper = world.ledger()[0].id;
    assert_ne!(keeper, root.id());
    handed_over(&coordinator, &world, keeper, CommandStatus::Active).await;
    world.open("keeper");
    root.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

async fn what_is_not_held_any_more(home: Home) {
    let world = World::new();
    world.close("keeper");
    let coordinator = home.start(&world).await;
    let keeper = coordinator.submit(Keeper { key: Key(key(&world)) }).await.unwrap();
    let held = coordinator.locks().await.unwrap().held.swap_remove(0);
    let (owner, lock, since) = (keeper.id(), held.lock.clone(), held.since);
    assert_eq!(held.owner, owner);
    let shared = Lock { mode: LockMode::Shared, ..lock.clone() };
    let other = Lock { key: "other".to_owned(), ..lock.clone() };
    for (owner, lock, since) in [
        (owner, shared, since),
        (owner, other, since),
        (owner, lock.clone(), Timestamp::from_micros(since.as_micros() + 1)),
        (world_of_nobody(), lock.clone(), since),
    ] {
        let wrong = HeldLock { owner, lock: lock.clone(), since, ..held.clone() };
        let refused = coordinator.force_release(&wrong, "").await;
        assert_eq!(engine_error_of(refused), EngineError::LockGone { command: owner, lock });
    }
    let error = coordinator.force_release(&held, "nul \0").await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&NotStorable::Nul));
    let still = coordinator.locks().await.unwrap().held;
    assert_eq!(still, std::slice::from_ref(&held), "it is still held");
    assert_eq!(coordinator.audit(keeper.id()).await.unwrap(), []);
    world.open("keeper");
    keeper.output().await.unwrap();
    let gone = EngineError::LockGone { command: owner, lock };
    assert_eq!(engine_error_of(coordinator.force_release(&held, "").await), gone);
    coordinator.shutdown().await.unwrap();
}

fn world_of_nobody() -> CommandId {
    "01890000-0000-7000-8000-000000000000".parse().unwrap()
}

/// The engine has room for one tree. One that was granted its locks comes all the same, before
/// another that was submitted earlier.
async fn granted_before_it_is_admitted(home: Home) {
    let world = World::new();
    ["hold 1", "before"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap().id();
    let before = coordinator.submit(Mark::new("before")).await.unwrap().id();
    let waits = HoldDisk { disk: Disk(1), wait: Wait::Yes };
    let next = coordinator.submit(waits).await.unwrap().id();
    in_line(&coordinator, 1).await;
    world.noted("before").await;
    drop(coordinator);

    let coordinator = home.start_with(&world, |builder| builder.most_trees(1)).await;
    world.noted_times("hold 1", 2).await;
    assert_eq!(world.count("before"), 1, "there is no room");
    world.open("hold 1");
    coordinator.handle::<HoldDisk>(holder).await.unwrap().output().await.unwrap();
    coordinator.handle::<HoldDisk>(next).await.unwrap().output().await.unwrap();
    assert!(is_free(&coordinator, 1).await);
    assert_eq!(home.entity(before).await.progress.status, CommandStatus::Active);
    world.open("before");
    coordinator.handle::<Mark>(before).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// A tree that comes back because of a grant is counted the deaths that it ran through, like others.
async fn granted_when_two_engines_have_died(home: Home) {
    let world = World::new();
    world.close("hold 1");
    let mut ids = None;
    for death in 1..=2 {
        let store = home.faulty().await;
        let coordinator = start(store.clone(), &world).await;
        if ids.is_none() {
            let holder = coordinator.submit(hold(1)).await.unwrap().id();
            let flow = coordinator.submit(taking_flow(1, Wait::Yes)).await.unwrap().id();
            ids = Some((holder, flow));
        }
        world.noted_times("hold 1", death).await;
        in_line(&coordinator, 1).await;
        store.crash(Crash::Before(store.commits() + 1));
        engine_error_of(coordinator.submit(Nothing {}).await);
    }
    let (holder, flow) = ids.expect("both were submitted");
    let coordinator = home.start_with(&world, |builder| builder.most_trees(1)).await;
    world.noted_times("hold 1", 3).await;
    assert_eq!(coordinator.why_waiting(holder).await.unwrap(), Why::Runs);
    assert_eq!(home.entity(flow).await.progress.deaths, 1, "it is not here");
    let held = coordinator.locks().await.unwrap().held.swap_remove(0);
    coordinator.force_release(&held, "").await.unwrap();
    until(async || home.entity(flow).await.progress.deaths == 2).await;
    assert_eq!(coordinator.why_waiting(flow).await.unwrap(), Why::Trial, "another one is first");
    world.open("hold 1");
    coordinator.handle::<HoldDisk>(holder).await.unwrap().output().await.unwrap();
    coordinator.handle::<TakingFlow>(flow).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Looks at a disk in two children side by side, and waits for it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct LooksTwice {}

impl Execute for LooksTwice {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.children([1, 1].map(|disk| LooksAtIt { disk: Disk(disk) })).await.map(drop)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, wait, needs(World))]
struct LooksAtIt {
    #[lock(shared)]
    disk: Disk,
}

impl Execute for LooksAtIt {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "looks", cx.attempt());
        Ok(())
    }
}

/// However much is granted to a tree that has made room, it is read once.
async fn granted_while_it_is_at_rest(home: Home) {
    let (world, reads) = (World::new(), World::new());
    world.close("hold 1");
    let store = SlowReads { store: home.faulty().await, world: reads.clone() };
    let coordinator = start_with(store, &world, |builder| builder.most_trees(2)).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let looks = coordinator.submit(LooksTwice {}).await.unwrap();
    in_line(&coordinator, 2).await;
    // It has left when there is room for another one.
    coordinator.submit(Mark::new("room")).await.unwrap().output().await.unwrap();
    assert_eq!(reads.ledger(), []);
    world.open("hold 1");
    holder.output().await.unwrap();
    looks.output().await.unwrap();
    assert_eq!(world.count("looks"), 2);
    let read: Vec<_> = reads.ledger().into_iter().map(|entry| entry.id).collect();
    assert_eq!(read, [looks.id()]);
    coordinator.shutdown().await.unwrap();
}

/// Who waits stays in line, and who is granted its locks by what still ends begins with the next
/// engine.
async fn granted_when_the_engine_stops(home: Home) {
    for room in [1000, 6] {
        grants_when_the_engine_stops(&home.another().await, room).await;
    }
}

/// Where there is not much room, who waits has left.
async fn grants_when_the_engine_stops(home: &Home, room: usize) {
    let world = World::new();
    ["hold 1", "hold 2"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start_with(&world, |builder| builder.most_trees(room)).await;
    coordinator.submit(hold(1)).await.unwrap();
    coordinator.submit(hold(2)).await.unwrap();
    let mut ids = Vec::new();
    for disk in [1, 2] {
        let waits = HoldDisk { disk: Disk(disk), wait: Wait::Yes };
        ids.push(coordinator.submit(waits).await.unwrap().id());
        in_line(&coordinator, ids.len()).await;
    }
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    let shutdown = tokio::spawn(coordinator.clone().shutdown());
    until(|| async { coordinator.submit(Nothing {}).await.is_err() }).await;
    world.open("hold 1");
    in_line(&coordinator, 1).await;
    world.open("hold 2");
    shutdown.await.unwrap().unwrap();
    let locks = coordinator.locks().await.unwrap();
    let owners: Vec<_> = locks.held.iter().map(|held| held.owner).collect();
    assert_eq!((owners, locks.waiting), (ids.clone(), Vec::new()));
    assert_eq!((world.count("hold 1"), world.count("hold 2")), (1, 1), "nothing new is started");
    drop(coordinator);
    let coordinator = home.start(&world).await;
    for id in ids {
        coordinator.handle::<HoldDisk>(id).await.unwrap().output().await.unwrap();
    }
    assert_eq!(coordinator.locks().await.unwrap().held, []);
    coordinator.shutdown().await.unwrap();
}
