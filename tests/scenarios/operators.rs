//! What an operator does to trees: retry, abandon, resubmit, and what the audit keeps of it.

use coco_core::lock::LockConflict;
use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, stuck_of};
use super::leaves::{Mark, Nothing};
use super::sagas::parts::{keep, mark, own, saga};
use super::sagas::{Brittle, OwnSaga, Saga, undone};
use super::world::World;

on_every_store!(
    abandoned_as_it_is,
    abandoned_child_of_a_flow,
    abandoned_after_its_children,
    what_is_not_stuck,
    submitted_again,
    what_cannot_be_submitted_again,
    all_of_it_is_audited,
    said_when_it_is_stored,
);

fn at(handle: &CommandHandle<impl Command>) -> CommandId {
    handle.id()
}

/// Keeps a key until it is through, and cannot be undone.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Command, needs(World))]
struct Immovable {
    #[lock(exclusive, group = "operators")]
    key: u64,
}

impl Execute for Immovable {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Err(Error::other("no"))
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "undo", 1);
        Err(Error::other("it cannot be undone"))
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "end", 1);
        Ok(())
    }
}

async fn abandoned_as_it_is(home: Home) {
    let world = World::new();
    let key = world.number();
    for restarts in [false, true] {
        let mut coordinator = home.start(&world).await;
        let handle = coordinator.submit(Immovable { key }).await.unwrap();
        let id = at(&handle);
        stuck_of(handle.output().await);
        if restarts {
            coordinator.shutdown().await.unwrap();
            coordinator = home.start(&world).await;
        }
        let refused = coordinator.submit(Immovable { key }).await.err().unwrap();
        assert_eq!(refused.downcast_ref::<LockConflict>().unwrap().holder, id);
        coordinator.abandon(id, "by hand").await.unwrap();
        let handle = coordinator.handle::<Immovable>(id).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, FailureKind::Abandoned);
        assert_eq!(failure.message, "it was abandoned: by hand");
        assert_eq!(failure.chain, ["it cannot be undone"]);
        let row = home.entity(id).await.progress;
        assert_eq!(row.status, CommandStatus::EndedWithFailure);
        assert_eq!((row.stuck_from, row.stuck_reason, row.compensated_at), (None, None, None));
        assert_eq!(engine_error_of(coordinator.abandon(id, "").await), EngineError::NotStuck(id));
        coordinator.shutdown().await.unwrap();
    }
    assert_eq!(world.deeds(), ["undo", "undo"], "no end hook, no undo");
}

async fn abandoned_child_of_a_flow(home: Home) {
    let world = World::new();
    world.say("fail b ends well", "not yet");
    let coordinator = home.start(&world).await;
    let plan = vec![keep("a"), super::sagas::parts::brittle("b"), keep("c")];
    let handle = coordinator.submit(Saga { plan }).await.unwrap();
    let (child, _) = stuck_of(handle.output().await);
    coordinator.abandon(child, "it is dead").await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, failure.command), (FailureKind::Abandoned, Some(child)));
    assert_eq!(undone(&world), ["undo done a"], "what was abandoned is not undone");
    assert_eq!(world.count("c"), 0);
    coordinator.shutdown().await.unwrap();
}

async fn abandoned_after_its_children(home: Home) {
    let world = World::new();
    world.close("b");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Astray { world: world.number() }).await.unwrap();
    world.noted("b").await;
    drop(coordinator);
    world.say("astray", "now");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Astray>(handle.id()).await.unwrap();
    let (id, reason) = stuck_of(handle.output().await);
    assert_eq!((id, reason.kind), (handle.id(), FailureKind::Diverged));
    let refused = engine_error_of(coordinator.abandon(id, "now").await);
    assert_eq!(refused, EngineError::OpenChildren { command: id, open: 1 });
    world.open("b");
    super::home::until(async || {
        home.tree(id).await.commands.iter().filter(|row| row.progress.status.is_terminal()).count()
            == 2
    })
    .await;
    coordinator.abandon(id, "now").await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Abandoned);
    assert_eq!(undone(&world), [""; 0]);
    coordinator.shutdown().await.unwrap();
}

/// Asks for something else when the world says so.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Astray {
    world: u64,
}

impl Execute for Astray {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(super::sagas::Keep::new("a")).await?;
        let astray = World::at(self.world).is_said("astray");
        cx.child(Mark::new(if astray { "c" } else { "b" })).await?;
        Ok(())
    }
}

async fn what_is_not_stuck(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Mark::new("a")).await.unwrap();
    let id = at(&handle);
    for _ in 0..2 {
        assert_eq!(engine_error_of(coordinator.retry(id).await), EngineError::NotStuck(id));
        assert_eq!(engine_error_of(coordinator.abandon(id, "").await), EngineError::NotStuck(id));
        world.open("a");
        handle.output().await.unwrap();
    }
    let absent: CommandId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(engine_error_of(coordinator.retry(absent).await), EngineError::NotFound(absent));
    let abandoned = coordinator.abandon(absent, "").await;
    assert_eq!(engine_error_of(abandoned), EngineError::NotFound(absent));
    assert_eq!(coordinator.audit(id).await.unwrap(), []);
    assert!(coordinator.abandon(id, "nul \0").await.is_err());
    coordinator.clone().shutdown().await.unwrap();
    assert_eq!(engine_error_of(coordinator.retry(id).await), EngineError::Shutdown);
    assert_eq!(engine_error_of(coordinator.abandon(id, "").await), EngineError::Shutdown);
}

async fn submitted_again(home: Home) {
    let world = World::new();
    world.say("fail a", "it broke");
    let coordinator = home.start(&world).await;
    let first = coordinator.submit(Mark::new("a")).await.unwrap();
    failure_of(first.output().await);
    world.unsay("fail a");
    let second = coordinator.resubmit::<Mark>(first.id()).await.unwrap();
    assert_ne!(second.id(), first.id());
    assert_eq!(second.output().await.unwrap(), "a!");
    let row = home.entity(second.id()).await;
    assert_eq!((row.resubmit_of, row.parent_command_id), (Some(first.id()), None));
    let third = coordinator.resubmit::<Mark>(second.id()).await.unwrap();
    assert_eq!(third.output().await.unwrap(), "a!", "also what has succeeded");
    let audit = coordinator.audit(first.id()).await.unwrap();
    assert_eq!(audit.len(), 1);
    let entry = &audit[0];
    assert_eq!((&*entry.action, entry.linked), ("resubmit", Some(second.id())));
    assert_eq!(entry.status, CommandStatus::EndedWithFailure);
    assert_eq!(home.entity(first.id()).await.progress.status, CommandStatus::EndedWithFailure);
    coordinator.shutdown().await.unwrap();
}

async fn what_cannot_be_submitted_again(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Saga { plan: vec![mark("a")] }).await.unwrap();
    let id = at(&handle);
    let again = coordinator.resubmit::<Saga>(id).await;
    assert_eq!(engine_error_of(again), EngineError::NotEnded(id));
    world.open("a");
    handle.output().await.unwrap();
    let of_another_type = coordinator.resubmit::<Nothing>(id).await;
    assert_eq!(engine_error_of(of_another_type), EngineError::NotFound(id));
    let rows = home.tree(id).await.commands;
    let child = rows.iter().find(|row| row.parent_command_id.is_some()).unwrap().command_id;
    let of_a_child = coordinator.resubmit::<Mark>(child).await;
    assert_eq!(engine_error_of(of_a_child), EngineError::NotFound(child));
    coordinator.shutdown().await.unwrap();
}

async fn all_of_it_is_audited(home: Home) {
    let world = World::new();
    world.say("fail undo half mid", "not yet");
    world.close("c");
    let coordinator = home.start(&world).await;
    let plan = vec![keep("a"), own("mid", [saga([keep("b"), mark("c")])])];
    let handle = coordinator.submit(OwnSaga { label: "top".into(), plan }).await.unwrap();
    world.noted("c").await;
    let rows = home.tree(handle.id()).await.commands;
    let mid = rows.iter().find(|row| {
        row.command_parameters.contains(r#""label":"mid""#) && row.parent_command_id.is_some()
    });
    let mid = mid.unwrap().command_id;
    coordinator.cancel(mid, "enough").await.unwrap();
    world.open("c");
    assert_eq!(stuck_of(handle.output().await).0, mid);
    coordinator.retry(handle.id()).await.unwrap();
    super::home::until(async || world.count("undo half mid") == 2).await;
    super::home::until(async || home.entity(mid).await.progress.status == CommandStatus::Stuck)
        .await;
    coordinator.abandon(mid, "for ever").await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Abandoned);
    coordinator.resubmit::<OwnSaga>(handle.id()).await.unwrap().output().await.unwrap();
    let audit = coordinator.audit(handle.id()).await.unwrap();
    let audit: Vec<_> =
        audit.iter().map(|one| (&*one.action, one.command_id, one.status, &*one.reason)).collect();
    let expected = [
        ("cancel", mid, CommandStatus::Active, "enough"),
        ("retry", mid, CommandStatus::Stuck, ""),
        ("abandon", mid, CommandStatus::Stuck, "for ever"),
        ("resubmit", handle.id(), CommandStatus::EndedWithFailure, ""),
    ];
    assert_eq!(audit, expected);
    coordinator.shutdown().await.unwrap();
}

/// Ends only when the world says so.
async fn stuck_at_its_end(
    home: &Home,
    world: &World,
) -> (super::home::FaultyHome, Coordinator, CommandHandle<Brittle>) {
    world.say("fail a ends well", "not yet");
    let store = home.faulty().await;
    let coordinator = super::home::start(store.clone(), world).await;
    let handle = coordinator.submit(Brittle::new("a")).await.unwrap();
    stuck_of(handle.output().await);
    (store, coordinator, handle)
}

async fn said_when_it_is_stored(home: Home) {
    for what in ["retry", "abandon", "cancel"] {
        let (home, world) = (home.another().await, World::new());
        let (store, coordinator, handle) = stuck_at_its_end(&home, &world).await;
        let (id, by) = (handle.id(), coordinator.clone());
        world.unsay("fail a ends well");
        world.close("b");
        let running = coordinator.submit(Mark::new("b")).await.unwrap().id();
        world.noted("b").await;
        store.hold();
        let said = tokio::spawn(async move {
            match what {
                "retry" => by.retry(id).await,
                "abandon" => by.abandon(id, "").await,
                _ => by.cancel(running, "").await,
            }
        });
        store.held().await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert!(!said.is_finished(), "{what}");
        assert_eq!(home.entity(id).await.progress.status, CommandStatus::Stuck);
        store.let_go();
        said.await.unwrap().unwrap();
        world.open("b");
        coordinator.shutdown().await.unwrap();
    }
}
