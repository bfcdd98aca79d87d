//! The store refuses one step: what else its tree had asked for in the same commit is answered.

use coco_core::CommandStatus;
use coco_core::prelude::*;
use coco_core::store::Write;
use serde::{Deserialize, Serialize};

use super::home::{Home, on_every_store, start};
use super::leaves::{Mark, Nothing};
use super::world::World;

on_every_store!(
    a_leaf_that_registers_is_told_to_ask_again,
    what_a_fan_out_had_started_is_not_lost_behind_a_cancel,
);

/// Two leaves side by side: the end of one is refused, and the other one registers an undo.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct BothBeside {}

impl Execute for BothBeside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (refused, registered) =
            tokio::join!(cx.child(RefusedBeside {}), cx.child(RegistersBeside {}));
        assert!(refused.is_err());
        registered
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct RefusedBeside {}

impl Execute for RefusedBeside {
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
struct RegistersBeside {}

impl Execute for RegistersBeside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.pass("ask").await;
        world.note(cx.id(), "asks", cx.attempt());
        if let Err(error) = cx.compensate_with(Nothing {}).await {
            world.note(cx.id(), error.to_string(), cx.attempt());
            cx.compensate_with(Nothing {}).await?;
            world.note(cx.id(), "asked again", cx.attempt());
        }
        Ok(())
    }
}

async fn a_leaf_that_registers_is_told_to_ask_again(home: Home) {
    let store = home.faulty().await;
    let world = World::new();
    world.close("end");
    world.close("ask");
    let coordinator = start(store.clone(), &world).await;
    let both = coordinator.submit(BothBeside {}).await.unwrap();
    store.hold();
    let held = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.submit(Mark::new("held")).await.map(drop) }
    });
    store.held().await;
    let mut open = true;
    store.reject(move |step| {
        let is_end = |write: &Write| {
            let Write::Update(_, progress) = write else { return false };
            let is_it = progress.return_value.as_deref() == Some("4711");
            is_it && progress.status == CommandStatus::EndedSuccessfully
        };
        let hit = open && step.writes.iter().any(is_end);
        open &= !hit;
        hit
    });
    world.open("end");
    world.noted("asks").await;
    store.let_go();
    held.await.unwrap().unwrap();
    both.output().await.unwrap();
    let text = "nothing was done: the store refused another step of this tree; ask again";
    assert_eq!((world.count(text), world.count("asked again")), (1, 1), "{:?}", world.ledger());
    coordinator.shutdown().await.unwrap();
}

/// A leaf whose end is refused, and beside it a fan-out.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct FansBeside {}

impl Execute for FansBeside {
    type Output = usize;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<usize> {
        let (refused, fans) = tokio::join!(cx.child(RefusedBeside {}), cx.child(Fans {}));
        assert!(refused.is_err());
        fans
    }
}

/// Gives how many of its two children have ended.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, needs(World))]
struct Fans {}

impl Execute for Fans {
    type Output = usize;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<usize> {
        let world = cx.get::<World>();
        world.pass("ask").await;
        for part in ["part one", "part two"] {
            cx.start(Mark::new(part));
        }
        world.note(cx.id(), "fans", cx.attempt());
        Ok(0)
    }
}

impl ConcurrentChildren for Fans {
    async fn children_ended(
        &mut self,
        output: &mut usize,
        outcomes: &Outcomes,
        _: &Context<Self>,
    ) -> Result<()> {
        *output = outcomes.len();
        Ok(())
    }
}

/// Its step is skipped behind the refused one, and a cancel of it waits for the commit after that.
async fn what_a_fan_out_had_started_is_not_lost_behind_a_cancel(home: Home) {
    let store = home.faulty().await;
    let world = World::new();
    world.close("end");
    world.close("ask");
    let coordinator = start(store.clone(), &world).await;
    let fans = coordinator.submit(FansBeside {}).await.unwrap();
    store.hold();
    let submit = |label| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { coordinator.submit(Mark::new(label)).await.map(drop) })
    };
    let first = submit("first");
    store.held().await;
    let (holds, mut is_first, mut is_open) = (store.clone(), true, true);
    store.reject(move |step| {
        if std::mem::take(&mut is_first) {
            holds.hold();
        }
        let is_end = |write: &Write| {
            matches!(write, Write::Update(_, progress) if progress.return_value.as_deref() == Some("4711"))
        };
        let hit = is_open && step.writes.iter().any(is_end);
        is_open &= !hit;
        hit
    });
    world.open("end");
    world.noted("fans").await;
    store.let_go();
    first.await.unwrap().unwrap();
    store.held().await;

    let of_fans = world.ledger().into_iter().find(|entry| entry.deed == "fans").unwrap().id;
    let cancel = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.cancel(of_fans, "too late").await }
    });
    // What is asked of the engine after it is answered after it.
    tokio::task::yield_now().await;
    coordinator.why_waiting(fans.id()).await.unwrap();
    store.let_go();
    let text = "nothing was done: the store refused another step of this tree; ask again";
    assert_eq!(cancel.await.unwrap().unwrap_err().to_string(), text);
    assert_eq!(fans.output().await.unwrap(), 2);
    assert_eq!((world.count("part one"), world.count("part two")), (1, 1));
    coordinator.shutdown().await.unwrap();
}
