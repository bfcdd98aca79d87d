//! Commands that wait in line for their locks: who is let in, when, and in which commit.

use std::time::Duration;

use coco_core::lock::ConflictReason;
use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, EngineError, FailureKind};

use super::home::{Home, engine_error_of, failure_of, on_every_store, start};
use super::turns::{
    Part, Take, alone, begun, close, conflict_of, free, line, mark, nothing_is_locked, plan,
    queued, shared, take,
};
use super::world::World;

on_every_store!(
    first_come_first_served,
    behind_an_earlier_one_on_any_key,
    sharers_do_not_starve_one_who_is_alone,
    without_wait_behind_who_waits,
    all_or_none,
    granted_with_the_release,
    a_time_that_is_out,
    cancelled_in_line,
    a_parent_cancelled_whose_child_waits,
    with_a_key,
    with_a_start_time,
    submitted_again,
    behind_one_who_is_abandoned,
    what_wants_nothing,
    a_hundred,
);

/// A disk that is held until the gate `holder` opens, by one who began.
async fn held(coordinator: &Coordinator, world: &World, disks: &[u32]) -> CommandHandle<Take> {
    world.close("holder");
    let locks = alone(disks.iter().copied());
    let holder = coordinator.submit(take("holder", locks)).await.unwrap();
    world.noted("holder").await;
    holder
}

async fn first_come_first_served(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    let labels = ["a", "b", "c", "d", "e"];
    let mut handles = Vec::new();
    for label in labels {
        handles.push(coordinator.submit(take(label, alone([1]))).await.unwrap());
    }
    let ids: Vec<_> = handles.iter().map(|handle| handle.id()).collect();
    assert_eq!(line(&home).await, ids);
    assert_eq!(handles[0].status().await.unwrap(), CommandStatus::NotStarted);
    assert_eq!(begun(&world, &labels), [""; 0]);
    world.open("holder");
    for handle in &handles {
        handle.output().await.unwrap();
    }
    holder.output().await.unwrap();
    assert_eq!(begun(&world, &labels), labels);
    let deeds = world.deeds();
    assert_eq!(deeds[..4], ["holder", "holder done", "a", "a done"], "{deeds:?}");
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn behind_an_earlier_one_on_any_key(home: Home) {
    let world = World::new();
    ["a", "both", "b"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    let a = coordinator.submit(take("a", alone([1]))).await.unwrap();
    let both = coordinator.submit(take("both", alone([1, 2]))).await.unwrap();
    // Nobody holds disk 2, but one who came first waits for it.
    let b = coordinator.submit(take("b", alone([2]))).await.unwrap();
    let other = coordinator.submit(take("other", alone([3]))).await.unwrap();
    other.output().await.unwrap();
    assert_eq!(line(&home).await, [a.id(), both.id(), b.id()]);
    world.open("holder");
    holder.output().await.unwrap();
    world.noted("a").await;
    assert_eq!(line(&home).await, [both.id(), b.id()]);
    world.open("a");
    world.noted("both").await;
    assert_eq!(line(&home).await, [b.id()]);
    world.open("both");
    world.noted("b").await;
    world.open("b");
    b.output().await.unwrap();
    assert_eq!(begun(&world, &["a", "both", "b"]), ["a", "both", "b"]);
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn sharers_do_not_starve_one_who_is_alone(home: Home) {
    let world = World::new();
    ["s 1", "x", "s 2", "s 3"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let first = coordinator.submit(take("s 1", shared([1]))).await.unwrap();
    world.noted("s 1").await;
    let x = coordinator.submit(take("x", alone([1]))).await.unwrap();
    let second = coordinator.submit(take("s 2", shared([1]))).await.unwrap();
    let third = coordinator.submit(take("s 3", shared([1]))).await.unwrap();
    assert_eq!(line(&home).await, [x.id(), second.id(), third.id()]);
    world.open("s 1");
    first.output().await.unwrap();
    world.noted("x").await;
    assert_eq!(line(&home).await, [second.id(), third.id()]);
    world.open("x");
    // Both at once: neither is through.
    world.noted("s 2").await;
    world.noted("s 3").await;
    assert_eq!((world.count("s 2 done"), world.count("s 3 done")), (0, 0));
    ["s 2", "s 3"].iter().for_each(|gate| world.open(gate));
    second.output().await.unwrap();
    third.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn without_wait_behind_who_waits(home: Home) {
    let world = World::new();
    world.close("s 1");
    let coordinator = home.start(&world).await;
    let first = coordinator.submit(take("s 1", shared([1]))).await.unwrap();
    world.noted("s 1").await;
    let also = coordinator.submit(take("s 2", shared([1]).no_wait())).await.unwrap();
    also.output().await.unwrap();
    let x = coordinator.submit(take("x", alone([1]))).await.unwrap();
    let error = coordinator.submit(take("s 3", shared([1]).no_wait())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("turn `1` is waited for by take `{}`, so it cannot be locked shared now", x.id())
    );
    let conflict = conflict_of::<()>(Err(error));
    assert_eq!((conflict.holder, conflict.reason), (x.id(), ConflictReason::Ahead));
    let conflict = conflict_of(coordinator.submit(take("y", alone([1]).no_wait())).await);
    assert_eq!((conflict.holder, conflict.reason), (first.id(), ConflictReason::Held));
    world.open("s 1");
    x.output().await.unwrap();
    assert_eq!(world.count("s 3") + world.count("y"), 0);
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn all_or_none(home: Home) {
    let world = World::new();
    world.close("one");
    let coordinator = home.start(&world).await;
    let one = coordinator.submit(take("one", alone([1]))).await.unwrap();
    world.noted("one").await;
    let two = held(&coordinator, &world, &[3]).await;
    let all = coordinator.submit(take("all", alone([1, 3]).and(shared([2])))).await.unwrap();
    queued(&home, 1).await;
    let holders = async || {
        let held = home.open().await.locks(None).await.unwrap().held;
        let mut held: Vec<_> = held.into_iter().map(|h| (h.lock.key, h.owner)).collect();
        held.sort_unstable();
        held
    };
    let key = |key: u32| key.to_string();
    assert_eq!(holders().await, [(key(1), one.id()), (key(3), two.id())]);
    world.open("one");
    one.output().await.unwrap();
    assert_eq!(holders().await, [(key(3), two.id())], "half of what it wants is free");
    world.close("all");
    world.open("holder");
    world.noted("all").await;
    assert_eq!(holders().await, [1, 2, 3].map(|disk| (key(disk), all.id())));
    world.open("all");
    all.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// Who lets go lets in the next, in one commit.
async fn granted_with_the_release(home: Home) {
    for (crash, is_granted) in [(Crash::Before(3), false), (Crash::After(3), true)] {
        let (home, world) = (home.another().await, World::new());
        let store = home.faulty().await;
        let coordinator = start(store.clone(), &world).await;
        let holder = held(&coordinator, &world, &[1]).await;
        let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
        assert_eq!(store.commits(), 2);
        store.crash(crash);
        world.open("holder");
        assert_eq!(engine_error_of(holder.output().await), EngineError::Shutdown);
        drop(coordinator);
        let rows = home.open().await.locks(None).await.unwrap();
        let owners: Vec<_> = rows.held.iter().map(|held| held.owner).collect();
        let owner = if is_granted { next.id() } else { holder.id() };
        assert_eq!((owners, rows.waiting.len()), (vec![owner], usize::from(!is_granted)));
        assert_eq!(world.count("next"), 0, "{crash:?}");
        let coordinator = home.start(&world).await;
        let next = coordinator.handle::<Take>(next.id()).await.unwrap();
        next.output().await.unwrap();
        assert_eq!(world.count("next"), 1);
        nothing_is_locked(&home).await;
        coordinator.shutdown().await.unwrap();
    }
}

async fn a_time_that_is_out(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.close("s");
    let holder = coordinator.submit(take("s", shared([7]))).await.unwrap();
    let short = alone([7, 8]).at_most(Duration::from_millis(20));
    let late = coordinator.submit(close("late", short)).await.unwrap();
    // It waits behind the one that gives up.
    let next = coordinator.submit(take("next", shared([7]))).await.unwrap();
    let failure = failure_of(late.output().await);
    assert_eq!(failure.kind, FailureKind::LockTimedOut);
    assert_eq!(failure.message, "it waited for turn `7`, turn `8` longer than it may");
    assert_eq!(failure.command, Some(late.id()));
    next.output().await.unwrap();
    world.open("s");
    holder.output().await.unwrap();
    assert!(!world.deeds().iter().any(|deed| deed.contains("late")), "{:?}", world.deeds());
    let row = home.entity(late.id()).await.progress;
    assert_eq!((row.attempt, row.executed), (0, false));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn cancelled_in_line(home: Home) {
    let world = World::new();
    world.close("s 1");
    let coordinator = home.start(&world).await;
    let first = coordinator.submit(take("s 1", shared([1]))).await.unwrap();
    let x = coordinator.submit(close("x", alone([1]))).await.unwrap();
    let second = coordinator.submit(take("s 2", shared([1]))).await.unwrap();
    assert_eq!(line(&home).await, [x.id(), second.id()]);
    coordinator.cancel(x.id(), "enough").await.unwrap();
    let failure = failure_of(x.output().await);
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert_eq!(failure.message, "it was cancelled: enough");
    second.output().await.unwrap();
    assert_eq!(world.count("s 1 done"), 0, "who shares goes on beside it");
    let again = coordinator.cancel(x.id(), "enough").await;
    assert_eq!(engine_error_of(again), EngineError::AlreadyEnded(x.id()));
    world.open("s 1");
    first.output().await.unwrap();
    assert!(!world.deeds().iter().any(|deed| deed.contains('x')), "{:?}", world.deeds());
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn a_parent_cancelled_whose_child_waits(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    let inner = plan(free(), [take("child", alone([1])).into()]);
    let parent = coordinator.submit(plan(alone([2]), [inner.into()])).await.unwrap();
    queued(&home, 1).await;
    let next = coordinator.submit(take("next", alone([1, 2]))).await.unwrap();
    queued(&home, 2).await;
    parent.cancel().await.unwrap();
    assert_eq!(failure_of(parent.output().await).kind, FailureKind::Cancelled);
    assert_eq!(line(&home).await, [next.id()]);
    assert_eq!((world.count("child"), world.count("next")), (0, 0));
    world.open("holder");
    holder.output().await.unwrap();
    next.output().await.unwrap();
    assert_eq!(world.count("child"), 0);
    let rows = home.tree(parent.id()).await.commands;
    assert!(rows.len() == 3 && rows.iter().all(|row| row.progress.status.is_terminal()));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn with_a_key(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    let keyed = take("keyed", alone([1]));
    let one = coordinator.submit_with_key("key", keyed.clone()).await.unwrap();
    let same = coordinator.submit_with_key("key", keyed.clone()).await.unwrap();
    assert_eq!(one.id(), same.id());
    queued(&home, 1).await;
    let taken = coordinator.submit_with_key("key", take("other", alone([2]))).await;
    assert!(matches!(engine_error_of(taken), EngineError::KeyTaken { .. }));
    world.open("holder");
    holder.output().await.unwrap();
    assert_eq!(one.output().await.unwrap(), "keyed!");
    assert_eq!(same.output().await.unwrap(), "keyed!");
    let ended = coordinator.submit_with_key("key", keyed).await.unwrap();
    assert_eq!((ended.id(), world.count("keyed")), (one.id(), 1));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// It is in line from its time on.
async fn with_a_start_time(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    let pause = Duration::from_millis(40);
    let later = coordinator.submit_after(pause, take("later", alone([1]))).await.unwrap();
    let never = Duration::from_secs(3600);
    let never = coordinator.submit_after(never, take("never", alone([1]))).await.unwrap();
    let now = coordinator.submit(take("now", alone([1]))).await.unwrap();
    queued(&home, 2).await;
    assert_eq!(line(&home).await, [now.id(), later.id()]);
    world.open("holder");
    holder.output().await.unwrap();
    later.output().await.unwrap();
    assert_eq!(begun(&world, &["now", "later", "never"]), ["now", "later"]);
    never.cancel().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn submitted_again(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    let first = coordinator.submit(take("again", alone([1]))).await.unwrap();
    first.cancel().await.unwrap();
    failure_of(first.output().await);
    let again = coordinator.resubmit::<Take>(first.id()).await.unwrap();
    assert_eq!(line(&home).await, [again.id()]);
    world.open("holder");
    holder.output().await.unwrap();
    again.output().await.unwrap();
    assert_eq!(home.entity(again.id()).await.resubmit_of, Some(first.id()));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn behind_one_who_is_abandoned(home: Home) {
    let world = World::new();
    world.say("fail stuck ends well", "no");
    let coordinator = home.start(&world).await;
    let stuck = coordinator.submit(close("stuck", alone([1]).until_the_end())).await.unwrap();
    let (id, _) = super::home::stuck_of(stuck.output().await);
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    assert_eq!(line(&home).await, [next.id()]);
    coordinator.abandon(id, "give it up").await.unwrap();
    next.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn what_wants_nothing(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let holder = held(&coordinator, &world, &[1]).await;
    coordinator.submit(take("free", free())).await.unwrap().output().await.unwrap();
    let scopeless = take("scopeless", alone([1]).in_no_scope());
    coordinator.submit(scopeless).await.unwrap().output().await.unwrap();
    let twice = take("twice", shared([2]).and(alone([2])).and(shared([2])));
    coordinator.submit(twice).await.unwrap().output().await.unwrap();
    world.open("holder");
    holder.output().await.unwrap();
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// Flows with children that wait, in both modes, over few disks: all come to their end.
async fn a_hundred(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut flows = Vec::new();
    for n in 0..100_u32 {
        let child = take(format!("n {n}"), alone([n % 5]).and(shared([10 + n % 3])));
        let parts: Vec<Part> = vec![mark("before"), child.into(), mark("after")];
        flows.push(coordinator.submit(plan(free(), parts)).await.unwrap());
    }
    for flow in flows {
        flow.output().await.unwrap();
    }
    assert_eq!((world.count("before done"), world.count("after done")), (100, 100));
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}
