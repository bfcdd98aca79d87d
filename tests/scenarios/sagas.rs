//! Leaves that can be undone, and flows over them by a plan. What they do, and how that is undone,
//! shows in the ledger of the world.

use coco_core::callback::AwaitsChildren;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::leaves::{Mark, act};
use super::world::World;

/// As `Mark`, with a `compensate` of its own.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(idempotent, needs(World))]
pub(crate) struct Keep {
    pub(crate) label: String,
}

impl Keep {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into() }
    }
}

impl Execute for Keep {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }

    async fn compensate(&mut self, kept: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        undo(cx, cx.get(), &self.label, kept.is_some()).await
    }
}

/// The same, but it may not run twice; it has all hooks.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(needs(World))]
pub(crate) struct Brittle {
    pub(crate) label: String,
}

impl Brittle {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into() }
    }
}

impl Execute for Brittle {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends well", self.label)).await
    }

    async fn compensate(&mut self, kept: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        undo(cx, cx.get(), &self.label, kept.is_some()).await
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends badly", self.label)).await
    }
}

/// Registers its undo before it does anything.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(idempotent, needs(World))]
pub(crate) struct Registers {
    pub(crate) label: String,
}

impl Execute for Registers {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.compensate_with(Unmake { label: self.label.clone() }).await?;
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }
}

/// An undo command.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(needs(World))]
pub(crate) struct Unmake {
    pub(crate) label: String,
}

impl Execute for Unmake {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        deed(cx.get(), cx.id(), &format!("undo by entry {}", self.label), cx.attempt()).await
    }
}

/// Waits at the gate of its label until it is told that it is cancelled; then, as the world says
/// `told <label>`, it gives that output, fails, or waits on.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(idempotent, needs(World))]
pub(crate) struct Heeds {
    pub(crate) label: String,
}

impl Heeds {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into() }
    }
}

impl Execute for Heeds {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let (world, label) = (cx.get::<World>(), &self.label);
        world.note(cx.id(), label, cx.attempt());
        tokio::select! {
            biased;
            () = cx.cancelled() => {
                assert!(cx.is_cancelled());
                world.note(cx.id(), format!("{label} is told"), cx.attempt());
                world.pass(&format!("{label} cleans up")).await;
                match world.word(&format!("told {label}")).as_deref() {
                    Some("wait") => std::future::pending().await,
                    Some("panic") => panic!("told"),
                    Some(output) => Ok(output.to_owned()),
                    None => Err(Error::other("it was told")),
                }
            }
            () = world.pass(label) => Ok(format!("{label}!")),
        }
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends well", self.label)).await
    }

    async fn compensate(&mut self, kept: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        undo(cx, cx.get(), &self.label, kept.is_some()).await
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends badly", self.label)).await
    }
}

pub(crate) async fn undo<C>(
    cx: &LeafContext<C>,
    world: &World,
    label: &str,
    has_succeeded: bool,
) -> Result<()> {
    let what = if has_succeeded { "done" } else { "half" };
    hook(cx, world, &format!("undo {what} {label}")).await
}

pub(crate) async fn hook<C>(cx: &LeafContext<C>, world: &World, what: &str) -> Result<()> {
    deed(world, cx.id(), what, cx.hook_attempt()).await
}

/// Notes what it is, passes the gate of that name, and fails as the world says `fail <what>`: with
/// this error, by a panic, or the first so many times.
async fn deed(world: &World, id: CommandId, what: &str, attempt: u32) -> Result<()> {
    world.note(id, what, attempt);
    world.pass(what).await;
    let why = world.word(&format!("fail {what}"));
    if why.as_deref() == Some("panic") {
        panic!("{what} panics");
    }
    match why.as_deref().map(|why| (why, why.strip_suffix(" times"))) {
        Some((_, Some(times)))
            if times.parse().is_ok_and(|times: usize| times < world.count(what)) => {}
        Some((why, _)) => return Err(Error::other(why)),
        None => {}
    }
    world.note(id, format!("{what}: through"), attempt);
    Ok(())
}

/// One thing that a flow does.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) enum Part {
    Mark(String),
    Keep(String),
    Brittle(String),
    Registers(String),
    Heeds(String),
    /// Registers an undo itself.
    Entry(String),
    Together(Vec<String>),
    Saga(Vec<Self>),
    Own(String, Vec<Self>),
    /// Goes on whatever becomes of it.
    TrySaga(Vec<Self>),
    Fail(String),
}

pub(crate) async fn perform<C: Command>(cx: &Context<C>, plan: &[Part]) -> Result<()>
where
    C::Callback: AwaitsChildren,
{
    for part in plan.iter().cloned() {
        match part {
            Part::Mark(label) => drop(cx.child(Mark { label }).await?),
            Part::Keep(label) => drop(cx.child(Keep { label }).await?),
            Part::Brittle(label) => drop(cx.child(Brittle { label }).await?),
            Part::Registers(label) => drop(cx.child(Registers { label }).await?),
            Part::Heeds(label) => drop(cx.child(Heeds { label }).await?),
            Part::Entry(label) => cx.compensate_with(Unmake { label }).await?,
            Part::Together(labels) => {
                cx.children(labels.into_iter().map(Keep::new)).await?;
            }
            Part::Saga(plan) => cx.child(Saga { plan }).await?,
            Part::Own(label, plan) => cx.child(OwnSaga { label, plan }).await?,
            Part::TrySaga(plan) => drop(cx.child(Saga { plan }).await),
            Part::Fail(why) => return Err(Error::other(why)),
        }
    }
    Ok(())
}

/// A flow by a plan, without hooks.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = SerialChildren)]
pub(crate) struct Saga {
    pub(crate) plan: Vec<Part>,
}

impl Execute for Saga {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        perform(cx, &self.plan).await
    }
}

/// The same with all hooks.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = SerialChildren, needs(World))]
pub(crate) struct OwnSaga {
    pub(crate) label: String,
    pub(crate) plan: Vec<Part>,
}

impl Execute for OwnSaga {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        perform(cx, &self.plan).await
    }

    async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends well", self.label)).await
    }

    async fn compensate(&mut self, kept: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        undo(cx, cx.get(), &self.label, kept.is_some()).await
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends badly", self.label)).await
    }
}

/// What was undone, in its order; what was begun again right after a crash counts once.
pub(crate) fn undone(world: &World) -> Vec<String> {
    let is_undo = |deed: &String| deed.starts_with("undo ") && !deed.ends_with(": through");
    let mut undone: Vec<_> = world.deeds().into_iter().filter(is_undo).collect();
    undone.dedup();
    undone
}

/// Parts of a plan, by name.
pub(crate) mod parts {
    use super::Part;

    pub(crate) fn mark(label: &str) -> Part {
        Part::Mark(label.into())
    }

    pub(crate) fn keep(label: &str) -> Part {
        Part::Keep(label.into())
    }

    pub(crate) fn brittle(label: &str) -> Part {
        Part::Brittle(label.into())
    }

    pub(crate) fn registers(label: &str) -> Part {
        Part::Registers(label.into())
    }

    pub(crate) fn heeds(label: &str) -> Part {
        Part::Heeds(label.into())
    }

    pub(crate) fn entry(label: &str) -> Part {
        Part::Entry(label.into())
    }

    pub(crate) fn together(labels: &[&str]) -> Part {
        Part::Together(labels.iter().map(ToString::to_string).collect())
    }

    pub(crate) fn saga(plan: impl Into<Vec<Part>>) -> Part {
        Part::Saga(plan.into())
    }

    pub(crate) fn own(label: &str, plan: impl Into<Vec<Part>>) -> Part {
        Part::Own(label.into(), plan.into())
    }

    pub(crate) fn try_saga(plan: impl Into<Vec<Part>>) -> Part {
        Part::TrySaga(plan.into())
    }

    pub(crate) fn fail(why: &str) -> Part {
        Part::Fail(why.into())
    }
}
