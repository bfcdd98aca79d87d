//! The store refuses one step: what else its tree had asked for in the same commit is answered.

use coco_core::CommandStatus;
use coco_core::prelude::*;
use coco_core::store::Write;
use serde::{Deserialize, Serialize};

use super::home::{Home, on_every_store, start};
use super::leaves::{Mark, Nothing};
use super::world::World;

on_every_store!(a_leaf_that_registers_is_told_to_ask_again);

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
