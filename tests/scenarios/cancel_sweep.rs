//! A cancelled tree over a crash before and after every commit.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};

use super::crash::{Life, sweep_lives};
use super::home::{Home, on_every_store, until};
use super::sagas::parts::{brittle, entry, heeds, keep, mark, own, try_saga};
use super::sagas::{OwnSaga, undone};
use super::world::World;

on_every_store!(a_root, a_root_that_answers_late, a_child, what_may_not_run_twice);

fn kind_of(life: &Life) -> Option<FailureKind> {
    let failure = life.root().progress.failure.as_deref()?;
    Some(serde_json::from_str::<Failure>(failure).unwrap().kind)
}

async fn a_root(home: Home) {
    let command = |world: &World| {
        world.close("c");
        let plan = vec![keep("a"), entry("b"), own("mid", [keep("d"), heeds("c")]), mark("e")];
        OwnSaga { label: "top".into(), plan }
    };
    let cancel = async |coordinator: &Coordinator, root: CommandId, world: &World| {
        world.noted("c").await;
        let _ = coordinator.cancel(root, "").await;
    };
    let expected = [
        "undo half c",
        "undo done d",
        "undo half mid",
        "undo by entry b",
        "undo done a",
        "undo half top",
    ];
    sweep_lives(&home, command, cancel, |life| {
        let at = &life.crashes;
        assert_eq!(kind_of(life), Some(FailureKind::Cancelled), "{at:?}");
        assert_eq!(undone(&life.world), expected, "{at:?}");
        assert_eq!(life.world.count("e"), 0, "{at:?}");
        assert!(life.world.count("top ends badly") > 0, "{at:?}");
        let all = life.rows.commands.iter();
        assert!(all.clone().all(|row| row.progress.compensated_at.is_some()), "{at:?}");
        assert!(life.rows.compensations.iter().all(|row| row.compensated_at.is_some()), "{at:?}");
    })
    .await;
}

async fn a_root_that_answers_late(home: Home) {
    let command = |world: &World| {
        world.close("b");
        world.say("told b", "late");
        OwnSaga { label: "top".into(), plan: vec![keep("a"), heeds("b"), mark("c")] }
    };
    let cancel = async |coordinator: &Coordinator, root: CommandId, world: &World| {
        world.noted("b").await;
        let _ = coordinator.cancel(root, "").await;
    };
    sweep_lives(&home, command, cancel, |life| {
        let (world, at) = (&life.world, &life.crashes);
        assert_eq!(kind_of(life), Some(FailureKind::Cancelled), "{at:?}");
        let row = life.rows.commands.iter().find(|row| row.command_type == "heeds").unwrap();
        assert_eq!(row.progress.status, CommandStatus::EndedWithFailure);
        let output = row.progress.return_value.as_deref();
        assert_eq!(row.progress.executed, output.is_some());
        let how = if row.progress.executed { "done" } else { "half" };
        assert!(output.is_none_or(|output| output == r#""late""#), "{at:?}");
        let undo = format!("undo {how} b");
        assert_eq!(undone(world), [&*undo, "undo done a", "undo half top"], "{at:?}");
        assert_eq!((world.count("b ends well"), world.count("c")), (0, 0), "{at:?}");
    })
    .await;
}

/// What its parent saw of it stays what it saw.
async fn a_child(home: Home) {
    let command = |world: &World| {
        world.close("b");
        OwnSaga { label: "top".into(), plan: vec![try_saga([keep("a"), heeds("b")]), mark("c")] }
    };
    let cancel = async |coordinator: &Coordinator, _: CommandId, world: &World| {
        world.noted("b").await;
        let b = world.ledger().iter().find(|entry| entry.deed == "b").unwrap().id;
        let _ = coordinator.cancel(b, "").await;
    };
    sweep_lives(&home, command, cancel, |life| {
        let (world, at) = (&life.world, &life.crashes);
        assert_eq!(life.root().progress.status, CommandStatus::EndedSuccessfully, "{at:?}");
        assert_eq!(undone(world), ["undo half b", "undo done a"], "{at:?}");
        assert!(world.count("c") > 0, "{at:?}");
    })
    .await;
}

async fn what_may_not_run_twice(home: Home) {
    let command = |world: &World| {
        world.close("b");
        OwnSaga { label: "top".into(), plan: vec![keep("a"), brittle("b"), mark("c")] }
    };
    let cancel = async |coordinator: &Coordinator, root: CommandId, world: &World| {
        until(async || world.count("b") == 1).await;
        let _ = coordinator.cancel(root, "").await;
        world.open("b");
    };
    sweep_lives(&home, command, cancel, |life| {
        let (world, at) = (&life.world, &life.crashes);
        assert!(world.count("b") <= 1, "{at:?}");
        let kind = kind_of(life).unwrap();
        assert!([FailureKind::Cancelled, FailureKind::Restarted].contains(&kind), "{at:?}");
        let undone = undone(world);
        assert_eq!(undone[1..], ["undo done a", "undo half top"], "{at:?}");
        assert!(["undo done b", "undo half b"].contains(&&*undone[0]), "{at:?}");
        assert_eq!(world.count("c"), 0, "{at:?}");
    })
    .await;
}
