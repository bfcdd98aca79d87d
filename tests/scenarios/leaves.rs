//! Leaves that many scenarios use. What they do shows in the ledger of the world.

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::world::World;

/// Does nothing.
#[derive(Command, Serialize, Deserialize)]
pub(crate) struct Nothing {}

impl Execute for Nothing {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

/// Has its effect as often as it must: notes its label, passes the gate of that name, and notes
/// that it is done. Fails where the world says `fail <label>`.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(idempotent, needs(World))]
pub(crate) struct Mark {
    pub(crate) label: String,
}

impl Mark {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into() }
    }
}

impl Execute for Mark {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }
}

/// The same, but it may not run twice; its end hooks show in the ledger too.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(needs(World))]
pub(crate) struct Fragile {
    pub(crate) label: String,
}

impl Fragile {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into() }
    }
}

impl Execute for Fragile {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }

    async fn end_successfully(&mut self, output: &String, cx: &LeafContext<Self>) -> Result<()> {
        end(cx.get(), cx.id(), &self.label, output, cx.attempt()).await
    }

    async fn end_with_failure(&mut self, failure: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        let why = format!("{:?}", failure.kind);
        end(cx.get(), cx.id(), &self.label, &why, cx.attempt()).await
    }
}

pub(crate) async fn act(world: &World, id: CommandId, label: &str, attempt: u32) -> Result<String> {
    world.note(id, label, attempt);
    world.pass(label).await;
    if let Some(why) = world.word(&format!("fail {label}")) {
        world.note(id, format!("{label} failed"), attempt);
        return Err(Error::other(why).with_code("E-MARK").with_data([label]));
    }
    world.note(id, format!("{label} done"), attempt);
    Ok(format!("{label}!"))
}

async fn end(world: &World, id: CommandId, label: &str, outcome: &str, attempt: u32) -> Result<()> {
    world.note(id, format!("{label} ends: {outcome}"), attempt);
    world.pass(&format!("end of {label}")).await;
    match world.word(&format!("fail end of {label}")) {
        Some(why) if why == "panic" => panic!("the end of {label} panics"),
        Some(why) => Err(Error::other(why)),
        None => {
            world.note(id, format!("{label} ended"), attempt);
            Ok(())
        }
    }
}
