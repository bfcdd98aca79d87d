//! Cancel: who is told, what is dropped, what fails as cancelled, and what is refused.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, stuck_of, until};
use super::leaves::Mark;
use super::sagas::parts::{brittle, heeds, keep, mark, own, try_saga};
use super::sagas::{Brittle, Heeds, OwnSaga, Saga, undone};
use super::world::World;

on_every_store!(
    a_leaf_that_heeds_it,
    a_leaf_that_blocks_until_it_is_clean,
    a_leaf_that_does_not_heed_it,
    a_leaf_that_panics_when_told,
    a_flow_and_all_below_it,
    a_child_of_a_flow,
    twice,
    what_has_its_outcome,
    what_is_unknown,
    what_waits_for_its_time,
    what_waits_for_a_place,
    what_waits_for_its_next_attempt,
    a_flow_that_sleeps,
    a_flow_that_is_stuck,
    what_validates,
);

async fn a_leaf_that_heeds_it(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Heeds::new("a")).await.unwrap();
    world.noted("a").await;
    coordinator.cancel(handle.id(), "no longer wanted").await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert_eq!(failure.message, "it was cancelled: no longer wanted");
    assert_eq!(failure.chain, ["it was told"]);
    assert_eq!(failure.command, Some(handle.id()));
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.status, row.executed), (CommandStatus::EndedWithFailure, false));
    assert!(row.compensated_at.is_some() && row.return_value.is_none());
    let ends = ["undo half a", "undo half a: through", "a ends badly", "a ends badly: through"];
    assert_eq!(world.deeds(), [&["a", "a is told"][..], &ends].concat());
    coordinator.shutdown().await.unwrap();
}

async fn a_leaf_that_blocks_until_it_is_clean(home: Home) {
    let world = World::new();
    ["a", "a cleans up"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Heeds::new("a")).await.unwrap();
    world.noted("a").await;
    handle.cancel().await.unwrap();
    world.noted("a is told").await;
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Active, "it may clean up");
    world.open("a cleans up");
    assert_eq!(failure_of(handle.output().await).message, "it was cancelled");
    coordinator.shutdown().await.unwrap();
}

async fn a_leaf_that_does_not_heed_it(home: Home) {
    let world = World::new();
    world.close("a");
    world.say("told b", "wait");
    world.close("b");
    let grace = |builder: coco_core::Builder| builder.cancel_grace(Duration::ZERO);
    let coordinator = home.start_with(&world, grace).await;
    let deaf = coordinator.submit(Brittle::new("a")).await.unwrap();
    let slow = coordinator.submit(Heeds::new("b")).await.unwrap();
    world.noted("a").await;
    world.noted("b").await;
    coordinator.cancel(deaf.id(), "").await.unwrap();
    coordinator.cancel(slow.id(), "").await.unwrap();
    for output in [deaf.output().await, slow.output().await] {
        let failure = failure_of(output);
        assert_eq!(failure.kind, FailureKind::Cancelled);
        assert_eq!(failure.chain, ["it did not end within 0ns after it was told, and was dropped"]);
    }
    assert_eq!((world.count("a done"), world.count("undo half a")), (0, 1));
    coordinator.shutdown().await.unwrap();
}

async fn a_leaf_that_panics_when_told(home: Home) {
    let world = World::new();
    world.close("a");
    world.say("told a", "panic");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Heeds::new("a")).await.unwrap();
    world.noted("a").await;
    handle.cancel().await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, &*failure.chain[0]), (FailureKind::Cancelled, "it panicked: told"));
    coordinator.shutdown().await.unwrap();
}

async fn a_flow_and_all_below_it(home: Home) {
    let world = World::new();
    world.close("c");
    let coordinator = home.start(&world).await;
    let plan = vec![keep("a"), own("mid", [keep("b"), try_saga([heeds("c")]), mark("d")])];
    let handle = coordinator.submit(OwnSaga { label: "top".into(), plan }).await.unwrap();
    world.noted("c").await;
    coordinator.cancel(handle.id(), "enough").await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(failure.kind, FailureKind::Cancelled);
    assert_eq!(failure.command, Some(handle.id()), "it was the root that was cancelled");
    assert_eq!(world.count("d"), 0, "its flow does not go on");
    let expected = ["undo half c", "undo done b", "undo half mid", "undo done a", "undo half top"];
    assert_eq!(undone(&world), expected);
    for row in home.tree(handle.id()).await.commands {
        let failure = row.progress.failure.map(|json| serde_json::from_str::<Failure>(&json));
        let kind = failure.map(|failure| failure.unwrap().kind);
        let is_cancelled = kind == Some(FailureKind::Cancelled);
        assert_eq!(is_cancelled, !row.progress.executed, "{}", row.command_parameters);
        assert!(row.progress.status.is_terminal());
    }
    coordinator.shutdown().await.unwrap();
}

/// Its parent gets the failure, and may go on.
async fn a_child_of_a_flow(home: Home) {
    let world = World::new();
    world.close("b");
    let coordinator = home.start(&world).await;
    let plan = vec![keep("a"), try_saga([keep("before"), heeds("b")]), mark("c")];
    let handle = coordinator.submit(Saga { plan }).await.unwrap();
    world.noted("b").await;
    let b = world.ledger().iter().find(|entry| entry.deed == "b").unwrap().id;
    coordinator.cancel(b, "just this one").await.unwrap();
    handle.output().await.unwrap();
    assert_eq!(world.count("c"), 1);
    assert_eq!(undone(&world), ["undo half b", "undo done before"]);
    coordinator.shutdown().await.unwrap();
}

async fn twice(home: Home) {
    let world = World::new();
    ["a", "a cleans up"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Heeds::new("a")).await.unwrap();
    world.noted("a").await;
    coordinator.cancel(handle.id(), "first").await.unwrap();
    coordinator.cancel(handle.id(), "second").await.unwrap();
    world.open("a cleans up");
    assert_eq!(failure_of(handle.output().await).message, "it was cancelled: first");
    assert_eq!(world.count("a is told"), 1);
    let audit = coordinator.audit(handle.id()).await.unwrap();
    let reasons: Vec<_> = audit.iter().map(|entry| (&*entry.action, &*entry.reason)).collect();
    assert_eq!(reasons, [("cancel", "first"), ("cancel", "second")]);
    coordinator.shutdown().await.unwrap();
}

async fn what_has_its_outcome(home: Home) {
    let world = World::new();
    world.say("fail b", "it broke");
    let gates = ["a ends well", "undo half b", "b ends badly"];
    gates.iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let a = coordinator.submit(Brittle::new("a")).await.unwrap();
    let b = coordinator.submit(Brittle::new("b")).await.unwrap();
    for (gate, handle) in gates.into_iter().zip([&a, &b, &b]) {
        world.noted(gate).await;
        let refused = engine_error_of(coordinator.cancel(handle.id(), "late").await);
        assert_eq!(refused, EngineError::AlreadyEnded(handle.id()), "{gate}");
        world.open(gate);
    }
    assert_eq!(a.output().await.unwrap(), "a!");
    assert_eq!(failure_of(b.output().await).message, "it broke");
    let refused = engine_error_of(a.cancel().await);
    assert_eq!(refused, EngineError::AlreadyEnded(a.id()));
    assert_eq!(coordinator.audit(a.id()).await.unwrap(), []);
    assert_eq!(home.entity(a.id()).await.progress.cancelled, None);
    coordinator.shutdown().await.unwrap();
}

async fn what_is_unknown(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let absent: CommandId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let refused = engine_error_of(coordinator.cancel(absent, "").await);
    assert_eq!(refused, EngineError::NotFound(absent));
    world.close("a");
    let handle = coordinator.submit(Heeds::new("a")).await.unwrap();
    world.noted("a").await;
    assert!(coordinator.cancel(handle.id(), "nul \0").await.is_err());
    assert_eq!(home.entity(handle.id()).await.progress.cancelled, None);
    coordinator.clone().shutdown_within(Duration::ZERO).await.unwrap();
    let refused = coordinator.cancel(handle.id(), "").await;
    assert_eq!(engine_error_of(refused), EngineError::Shutdown);
    assert_eq!(engine_error_of(handle.cancel().await), EngineError::Shutdown);
}

async fn what_waits_for_its_time(home: Home) {
    let world = World::new();
    for restarts in [false, true] {
        let mut coordinator = home.start(&world).await;
        let late = coordinator.submit_after(Duration::from_secs(3600), Brittle::new("a")).await;
        let id = late.unwrap().id();
        assert_eq!(home.entity(id).await.progress.status, CommandStatus::NotStarted);
        if restarts {
            drop(coordinator);
            coordinator = home.start(&world).await;
        }
        let handle = coordinator.handle::<Brittle>(id).await.unwrap();
        handle.cancel().await.unwrap();
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
        let row = home.entity(id).await.progress;
        assert_eq!((row.status, row.attempt), (CommandStatus::EndedWithFailure, 0));
        coordinator.shutdown().await.unwrap();
    }
    assert_eq!(world.deeds(), [""; 0], "nothing had begun, so nothing is to be ended or undone");
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, concurrency = 1, needs(World))]
struct OneOfTheQueue {
    label: String,
}

impl Execute for OneOfTheQueue {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), &*self.label, 1);
        cx.get::<World>().pass(&self.label).await;
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "it ended", 1);
        Ok(())
    }
}

async fn what_waits_for_a_place(home: Home) {
    let world = World::new();
    world.close("first");
    let coordinator = home.start(&world).await;
    let submit = async |label: &str| {
        coordinator.submit(OneOfTheQueue { label: label.to_owned() }).await.unwrap()
    };
    let (first, second, third) =
        (submit("first").await, submit("second").await, submit("third").await);
    world.noted("first").await;
    second.cancel().await.unwrap();
    assert_eq!(failure_of(second.output().await).kind, FailureKind::Cancelled);
    world.open("first");
    first.output().await.unwrap();
    third.output().await.unwrap();
    assert_eq!(world.deeds(), ["first", "third"]);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(retry(attempts = 3, backoff = "1h", max_backoff = "1h"), needs(World))]
struct TriesAgain {}

impl Execute for TriesAgain {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "try", cx.attempt());
        Err(Error::other("it broke"))
    }

    async fn compensate(&mut self, output: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("undo {output:?}"), 1);
        Ok(())
    }
}

async fn what_waits_for_its_next_attempt(home: Home) {
    for restarts in [false, true] {
        let world = World::new();
        let mut coordinator = home.start(&world).await;
        let id = coordinator.submit(TriesAgain {}).await.unwrap().id();
        until(async || home.entity(id).await.progress.wake_at.is_some()).await;
        if restarts {
            drop(coordinator);
            coordinator = home.start(&world).await;
        }
        let handle = coordinator.handle::<TriesAgain>(id).await.unwrap();
        handle.cancel().await.unwrap();
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
        assert_eq!(world.deeds(), ["try", "undo None"]);
        coordinator.shutdown().await.unwrap();
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct SleepsLong {}

impl Execute for SleepsLong {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(super::sagas::Keep::new("a")).await?;
        cx.sleep(Duration::from_secs(3600)).await?;
        cx.child(Mark::new("b")).await.map(drop)
    }
}

async fn a_flow_that_sleeps(home: Home) {
    for restarts in [false, true] {
        let world = World::new();
        let mut coordinator = home.start(&world).await;
        let id = coordinator.submit(SleepsLong {}).await.unwrap().id();
        until(async || !home.tree(id).await.sleeps.is_empty()).await;
        if restarts {
            drop(coordinator);
            coordinator = home.start(&world).await;
        }
        let handle = coordinator.handle::<SleepsLong>(id).await.unwrap();
        handle.cancel().await.unwrap();
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
        assert_eq!(undone(&world), ["undo done a"]);
        assert_eq!(world.count("b"), 0);
        coordinator.shutdown().await.unwrap();
    }
}

/// Waits for something foreign.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct GoesAstray {}

impl Execute for GoesAstray {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(super::sagas::Keep::new("a")).await?;
        std::future::pending().await
    }
}

async fn a_flow_that_is_stuck(home: Home) {
    for restarts in [false, true] {
        let world = World::new();
        let mut coordinator = home.start(&world).await;
        let handle = coordinator.submit(GoesAstray {}).await.unwrap();
        let id = handle.id();
        stuck_of(handle.output().await);
        if restarts {
            coordinator.shutdown().await.unwrap();
            coordinator = home.start(&world).await;
        }
        coordinator.cancel(id, "hopeless").await.unwrap();
        let handle = coordinator.handle::<GoesAstray>(id).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.message, "it was cancelled: hopeless");
        assert_eq!(undone(&world), ["undo done a"]);
        let row = home.entity(id).await.progress;
        assert_eq!((row.stuck_from, row.stuck_reason), (None, None));
        coordinator.shutdown().await.unwrap();
    }
    // What is stuck after its outcome keeps it.
    let world = World::new();
    world.say("fail b ends well", "not yet");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Saga { plan: vec![brittle("b")] }).await.unwrap();
    let (child, _) = stuck_of(handle.output().await);
    let refused = engine_error_of(coordinator.cancel(child, "").await);
    assert_eq!(refused, EngineError::AlreadyEnded(child));
    // Its parent has none yet, and ends after it.
    handle.cancel().await.unwrap();
    world.unsay("fail b ends well");
    coordinator.retry(child).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(undone(&world), ["undo done b"]);
    coordinator.shutdown().await.unwrap();
}

/// Refuses or not when its gate opens.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct ValidatesLong {
    refuses: bool,
}

impl Execute for ValidatesLong {
    type Output = ();

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "validate", 1);
        cx.get::<World>().pass("validate").await;
        if self.refuses { Err(Error::other("refused")) } else { Ok(()) }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("execute {}", cx.is_cancelled()), 1);
        Ok(())
    }

    async fn compensate(&mut self, output: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("undo {output:?}"), 1);
        Ok(())
    }
}

async fn what_validates(home: Home) {
    for refuses in [true, false] {
        let world = World::new();
        world.close("validate");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(ValidatesLong { refuses }).await.unwrap();
        world.noted("validate").await;
        handle.cancel().await.unwrap();
        world.open("validate");
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
        let expected: &[&str] =
            if refuses { &["validate"] } else { &["validate", "execute true", "undo Some(())"] };
        assert_eq!(world.deeds(), expected);
        coordinator.shutdown().await.unwrap();
    }
}
