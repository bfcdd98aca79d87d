//! Newer code that cannot read what older code stored parks what needs it, and loses nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use coco_core::EngineError;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, on_every_store, stuck_of};
use super::leaves::Mark;
use super::world::World;

on_every_store!(outputs_that_newer_code_cannot_read,);

/// Numbers that the code of today does not read any more.
static UNREADABLE: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

#[derive(Serialize)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let unreadable = UNREADABLE.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable.contains(&number) {
            return Err(serde::de::Error::custom("read by older code"));
        }
        Ok(Self(number))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent)]
struct GivesNumber {
    number: u64,
}

impl Execute for GivesNumber {
    type Output = Number;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<Number> {
        Ok(Number(self.number))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct TakesNumber {
    number: u64,
}

impl Execute for TakesNumber {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let Number(number) = cx.child(GivesNumber { number: self.number }).await?;
        cx.child(Mark::new(number.to_string())).await.map(drop)
    }
}

async fn outputs_that_newer_code_cannot_read(home: Home) {
    let world = World::new();
    let number = world.number();
    world.close(&number.to_string());
    let coordinator = home.start(&world).await;
    let leaf = coordinator.submit(GivesNumber { number }).await.unwrap();
    leaf.output().await.unwrap();
    let flow = coordinator.submit(TakesNumber { number }).await.unwrap();
    world.noted(&number.to_string()).await;
    drop(coordinator);
    UNREADABLE.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    let error = engine_error_of(leaf.output().await);
    assert!(matches!(error, EngineError::Output { .. }), "{error}");
    assert!(error.to_string().contains("read by older code"), "{error}");
    let coordinator = home.start(&world).await;
    let flow = coordinator.handle::<TakesNumber>(flow.id()).await.unwrap();
    let (command, reason) = stuck_of(flow.output().await);
    assert_eq!(command, flow.id());
    let text = "the stored result of `gives_number` cannot be read: read by older code";
    assert_eq!(reason.message, text);
    UNREADABLE.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    world.open(&number.to_string());
    coordinator.retry(flow.id()).await.unwrap();
    flow.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}
