//! Commands that lock as they are told, and wait in line for it. What they do shows in the ledger
//! of the world.

use coco_core::callback::AwaitsChildren;
use coco_core::lock::{LockConflict, LockMode, LockProperties, LockScope, WouldDeadlock};
use coco_core::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::home::Home;
use super::leaves::{Mark, act};
use super::sagas::{hook, undo};
use super::world::World;

#[derive(LockKey, Serialize, Deserialize, Clone, Copy, Debug)]
#[lock_key(group = "turn")]
pub(crate) struct Disk(pub(crate) u32);

/// What a command locks, for how long, and whether it waits for that.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Locks {
    keys: Vec<(u32, LockMode)>,
    scope: LockScope,
    wait: Wait,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
enum Wait {
    No,
    Yes,
    AtMost(std::time::Duration),
}

/// Locks these alone, until the work is over; waits for them.
pub(crate) fn alone(disks: impl IntoIterator<Item = u32>) -> Locks {
    Locks::of(disks, LockMode::Exclusive)
}

/// The same with others.
pub(crate) fn shared(disks: impl IntoIterator<Item = u32>) -> Locks {
    Locks::of(disks, LockMode::Shared)
}

/// No locks.
pub(crate) fn free() -> Locks {
    alone([])
}

impl Locks {
    fn of(disks: impl IntoIterator<Item = u32>, mode: LockMode) -> Self {
        let keys = disks.into_iter().map(|disk| (disk, mode)).collect();
        Self { keys, scope: LockScope::Execution, wait: Wait::Yes }
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    pub(crate) fn no_wait(self) -> Self {
        Self { wait: Wait::No, ..self }
    }

    pub(crate) fn at_most(self, longest: std::time::Duration) -> Self {
        Self { wait: Wait::AtMost(longest), ..self }
    }

    /// Until the end hook is through.
    pub(crate) fn until_the_end(self) -> Self {
        Self { scope: LockScope::Command, ..self }
    }

    /// What it says is of no use.
    pub(crate) fn in_no_scope(self) -> Self {
        Self { scope: LockScope::None, ..self }
    }

    fn apply(&self, properties: LockProperties) -> LockProperties {
        let properties = properties.with_scope(self.scope);
        let properties = match self.wait {
            Wait::No => properties.with_no_wait(),
            Wait::Yes => properties.with_wait(),
            Wait::AtMost(longest) => properties.with_wait_timeout(longest),
        };
        self.keys.iter().fold(properties, |properties, (disk, mode)| match mode {
            LockMode::Shared => properties.with_shared(&Disk(*disk)),
            LockMode::Exclusive => properties.with_exclusive(&Disk(*disk)),
        })
    }
}

/// As `Mark`, with locks.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(idempotent, needs(World))]
pub(crate) struct Take {
    pub(crate) label: String,
    pub(crate) locks: Locks,
}

pub(crate) fn take(label: impl Into<String>, locks: Locks) -> Take {
    Take { label: label.into(), locks }
}

impl Execute for Take {
    type Output = String;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.locks.apply(properties)
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }
}

/// The same with all hooks. Its `validate` refuses where the world says `refuse <label>`.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(idempotent, needs(World))]
pub(crate) struct Close {
    pub(crate) label: String,
    pub(crate) locks: Locks,
}

pub(crate) fn close(label: impl Into<String>, locks: Locks) -> Close {
    Close { label: label.into(), locks }
}

impl Execute for Close {
    type Output = String;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.locks.apply(properties)
    }

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        let (world, label) = (cx.get::<World>(), &self.label);
        world.note(cx.id(), format!("validate {label}"), 1);
        world.pass(&format!("validate {label}")).await;
        match world.word(&format!("refuse {label}")) {
            Some(why) => Err(Error::other(why)),
            None => Ok(()),
        }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        act(cx.get(), cx.id(), &self.label, cx.attempt()).await
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends well", self.label)).await
    }

    async fn compensate(&mut self, output: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        undo(cx, cx.get(), &self.label, output.is_some()).await
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends badly", self.label)).await
    }
}

/// What a `Plan` does next.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) enum Part {
    Mark(String),
    Take(Take),
    Close(Close),
    Plan(Plan),
    /// Its failure is an output of the plan.
    Try(Take),
    /// Side by side; their failures are outputs of the plan.
    Together(Vec<Take>),
    Fail(String),
}

pub(crate) fn mark(label: &str) -> Part {
    Part::Mark(label.into())
}

impl From<Take> for Part {
    fn from(take: Take) -> Self {
        Self::Take(take)
    }
}

impl From<Close> for Part {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl From<Plan> for Part {
    fn from(plan: Plan) -> Self {
        Self::Plan(plan)
    }
}

/// A flow with locks, by a plan. Gives the failures of what it tries.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = SerialChildren)]
pub(crate) struct Plan {
    pub(crate) locks: Locks,
    pub(crate) parts: Vec<Part>,
}

pub(crate) fn plan(locks: Locks, parts: impl Into<Vec<Part>>) -> Plan {
    Plan { locks, parts: parts.into() }
}

impl Execute for Plan {
    type Output = Vec<Option<Failure>>;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.locks.apply(properties)
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {
        perform(cx, &self.parts).await
    }
}

/// The same with all hooks.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = SerialChildren, needs(World))]
pub(crate) struct OwnPlan {
    pub(crate) label: String,
    pub(crate) locks: Locks,
    pub(crate) parts: Vec<Part>,
}

pub(crate) fn own_plan(label: &str, locks: Locks, parts: impl Into<Vec<Part>>) -> OwnPlan {
    OwnPlan { label: label.into(), locks, parts: parts.into() }
}

impl Execute for OwnPlan {
    type Output = Vec<Option<Failure>>;

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        self.locks.apply(properties)
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {
        perform(cx, &self.parts).await
    }

    async fn end_successfully(&mut self, _: &Self::Output, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends well", self.label)).await
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        hook(cx, cx.get(), &format!("{} ends badly", self.label)).await
    }
}

/// Two plans side by side. Gives their failures.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = SerialChildren)]
pub(crate) struct TwoPlans {
    pub(crate) plans: [Plan; 2],
}

impl Execute for TwoPlans {
    type Output = Vec<Option<Failure>>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {
        let [one, other] = self.plans.clone();
        let (one, other) = tokio::join!(cx.child(one), cx.child(other));
        let failure = |result: Result<_>| result.err().and_then(|e| e.failure().cloned());
        Ok(vec![failure(one), failure(other)])
    }
}

async fn perform<C: Command>(cx: &Context<C>, parts: &[Part]) -> Result<Vec<Option<Failure>>>
where
    C::Callback: AwaitsChildren,
{
    let failure = |result: Result<String>| result.err().and_then(|e| e.failure().cloned());
    let mut outputs = Vec::new();
    for part in parts.iter().cloned() {
        match part {
            Part::Mark(label) => drop(cx.child(Mark { label }).await?),
            Part::Take(take) => drop(cx.child(take).await?),
            Part::Close(close) => drop(cx.child(close).await?),
            Part::Plan(plan) => drop(cx.child(plan).await?),
            Part::Try(take) => outputs.push(failure(cx.child(take).await)),
            Part::Together(takes) => {
                let mut takes = takes.into_iter();
                let (Some(one), Some(other)) = (takes.next(), takes.next()) else { continue };
                let (one, other) = tokio::join!(cx.child(one), cx.child(other));
                outputs.extend([failure(one), failure(other)]);
            }
            Part::Fail(why) => return Err(Error::other(why)),
        }
    }
    Ok(outputs)
}

/// Who waits in line, in its order.
pub(crate) async fn line(home: &Home) -> Vec<CommandId> {
    let mut waiting = home.open().await.locks(None).await.expect("the store is read").waiting;
    waiting.sort_unstable_by_key(|waiting| waiting.rank);
    waiting.into_iter().map(|waiting| waiting.request.owner).collect()
}

/// Waits until so many are in line.
pub(crate) async fn queued(home: &Home, length: usize) {
    for _ in 0..50_000 {
        if line(home).await.len() == length {
            return;
        }
        tokio::task::yield_now().await;
    }
    let rows = home.open().await.locks(None).await.expect("the store is read");
    panic!("{length} are not in line: {rows:#?}");
}

/// Nobody holds anything, and nobody waits.
pub(crate) async fn nothing_is_locked(home: &Home) {
    let rows = home.open().await.locks(None).await.expect("the store is read");
    assert!(rows.held.is_empty() && rows.waiting.is_empty(), "{rows:?}");
}

/// What was begun, in its order; what was begun again right after a crash counts once.
pub(crate) fn begun(world: &World, labels: &[&str]) -> Vec<String> {
    let is_begin = |deed: &String| labels.contains(&deed.as_str());
    let mut begun: Vec<_> = world.deeds().into_iter().filter(is_begin).collect();
    begun.dedup();
    begun
}

/// The data of a failure.
pub(crate) fn data_of<T: DeserializeOwned>(failure: &Failure) -> T {
    let data = failure.data.clone().expect("the failure has data");
    serde_json::from_value(data).expect("it can be read")
}

pub(crate) fn conflict_of<T>(result: Result<T>) -> LockConflict {
    match result {
        Ok(_) => panic!("it was not locked"),
        Err(error) => error.downcast_ref::<LockConflict>().expect("a conflict").clone(),
    }
}

pub(crate) fn deadlock_of(failure: &Failure) -> WouldDeadlock {
    let cycle: WouldDeadlock = data_of(failure);
    assert_eq!(cycle.to_string(), failure.message);
    cycle
}
