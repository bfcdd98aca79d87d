//! Waiting in line beside what else makes a command wait: places of its type, room, and time.

use std::time::Duration;

use coco_core::lock::LockProperties;
use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, in_no_time, on_every_store};
use super::leaves::{Nothing, act};
use super::turns::{
    Disk, Locks, Take, alone, begun, free, line, mark, nothing_is_locked, plan, queued, shared,
    take,
};
use super::world::World;

on_every_store!(
    who_waits_gives_its_place_to_others,
    granted_before_there_is_a_place,
    more_waiters_than_room,
    flows_that_wait_without_room,
    a_grant_in_a_full_house,
);
in_no_time!(
    as_long_as_it_may,
    granted_in_time,
    a_child_in_time_and_out_of_it,
    out_of_time_over_restarts,
    out_of_time_while_nobody_runs,
    out_of_time_without_room,
);

/// One at a time.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, concurrency = 1, lock = Execution, needs(World))]
struct NarrowTake {
    label: String,
    #[lock(exclusive)]
    disk: Disk,
}

impl Execute for NarrowTake {
    type Output = String;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties.with_wait()
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }
}

fn narrow(label: &str, disk: u32) -> NarrowTake {
    NarrowTake { label: label.into(), disk: Disk(disk) }
}

async fn holds(coordinator: &Coordinator, world: &World, label: &str, locks: Locks) -> CommandId {
    world.close(label);
    let id = coordinator.submit(take(label, locks)).await.unwrap().id();
    world.noted(label).await;
    id
}

async fn who_waits_gives_its_place_to_others(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    holds(&coordinator, &world, "holder", alone([1])).await;
    let waits = coordinator.submit(narrow("waits", 1)).await.unwrap();
    let other = coordinator.submit(narrow("other", 2)).await.unwrap();
    other.output().await.unwrap();
    assert_eq!(line(&home).await, [waits.id()]);
    world.open("holder");
    waits.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// It has its lock, and begins when there is a place.
async fn granted_before_there_is_a_place(home: Home) {
    let world = World::new();
    world.close("other");
    let coordinator = home.start(&world).await;
    holds(&coordinator, &world, "holder", alone([1])).await;
    let waits = coordinator.submit(narrow("waits", 1)).await.unwrap();
    let other = coordinator.submit(narrow("other", 2)).await.unwrap();
    world.noted("other").await;
    let next = coordinator.submit(narrow("next", 3)).await.unwrap();
    let behind = coordinator.submit(take("behind", alone([1]))).await.unwrap();
    assert_eq!(line(&home).await, [waits.id(), behind.id()]);
    world.open("holder");
    queued(&home, 1).await;
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    assert_eq!(begun(&world, &["waits", "next", "behind"]), [""; 0]);
    world.open("other");
    other.output().await.unwrap();
    waits.output().await.unwrap();
    next.output().await.unwrap();
    behind.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn more_waiters_than_room(home: Home) {
    for most in [1, 2, 3] {
        let (home, world) = (home.another().await, World::new());
        let coordinator = home.start_with(&world, |builder| builder.most_trees(most)).await;
        world.close("holder");
        let holder = coordinator.submit(take("holder", alone([1]))).await.unwrap();
        let (mut handles, mut labels) = (Vec::new(), Vec::new());
        for n in 0..12 {
            labels.push(format!("n {n}"));
            handles.push(coordinator.submit(take(format!("n {n}"), alone([1]))).await.unwrap());
        }
        if most > 1 {
            queued(&home, 12).await;
            // Who waits is not in the way of others.
            coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
            let ids: Vec<_> = handles.iter().map(CommandHandle::id).collect();
            assert_eq!(line(&home).await, ids);
        }
        world.open("holder");
        holder.output().await.unwrap();
        for handle in handles {
            handle.output().await.unwrap();
        }
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        assert_eq!(begun(&world, &labels), labels, "with room for {most}");
        nothing_is_locked(&home).await;
        coordinator.shutdown().await.unwrap();
    }
}

/// The child of each waits for the same disk; what each has done before is not done again.
async fn flows_that_wait_without_room(home: Home) {
    let world = World::new();
    let coordinator = home.start_with(&world, |builder| builder.most_trees(2)).await;
    world.close("holder");
    let holder = coordinator.submit(take("holder", alone([1]))).await.unwrap();
    world.noted("holder").await;
    let mut flows = Vec::new();
    for n in 0..6 {
        let child = take(format!("n {n}"), alone([1]));
        let parts = [mark("before"), child.into(), mark("after")];
        flows.push(coordinator.submit(plan(shared([2]), parts)).await.unwrap());
    }
    queued(&home, 6).await;
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    // They rest: the flow that holds disk 2 is there only when it is needed.
    let alone = coordinator.submit(take("alone", alone([2]))).await.unwrap();
    queued(&home, 7).await;
    let expected = line(&home).await;
    world.open("holder");
    holder.output().await.unwrap();
    for flow in flows {
        flow.output().await.unwrap();
    }
    alone.output().await.unwrap();
    assert_eq!((world.count("before"), world.count("after")), (6, 6));
    let is_begin = |deed: &str| deed == "alone" || deed.starts_with("n ") && deed.len() == 3;
    let ledger = world.ledger().into_iter().filter(|entry| is_begin(&entry.deed));
    assert_eq!(ledger.map(|entry| entry.id).collect::<Vec<_>>(), expected);
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// Who was granted its locks begins, however many others are there.
async fn a_grant_in_a_full_house(home: Home) {
    let world = World::new();
    let coordinator = home.start_with(&world, |builder| builder.most_trees(2)).await;
    holds(&coordinator, &world, "holder", alone([1])).await;
    let waits = coordinator.submit(take("waits", alone([1]))).await.unwrap();
    queued(&home, 1).await;
    // It has left by now, or this does not begin.
    holds(&coordinator, &world, "long", free()).await;
    world.open("holder");
    waits.output().await.unwrap();
    assert_eq!(world.count("long done"), 0);
    world.open("long");
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

mod scenario {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    async fn begin(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, coco_core::Builder::on_tokio_time).await
    }

    pub(super) async fn as_long_as_it_may(home: Home) {
        let world = World::new();
        let coordinator = begin(&home, &world).await;
        holds(&coordinator, &world, "holder", alone([1])).await;
        let late = coordinator.submit(take("late", alone([1]).at_most(LONG))).await.unwrap();
        let failure = failure_of(late.output().await);
        assert_eq!(failure.kind, FailureKind::LockTimedOut);
        assert_eq!(world.age(), LONG);
        assert_eq!(home.entity(late.id()).await.progress.status, CommandStatus::EndedWithFailure);
        // Its time begins when it asks.
        let again = coordinator.resubmit::<Take>(late.id()).await.unwrap();
        assert_eq!(failure_of(again.output().await).kind, FailureKind::LockTimedOut);
        assert_eq!(world.age(), 2 * LONG);
        let at_once = coordinator.submit(take("late", alone([1]).at_most(Duration::ZERO))).await;
        let at_once = at_once.unwrap().output().await;
        assert_eq!(failure_of(at_once).kind, FailureKind::LockTimedOut);
        assert_eq!(world.age(), 2 * LONG);
        let free = coordinator.submit(take("free", alone([2]).at_most(Duration::ZERO))).await;
        free.unwrap().output().await.unwrap();
        world.open("holder");
        coordinator.shutdown().await.unwrap();
        nothing_is_locked(&home).await;
        assert_eq!(world.count("late"), 0);
    }

    /// Once it has begun, no time is out.
    pub(super) async fn granted_in_time(home: Home) {
        let world = World::new();
        let coordinator = begin(&home, &world).await;
        holds(&coordinator, &world, "holder", alone([1])).await;
        world.close("patient");
        let patient = coordinator.submit(take("patient", alone([1]).at_most(LONG))).await.unwrap();
        tokio::time::sleep(LONG - SECOND).await;
        world.open("holder");
        world.noted("patient").await;
        tokio::time::sleep(LONG).await;
        world.open("patient");
        patient.output().await.unwrap();
        assert_eq!(world.age(), 2 * LONG - SECOND);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_child_in_time_and_out_of_it(home: Home) {
        let world = World::new();
        let coordinator = begin(&home, &world).await;
        holds(&coordinator, &world, "holder", alone([1])).await;
        let child = || take("child", alone([1]).at_most(LONG));
        let parts = [super::super::turns::Part::Try(child()), child().into()];
        let flow = coordinator.submit(plan(free(), parts)).await.unwrap();
        tokio::time::sleep(LONG + SECOND).await;
        world.open("holder");
        let failures = flow.output().await.unwrap();
        let failure = failures[0].as_ref().expect("the first one");
        assert_eq!(failure.kind, FailureKind::LockTimedOut);
        assert_eq!(failure.message, "it waited for turn `1` longer than it may");
        assert_eq!((world.count("child"), world.age()), (1, LONG + SECOND));
        nothing_is_locked(&home).await;
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn out_of_time_over_restarts(home: Home) {
        let world = World::new();
        let mut coordinator = begin(&home, &world).await;
        holds(&coordinator, &world, "holder", alone([1])).await;
        let id = coordinator.submit(take("late", alone([1]).at_most(LONG))).await.unwrap().id();
        for clean in [true, false, true] {
            tokio::time::sleep(SECOND).await;
            match clean {
                true => coordinator.shutdown_within(Duration::ZERO).await.unwrap(),
                false => drop(coordinator),
            }
            coordinator = begin(&home, &world).await;
            queued(&home, 1).await;
        }
        let late = coordinator.handle::<Take>(id).await.unwrap();
        assert_eq!(failure_of(late.output().await).kind, FailureKind::LockTimedOut);
        assert_eq!(world.age(), LONG, "it began to wait in the first process");
        coordinator.shutdown_within(Duration::ZERO).await.unwrap();
    }

    /// Its time is out before anybody can let it in.
    pub(super) async fn out_of_time_while_nobody_runs(home: Home) {
        let world = World::new();
        let coordinator = begin(&home, &world).await;
        holds(&coordinator, &world, "holder", alone([1])).await;
        let id = coordinator.submit(take("late", alone([1]).at_most(LONG))).await.unwrap().id();
        let next = coordinator.submit(take("next", alone([1]))).await.unwrap().id();
        drop(coordinator);
        tokio::time::sleep(2 * LONG).await;
        let coordinator = begin(&home, &world).await;
        let late = coordinator.handle::<Take>(id).await.unwrap();
        assert_eq!(failure_of(late.output().await).kind, FailureKind::LockTimedOut);
        assert_eq!(line(&home).await, [next]);
        world.open("holder");
        let next = coordinator.handle::<Take>(next).await.unwrap();
        next.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn out_of_time_without_room(home: Home) {
        let world = World::new();
        let chosen = |builder: coco_core::Builder| builder.on_tokio_time().most_trees(2);
        let coordinator = home.start_with(&world, chosen).await;
        holds(&coordinator, &world, "holder", alone([1])).await;
        let mut late = Vec::new();
        for _ in 0..5 {
            late.push(
                coordinator.submit(take("late", alone([1]).at_most(4 * LONG))).await.unwrap(),
            );
        }
        queued(&home, 5).await;
        for late in late {
            assert_eq!(failure_of(late.output().await).kind, FailureKind::LockTimedOut);
        }
        assert_eq!(world.age(), 4 * LONG);
        assert_eq!(line(&home).await, []);
        world.open("holder");
        coordinator.shutdown().await.unwrap();
    }
}
