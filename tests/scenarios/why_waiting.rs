//! Why a command does not go on, for every reason that there is.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::store::Write;
use coco_core::testing::Crash;
use coco_core::{EngineError, FailureKind, Pause, Why};
use serde::{Deserialize, Serialize};

use super::by_hand::copy;
use super::home::{Home, engine_error_of, on_every_store, start, stuck_of, until};
use super::leaves::{Mark, Nothing};
use super::world::World;

on_every_store!(
    its_code_runs_or_is_over,
    a_time,
    a_place,
    room,
    it_is_stuck,
    it_is_quarantined,
    it_is_refused_by_the_store,
    its_trial,
);

pub(crate) async fn why(coordinator: &Coordinator, id: CommandId) -> Why {
    coordinator.why_waiting(id).await.unwrap()
}

/// Waits until it is so.
pub(crate) async fn told(
    coordinator: &Coordinator,
    id: CommandId,
    is_it: impl Fn(&Why) -> bool,
) -> Why {
    until(async || is_it(&why(coordinator, id).await)).await;
    why(coordinator, id).await
}

async fn its_code_runs_or_is_over(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Mark::new("a")).await.unwrap();
    let id = handle.id();
    assert_eq!(why(&coordinator, id).await, Why::Runs);
    world.open("a");
    handle.output().await.unwrap();
    assert_eq!(why(&coordinator, id).await, Why::Ended);
    let absent: CommandId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let unknown = coordinator.why_waiting(absent).await;
    assert_eq!(engine_error_of(unknown), EngineError::NotFound(absent));
    world.close("a");
    let running = coordinator.submit(Mark::new("a")).await.unwrap().id();
    world.noted_times("a", 2).await;
    let stopping = tokio::spawn(coordinator.clone().shutdown());
    world.open("a");
    stopping.await.unwrap().unwrap();
    assert_eq!(why(&coordinator, running).await, Why::Ended, "that is stored");
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.close("a");
    let running = coordinator.submit(Mark::new("a")).await.unwrap().id();
    coordinator.clone().shutdown_within(Duration::ZERO).await.unwrap();
    let refused = coordinator.why_waiting(running).await;
    assert_eq!(engine_error_of(refused), EngineError::Shutdown);
}

/// Fails, for another attempt later.
#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 3, backoff = "30s"))]
struct TriedSoon {}

impl Execute for TriedSoon {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("not now"))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 3, backoff = "2h", max_backoff = "4h"))]
struct TriedLater {}

impl Execute for TriedLater {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("not now"))
    }
}

/// Its end hook fails.
#[derive(Command, Serialize, Deserialize)]
struct EndsLater {}

impl Execute for EndsLater {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn end_successfully(&mut self, _: &(), _cx: &LeafContext<Self>) -> Result<()> {
        Err(Error::other("not now"))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Dreams {
    seconds: u64,
}

impl Execute for Dreams {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.sleep(Duration::from_secs(self.seconds)).await
    }
}

/// It is the same whether it waits in memory, for a short time, or in the store, for a long one; and
/// when it has not been admitted yet.
async fn a_time(home: Home) {
    for seconds in [30, 7200] {
        let (home, world) = (home.another().await, World::new());
        let pause = Duration::from_secs(seconds);
        let chosen = |builder: coco_core::Builder| {
            builder.hook_retry(Retry::new(3).backoff(pause).max_backoff(pause))
        };
        let coordinator = home.start_with(&world, chosen).await;
        let start = coordinator.submit_after(pause, Nothing {}).await.unwrap().id();
        let attempt = match seconds {
            30 => coordinator.submit(TriedSoon {}).await.unwrap().id(),
            _ => coordinator.submit(TriedLater {}).await.unwrap().id(),
        };
        let hook = coordinator.submit(EndsLater {}).await.unwrap().id();
        let sleep = coordinator.submit(Dreams { seconds }).await.unwrap().id();
        let all = [
            (start, Pause::Start),
            (attempt, Pause::Attempt),
            (hook, Pause::Hook),
            (sleep, Pause::Sleep),
        ];
        let when = async |id| {
            let rows = home.tree(id).await;
            let sleep = rows.sleeps.first().map(|sleep| sleep.wake_at);
            sleep.or(rows.commands[0].progress.wake_at)
        };
        for (id, _) in all {
            until(async || when(id).await.is_some()).await;
        }
        for (id, pause) in all {
            let until = when(id).await.expect("it waits");
            for _ in 0..3 {
                assert_eq!(why(&coordinator, id).await, Why::Time { pause, until }, "{seconds}");
                coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
            }
        }
        drop(coordinator);
        world.close("a");
        let coordinator = home.start_with(&world, |builder| builder.most_trees(1)).await;
        for (id, pause) in all {
            let until = when(id).await.expect("it waits");
            assert_eq!(why(&coordinator, id).await, Why::Time { pause, until }, "{seconds}");
        }
        coordinator.shutdown().await.unwrap();
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(concurrency = 1, retry(attempts = 2, backoff = "0ms"), needs(World))]
struct OneAtATime {
    label: String,
}

impl Execute for OneAtATime {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), &*self.label, cx.attempt());
        cx.get::<World>().pass(&self.label).await;
        if cx.attempt() == 1 { Err(Error::other("again")) } else { Ok(()) }
    }
}

async fn a_place(home: Home) {
    let world = World::new();
    ["a", "b"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let one = |label: &str| OneAtATime { label: label.to_owned() };
    let first = coordinator.submit(one("a")).await.unwrap();
    world.noted("a").await;
    let second = coordinator.submit(one("b")).await.unwrap();
    assert_eq!(why(&coordinator, first.id()).await, Why::Runs);
    let place = Why::Place { command_type: "one_at_a_time".to_owned(), most: 1 };
    assert_eq!(told(&coordinator, second.id(), |why| *why != Why::Runs).await, place);
    // The next attempt needs a place as well.
    world.open("a");
    world.noted("b").await;
    assert_eq!(told(&coordinator, first.id(), |why| *why == place).await, place);
    world.open("b");
    first.output().await.unwrap();
    second.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

async fn room(home: Home) {
    let world = World::new();
    ["a", "b"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start_with(&world, |builder| builder.most_trees(1)).await;
    let first = coordinator.submit(Mark::new("a")).await.unwrap();
    let second = coordinator.submit(Mark::new("b")).await.unwrap();
    assert_eq!(why(&coordinator, second.id()).await, Why::Admission);
    world.open("a");
    first.output().await.unwrap();
    world.noted("b").await;
    assert_eq!(why(&coordinator, second.id()).await, Why::Runs);
    world.open("b");
    second.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// The children that are waited for.
pub(crate) fn children(why: &Why) -> &[coco_core::WaitingChild] {
    match why {
        Why::Children(children) => children,
        other => panic!("{other}"),
    }
}

/// In memory, at rest, and for its parent.
async fn it_is_stuck(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(EndsInside {}).await.unwrap();
    let (stuck, reason) = stuck_of(handle.output().await);
    assert_eq!(why(&coordinator, stuck).await, Why::Stuck(reason.clone()));
    for _ in 0..3 {
        let why = why(&coordinator, handle.id()).await;
        let [child] = children(&why) else { panic!("{why}") };
        assert_eq!((child.id, child.why.clone()), (stuck, Some(Why::Stuck(reason.clone()))));
        coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    }
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct EndsInside {}

impl Execute for EndsInside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(EndsLater {}).await
    }
}

/// Of a child that nobody knows, all of the tree says so; also where it was not looked at yet.
async fn it_is_quarantined(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let root = coordinator.submit(OneChild {}).await.unwrap().id();
    world.noted("a").await;
    drop(coordinator);
    let rename = |row: &mut coco_core::entity::CommandEntity| {
        let is_child = row.parent_command_id.is_some();
        if is_child {
            row.command_type = "of_yesterday".into();
        }
        is_child
    };
    let (copied, changed) = copy(&home, root, rename).await;
    for room in [1000, 1] {
        let coordinator = home.start_with(&world, |builder| builder.most_trees(room)).await;
        for id in [copied, changed[0].command_id] {
            match why(&coordinator, id).await {
                Why::Quarantined { command, reason } => {
                    assert_eq!(command, changed[0].command_id);
                    assert_eq!(reason.kind, FailureKind::Undecodable);
                }
                other => panic!("{other}"),
            }
        }
        drop(coordinator);
    }
}

/// The store takes nothing of it, and the rows do not say so.
async fn it_is_refused_by_the_store(home: Home) {
    let (store, world) = (home.faulty().await, World::new());
    store.reject(|step| step.writes.iter().any(|write| matches!(write, Write::Update(..))));
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Mark::new("a")).await.unwrap();
    let (id, reason) = stuck_of(handle.output().await);
    assert_eq!(reason.kind, FailureKind::Rejected);
    assert_eq!(why(&coordinator, id).await, Why::Quarantined { command: id, reason });
    store.reject(|_| false);
    coordinator.cancel(id, "").await.unwrap();
    assert!(!matches!(why(&coordinator, id).await, Why::Quarantined { .. }), "it is back");
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct OneChild {}

impl Execute for OneChild {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.child(Mark::new("a")).await
    }
}

/// Two engines have died: the trees that ran go on one at a time, and after a third death the one
/// that ran alone does not go on at all.
async fn its_trial(home: Home) {
    let world = World::new();
    ["a", "b"].iter().for_each(|gate| world.close(gate));
    let mut ids = Vec::new();
    for death in 1..=3 {
        let store = home.faulty().await;
        let coordinator = start(store.clone(), &world).await;
        if ids.is_empty() {
            ids.push(coordinator.submit(OneChild {}).await.unwrap().id());
            ids.push(coordinator.submit(Mark::new("a")).await.unwrap().id());
            world.noted_times("a", 2).await;
        }
        if death == 3 {
            world.noted_times("a", 5).await;
            let on_trial = why(&coordinator, ids[0]).await;
            assert_eq!(children(&on_trial)[0].why, Some(Why::Runs));
            assert_eq!(why(&coordinator, ids[1]).await, Why::Trial);
        }
        world.noted_times("a", if death < 3 { 2 * death } else { 5 }).await;
        store.crash(Crash::Before(store.commits() + 1));
        engine_error_of(coordinator.submit(Nothing {}).await);
    }
    let coordinator = home.start(&world).await;
    let rows = home.tree(ids[0]).await.commands;
    for _ in 0..2 {
        for row in &rows {
            match why(&coordinator, row.command_id).await {
                Why::Stuck(reason) => assert_eq!(reason.kind, FailureKind::Crashed),
                other => panic!("{other}"),
            }
        }
        coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    }
    drop(coordinator);
}
