//! What is undone when a command fails, in which order, and what its locks do meanwhile.

use coco_core::CommandStatus;
use coco_core::lock::LockConflict;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store, start_with, stuck_of};
use super::leaves::Mark;
use super::sagas::parts::{entry, keep, mark, own, registers};
use super::sagas::{Keep, Saga, Unmake, undone};
use super::world::World;

on_every_store!(
    nothing_of_what_succeeds,
    a_root_that_fails,
    what_undo_is_given,
    an_undo_that_fails,
    locks_pass_to_the_parent,
    a_registered_undo_is_needed_once,
    an_undo_command_that_is_refused,
);

async fn nothing_of_what_succeeds(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let plan = vec![keep("a"), entry("b"), registers("c"), own("d", [keep("e")])];
    let handle = coordinator.submit(Saga { plan }).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!(undone(&world), [""; 0]);
    let rows = home.tree(handle.id()).await;
    assert!(rows.commands.iter().all(|row| row.progress.compensated_at.is_none()));
    assert_eq!(rows.compensations.len(), 2);
    assert!(rows.compensations.iter().all(|entry| entry.compensated_at.is_none()));
    coordinator.shutdown().await.unwrap();
}

async fn a_root_that_fails(home: Home) {
    let world = World::new();
    world.say("fail a", "it broke");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Keep::new("a")).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    assert_eq!(undone(&world), ["undo half a"]);
    assert!(home.entity(handle.id()).await.progress.compensated_at.is_some());
    coordinator.shutdown().await.unwrap();
}

/// Changes its fields, and looks in its undo at what it is given.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct Changes {
    label: String,
}

impl Execute for Changes {
    type Output = Vec<u32>;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<Vec<u32>> {
        self.label = "changed".into();
        Ok(vec![1, 2])
    }

    async fn compensate(
        &mut self,
        output: Option<&Vec<u32>>,
        cx: &LeafContext<Self>,
    ) -> Result<()> {
        let world = cx.get::<World>();
        let (attempt, hook) = (cx.attempt(), cx.hook_attempt());
        world.note(cx.id(), format!("{} {output:?} {attempt} {hook}", self.label), 1);
        if cx.hook_attempt() < 3 {
            return Err(Error::other("not yet"));
        }
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct FailsAfter {}

impl Execute for FailsAfter {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Changes { label: "as submitted".into() }).await?;
        Err(Error::other("afterwards"))
    }
}

async fn what_undo_is_given(home: Home) {
    let world = World::new();
    let retry = Retry::new(5).backoff(std::time::Duration::ZERO);
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(retry)).await;
    let handle = coordinator.submit(FailsAfter {}).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "afterwards");
    let expected = [1, 2, 3].map(|hook| format!("changed Some([1, 2]) 1 {hook}"));
    assert_eq!(world.deeds(), expected);
    coordinator.shutdown().await.unwrap();
}

/// The command that failed is stuck, not the one of which the undo fails; `retry` goes on with it.
async fn an_undo_that_fails(home: Home) {
    let world = World::new();
    world.say("fail c", "it broke");
    world.say("fail undo done a", "the undo broke");
    let coordinator = home.start(&world).await;
    let plan = vec![keep("a"), keep("b"), mark("c")];
    let handle = coordinator.submit(Saga { plan }).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.message.as_str()), (handle.id(), "the undo broke"));
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Stuck);
    assert_eq!(undone(&world), ["undo done b", "undo done a"]);
    drop(coordinator);

    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Saga>(handle.id()).await.unwrap();
    assert_eq!(stuck_of(handle.output().await), (command, reason));
    world.unsay("fail undo done a");
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    assert_eq!(world.count("undo done b"), 1, "it was marked as undone");
    assert_eq!(world.count("undo done a"), 2);
    coordinator.shutdown().await.unwrap();
}

/// HoldsBoth a key for the time of its execution.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(idempotent, lock = Execution, needs(World))]
struct Hold {
    #[lock(exclusive, group = "undo")]
    key: String,
    undoes: bool,
}

impl Execute for Hold {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("undo {}", self.key), 1);
        cx.get::<World>().pass(&format!("undo {}", self.key)).await;
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution)]
struct HoldsOnly {
    #[lock(exclusive, group = "undo")]
    key: String,
}

impl Execute for HoldsOnly {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct HoldsBoth {
    world: u64,
    fails: bool,
}

impl Execute for HoldsBoth {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (undone, only) = (format!("undone {}", self.world), format!("only {}", self.world));
        cx.child(Hold { key: undone, undoes: true }).await?;
        cx.child(HoldsOnly { key: only }).await?;
        cx.child(Mark::new("pause")).await?;
        if self.fails { Err(Error::other("it broke")) } else { Ok(()) }
    }
}

async fn locks_pass_to_the_parent(home: Home) {
    for fails in [false, true] {
        let world = World::new();
        let (undone, only) =
            (format!("undone {}", world.number()), format!("only {}", world.number()));
        world.close("pause");
        world.close(&format!("undo {undone}"));
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(HoldsBoth { world: world.number(), fails }).await.unwrap();
        world.noted("pause").await;
        let root = handle.id();
        let refused = async |coordinator: &Coordinator, key: &str| {
            let submitted = coordinator.submit(HoldsOnly { key: key.to_owned() }).await;
            submitted.err().map(|error| error.downcast_ref::<LockConflict>().unwrap().holder)
        };
        assert_eq!(refused(&coordinator, &undone).await, Some(root), "its flow holds it now");
        assert_eq!(refused(&coordinator, &only).await, None, "there is nothing to undo");
        drop(coordinator);

        let coordinator = home.start(&world).await;
        assert_eq!(refused(&coordinator, &undone).await, Some(root), "also after a restart");
        world.open("pause");
        let handle = coordinator.handle::<HoldsBoth>(root).await.unwrap();
        if fails {
            world.noted(&format!("undo {undone}")).await;
            assert_eq!(refused(&coordinator, &undone).await, Some(root), "while it is undone");
            world.open(&format!("undo {undone}"));
            assert_eq!(failure_of(handle.output().await).message, "it broke");
        } else {
            handle.output().await.unwrap();
        }
        assert_eq!(refused(&coordinator, &undone).await, None);
        coordinator.shutdown().await.unwrap();
    }
}

/// A leaf that runs again names the same undo, and another one.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
struct Twice {}

impl Execute for Twice {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.compensate_with(Unmake { label: "same".into() }).await?;
        cx.compensate_with(Unmake { label: format!("of {}", cx.attempt()) }).await?;
        cx.get::<World>().note(cx.id(), "twice", cx.attempt());
        cx.get::<World>().pass("twice").await;
        Err(Error::other("it broke"))
    }
}

async fn a_registered_undo_is_needed_once(home: Home) {
    let world = World::new();
    world.close("twice");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Twice {}).await.unwrap();
    world.noted("twice").await;
    drop(coordinator);
    world.open("twice");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Twice>(handle.id()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    let expected = ["undo by entry of 2", "undo by entry of 1", "undo by entry same"];
    assert_eq!(undone(&world), expected);
    coordinator.shutdown().await.unwrap();
}

/// An undo command that validates.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct Doubts {}

impl Execute for Doubts {
    type Output = ();

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "doubts", cx.hook_attempt());
        if cx.get::<World>().is_said("sure") { Ok(()) } else { Err(Error::other("not sure")) }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "no doubts", 1);
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Doubtful {}

impl Execute for Doubtful {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.compensate_with(Doubts {}).await?;
        Err(Error::other("it broke"))
    }
}

async fn an_undo_command_that_is_refused(home: Home) {
    let (world, store) = (World::new(), home.open().await);
    let coordinator = start_with(store, &world, |builder| builder).await;
    let handle = coordinator.submit(Doubtful {}).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.message.as_str()), (handle.id(), "not sure"));
    world.say("sure", "yes");
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    assert_eq!(world.deeds(), ["doubts", "doubts", "no doubts"]);
    let same =
        world.ledger().iter().map(|entry| entry.id).collect::<std::collections::HashSet<_>>();
    assert_eq!(same.len(), 1, "a key for the outside");
    coordinator.shutdown().await.unwrap();
}
