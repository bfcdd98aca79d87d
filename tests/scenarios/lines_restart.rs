//! Restarts while some hold, some borrow and some wait: all is in its place, and goes on in the
//! order of the line.

use std::time::Duration;

use coco_core::entity::TreeRows;
use coco_core::prelude::*;
use coco_core::testing::Crash;

use super::home::{Home, on_every_store, start};
use super::picture::picture;
use super::turns::{
    Part, Plan, Take, alone, begun, close, free, line, mark, nothing_is_locked, plan, shared, take,
};
use super::world::World;

on_every_store!(
    all_in_place,
    a_crash_at_every_commit,
    two_crashes,
    with_one_place,
    one_who_was_let_in_meanwhile,
    suspects_that_wait_for_each_other,
);

const WAITERS: [&str; 3] = ["a", "b", "c"];

/// Holds disks 1 and 2; its child borrows disk 1.
fn holder() -> Plan {
    let borrower = close("borrower", alone([1]).and(shared([3])));
    plan(alone([1, 2]), [mark("before"), borrower.into(), mark("after")])
}

/// One who waits for disk 1, one for disk 2 and the first one, and a flow whose child waits.
async fn waiters(coordinator: &Coordinator, home: &Home) -> Vec<CommandId> {
    let a = coordinator.submit(take("a", alone([1]))).await.unwrap().id();
    let b = coordinator.submit(take("b", alone([1, 2]))).await.unwrap().id();
    super::turns::queued(home, 2).await;
    let parts: [Part; 1] = [take("c", alone([2])).into()];
    let c = coordinator.submit(plan(free(), parts)).await.unwrap().id();
    super::turns::queued(home, 3).await;
    vec![a, b, c]
}

/// Who holds and who waits, sorted.
async fn table(home: &Home) -> (Vec<(String, String, CommandId)>, Vec<CommandId>) {
    let rows = home.open().await.locks(None).await.unwrap();
    let held = rows.held.into_iter();
    let mut held: Vec<_> =
        held.map(|held| (held.lock.key, held.lock.mode.as_str().to_owned(), held.owner)).collect();
    held.sort();
    (held, line(home).await)
}

async fn all_end(coordinator: &Coordinator, root: CommandId, waiters: &[CommandId]) {
    coordinator.handle::<Plan>(root).await.unwrap().output().await.unwrap();
    for waiter in &waiters[..2] {
        coordinator.handle::<Take>(*waiter).await.unwrap().output().await.unwrap();
    }
    coordinator.handle::<Plan>(waiters[2]).await.unwrap().output().await.unwrap();
}

async fn all_in_place(home: Home) {
    for most in [10_000, 2] {
        let (home, world) = (home.another().await, World::new());
        let begin = async || home.start_with(&world, |builder| builder.most_trees(most)).await;
        world.close("borrower");
        let mut coordinator = begin().await;
        let root = coordinator.submit(holder()).await.unwrap().id();
        world.noted("borrower").await;
        let waiters = waiters(&coordinator, &home).await;
        let before = table(&home).await;
        let held: Vec<_> = before.0.iter().map(|(key, mode, _)| format!("{key} {mode}")).collect();
        assert_eq!(held, ["1 exclusive", "1 exclusive", "2 exclusive", "3 shared"]);
        assert_eq!(before.1[..2], waiters[..2]);
        for (n, clean) in [false, true, true].into_iter().enumerate() {
            match clean {
                true => coordinator.shutdown_within(Duration::ZERO).await.unwrap(),
                false => drop(coordinator),
            }
            assert_eq!(table(&home).await, before);
            coordinator = begin().await;
            world.noted_times("borrower", n + 2).await;
            assert_eq!(table(&home).await, before, "nothing is asked for twice");
        }
        assert_eq!(begun(&world, &WAITERS), [""; 0]);
        world.open("borrower");
        all_end(&coordinator, root, &waiters).await;
        assert_eq!(begun(&world, &WAITERS), WAITERS);
        assert_eq!((world.count("before"), world.count("after")), (1, 1));
        nothing_is_locked(&home).await;
        coordinator.shutdown().await.unwrap();
    }
}

/// What is left in the end, and what was begun in which order.
async fn life(home: &Home, crashes: &[Crash], most: usize) -> (Vec<TreeRows>, Vec<String>, usize) {
    let (home, world) = (home.another().await, World::new());
    let begin = |builder: coco_core::Builder| builder.most_trees(most);
    world.close("borrower");
    let coordinator = home.start_with(&world, begin).await;
    let root = coordinator.submit(holder()).await.unwrap().id();
    world.noted("borrower").await;
    let waiters = waiters(&coordinator, &home).await;
    let before = table(&home).await;
    coordinator.shutdown_within(Duration::ZERO).await.unwrap();
    let mut deaths = 0;
    for crash in crashes.iter().copied().map(Some).chain([None]) {
        let store = home.faulty().await;
        if let Some(crash) = crash {
            store.crash(crash);
        }
        let coordinator = super::home::start_with(store.clone(), &world, begin).await;
        if deaths == 0 && !store.is_dead() {
            assert_eq!(table(&home).await, before);
        }
        world.open("borrower");
        if store.is_dead() || crash.is_some() {
            let ended = async {
                for root in [&[root], &waiters[..]].concat() {
                    let ended = match coordinator.handle::<Take>(root).await {
                        Ok(handle) => handle.output().await.map(drop),
                        Err(_) => match coordinator.handle::<Plan>(root).await {
                            Ok(handle) => handle.output().await.map(drop),
                            Err(error) => Err(error),
                        },
                    };
                    if ended.is_err() {
                        return false;
                    }
                }
                true
            };
            if !ended.await {
                assert!(store.is_dead());
                drop(coordinator);
                deaths += 1;
                continue;
            }
            // It may die after all.
            let _ = coordinator.shutdown().await;
            break;
        }
        all_end(&coordinator, root, &waiters).await;
        coordinator.shutdown().await.unwrap();
        break;
    }
    nothing_is_locked(&home).await;
    let mut trees = Vec::new();
    for root in [&[root], &waiters[..]].concat() {
        trees.push(home.tree(root).await);
    }
    (trees, begun(&world, &WAITERS), deaths)
}

async fn sweep(home: &Home, most: usize) {
    let (trees, order, _) = life(home, &[], most).await;
    assert_eq!(order, WAITERS);
    let expected: Vec<_> = trees.iter().map(|rows| picture(rows, true)).collect();
    for n in 1.. {
        let mut died = 0;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let (trees, order, deaths) = life(home, &[crash], most).await;
            assert_eq!(order, WAITERS, "{crash:?}");
            let pictures: Vec<_> = trees.iter().map(|rows| picture(rows, true)).collect();
            assert_eq!(pictures, expected, "{crash:?}");
            died += deaths;
        }
        if died == 0 {
            assert!(n > 5, "{n} commits");
            return;
        }
    }
}

async fn a_crash_at_every_commit(home: Home) {
    sweep(&home, 10_000).await;
}

async fn with_one_place(home: Home) {
    sweep(&home, 2).await;
}

async fn two_crashes(home: Home) {
    let most = if home.is_memory() { 6 } else { 3 };
    for first in 1..most {
        for second in 1..most {
            let crashes = [Crash::After(first), Crash::Before(second)];
            let (trees, order, _) = life(&home, &crashes, 10_000).await;
            assert_eq!(order, WAITERS, "{crashes:?}");
            let rows = trees.iter().flat_map(|tree| &tree.commands);
            assert!(rows.into_iter().all(|row| row.progress.failure.is_none()), "{crashes:?}");
        }
    }
}

/// It was granted its lock by the last commit of a process that told nobody.
async fn one_who_was_let_in_meanwhile(home: Home) {
    let world = World::new();
    world.close("first");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    coordinator.submit(take("first", alone([1]))).await.unwrap();
    world.noted("first").await;
    let a = coordinator.submit(take("a", alone([1]))).await.unwrap().id();
    let b = coordinator.submit(take("b", alone([1]))).await.unwrap().id();
    store.crash(Crash::After(store.commits() + 1));
    world.close("a");
    world.open("first");
    super::home::until(async || store.is_dead()).await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted("a").await;
    assert_eq!(line(&home).await, [b]);
    let no_wait = take("c", alone([1]).no_wait());
    assert_eq!(super::turns::conflict_of(coordinator.submit(no_wait).await).holder, a);
    world.open("a");
    coordinator.handle::<Take>(b).await.unwrap().output().await.unwrap();
    assert_eq!(begun(&world, &["first", "a", "b"]), ["first", "a", "b"]);
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

/// After two deaths trees go on one at a time, and one that waits for a lock of another is not in
/// the way of that.
async fn suspects_that_wait_for_each_other(home: Home) {
    for holder_first in [true, false] {
        let (home, world) = (home.another().await, World::new());
        ["h", "w"].iter().for_each(|gate| world.close(gate));
        let mut coordinator = home.start(&world).await;
        let holder = plan(alone([1]), [mark("h")]);
        let waiter = plan(free(), [mark("w"), take("a", alone([1])).into()]);
        let (mut one, mut other) = (holder, waiter);
        if !holder_first {
            (one, other) = (other, one);
        }
        let one = coordinator.submit(one).await.unwrap().id();
        let other = coordinator.submit(other).await.unwrap().id();
        world.noted("h").await;
        world.noted("w").await;
        world.open("w");
        super::turns::queued(&home, 1).await;
        drop(coordinator);
        coordinator = home.start(&world).await;
        world.noted_times("h", 2).await;
        drop(coordinator);
        coordinator = home.start(&world).await;
        world.open("h");
        for id in [one, other] {
            coordinator.handle::<Plan>(id).await.unwrap().output().await.unwrap();
        }
        nothing_is_locked(&home).await;
        coordinator.shutdown().await.unwrap();
    }
}
