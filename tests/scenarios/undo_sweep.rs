//! A crash before and after every commit of what fails: all is undone, newest first, each once it
//! is stored as undone not again, and what may not run twice does not.

use std::cell::RefCell;

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};

use super::crash::{Life, sweep, sweep_lives, sweep_twice, waits};
use super::home::{Home, on_every_store};
use super::sagas::parts::{
    brittle, entry, fail, keep, mark, own, registers, saga, together, try_saga,
};
use super::sagas::{OwnSaga, Part, Saga, undone};
use super::world::World;

on_every_store!(
    a_saga,
    a_nested_flow,
    a_nested_flow_with_an_undo_of_its_own,
    a_nested_flow_that_fails,
    registered_undo,
    registered_undo_of_what_failed,
    after_a_failure_that_was_handled,
    side_by_side,
    what_may_not_run_twice,
    the_last_may_not_run_twice,
    two_crashes,
);

/// Each life leaves the same rows and has undone this, in this order. Gives the commits of one.
async fn all_undo(home: &Home, fails: &str, plan: &[Part], expected: &[&str]) -> usize {
    let first = RefCell::new(None);
    let command = |world: &World| {
        world.say(&format!("fail {fails}"), "it broke");
        OwnSaga { label: "top".into(), plan: plan.to_vec() }
    };
    sweep_lives(home, command, waits, |life| {
        let picture = life.picture(true);
        let first = &mut *first.borrow_mut();
        assert_eq!(first.get_or_insert_with(|| picture.clone()), &picture, "{:?}", life.crashes);
        assert_eq!(undone(&life.world), expected, "{:?}", life.crashes);
        assert!(life.world.deeds().ends_with(&["top ends badly: through".to_owned()]));
        assert_eq!(life.root().progress.status, CommandStatus::EndedWithFailure);
    })
    .await
}

async fn a_saga(home: Home) {
    let plan = [keep("a"), keep("b"), keep("c")];
    let expected = ["undo half c", "undo done b", "undo done a", "undo half top"];
    assert_eq!(all_undo(&home, "c", &plan, &expected).await, 10);
}

async fn a_nested_flow(home: Home) {
    let plan = [saga([keep("a"), saga([mark("b"), keep("c")])]), keep("d"), keep("e")];
    let expected = ["undo half e", "undo done d", "undo done c", "undo done a", "undo half top"];
    all_undo(&home, "e", &plan, &expected).await;
}

async fn a_nested_flow_with_an_undo_of_its_own(home: Home) {
    let plan = [keep("a"), own("mid", [keep("b"), saga([keep("c")])]), keep("d"), fail("no")];
    let expected = ["undo done d", "undo done mid", "undo done a", "undo half top"];
    all_undo(&home, "nothing", &plan, &expected).await;
}

async fn a_nested_flow_that_fails(home: Home) {
    let plan = [keep("a"), saga([keep("b"), own("mid", [keep("c"), keep("d"), mark("e")])])];
    let expected = [
        "undo done d",
        "undo done c",
        "undo half mid",
        "undo done b",
        "undo done a",
        "undo half top",
    ];
    all_undo(&home, "e", &plan, &expected).await;
}

async fn registered_undo(home: Home) {
    let plan =
        [entry("one"), keep("a"), saga([entry("two"), registers("b")]), entry("three"), fail("no")];
    let expected = [
        "undo by entry three",
        "undo by entry b",
        "undo by entry two",
        "undo done a",
        "undo by entry one",
        "undo half top",
    ];
    all_undo(&home, "nothing", &plan, &expected).await;
}

async fn registered_undo_of_what_failed(home: Home) {
    let plan = [keep("a"), registers("b")];
    let expected = ["undo by entry b", "undo done a", "undo half top"];
    all_undo(&home, "b", &plan, &expected).await;
}

async fn after_a_failure_that_was_handled(home: Home) {
    let plan = [keep("a"), try_saga([keep("b"), mark("c")]), keep("d"), fail("no")];
    let expected = ["undo done b", "undo done d", "undo done a", "undo half top"];
    all_undo(&home, "c", &plan, &expected).await;
}

/// The order in which they end differs from life to life, and with it the order of undo.
async fn side_by_side(home: Home) {
    let command = |world: &World| {
        world.say("fail b", "it broke");
        Saga { plan: vec![keep("first"), together(&["a", "b", "c"])] }
    };
    sweep_lives(&home, command, waits, |life| {
        let mut ended = Vec::new();
        for row in life.rows.commands.iter().filter(|row| row.parent_command_id.is_some()) {
            let label = row.command_parameters.split('"').nth(3).unwrap();
            let what = if row.progress.executed { "done" } else { "half" };
            assert!(row.progress.compensated_at.is_some(), "{row:?}");
            if label != "b" {
                ended.push((row.progress.end_order, format!("undo {what} {label}")));
            }
        }
        ended.sort_by(|a, b| b.cmp(a));
        let ended: Vec<_> = ended.into_iter().map(|(_, undo)| undo).collect();
        let mut undone = undone(&life.world);
        undone.retain(|undo| undo != "undo half b");
        undone.dedup();
        assert_eq!(undone, ended, "{:?}", life.crashes);
        assert_eq!(undone.len(), 3);
    })
    .await;
}

fn failure_kind(life: &Life, label: &str) -> Option<FailureKind> {
    let of_label = format!(r#"{{"label":"{label}"}}"#);
    let row = life.rows.commands.iter().find(|row| *row.command_parameters == *of_label)?;
    let failure = row.progress.failure.as_deref()?;
    Some(serde_json::from_str::<Failure>(failure).unwrap().kind)
}

async fn what_may_not_run_twice(home: Home) {
    let command = |_: &World| Saga { plan: vec![keep("a"), brittle("b"), keep("c"), fail("no")] };
    let interrupted = RefCell::new(0);
    sweep_lives(&home, command, waits, |life| {
        let (world, at) = (&life.world, &life.crashes);
        assert!(world.count("b") <= 1, "{at:?}");
        let (well, badly) = (world.count("b ends well"), world.count("b ends badly"));
        if failure_kind(life, "b") == Some(FailureKind::Restarted) {
            *interrupted.borrow_mut() += 1;
            assert_eq!(undone(world), ["undo half b", "undo done a"], "{at:?}");
            assert!(well == 0 && badly > 0, "{at:?}");
        } else {
            assert_eq!(world.count("b"), 1, "{at:?}");
            let expected = ["undo done c", "undo done b", "undo done a"];
            assert_eq!(undone(world), expected, "{at:?}");
            assert!(well > 0 && badly == 0, "{at:?}");
        }
    })
    .await;
    assert!(*interrupted.borrow() > 0, "no crash interrupted it");
}

async fn the_last_may_not_run_twice(home: Home) {
    let command = |world: &World| {
        world.say("fail b", "it broke");
        brittle_last()
    };
    sweep_lives(&home, command, waits, |life| {
        let (world, at) = (&life.world, &life.crashes);
        assert!(world.count("b") <= 1, "{at:?}");
        assert_eq!(undone(world), ["undo half b", "undo done a"], "{at:?}");
        assert!(world.count("b ends badly") > 0, "{at:?}");
        assert!(
            life.rows
                .commands
                .iter()
                .all(|row| !row.progress.executed || row.progress.compensated_at.is_some())
        );
    })
    .await;
}

fn brittle_last() -> Saga {
    Saga { plan: vec![keep("a"), brittle("b")] }
}

async fn two_crashes(home: Home) {
    let command = |world: &World| {
        world.say("fail c", "it broke");
        Saga { plan: vec![keep("a"), entry("b"), mark("c")] }
    };
    if home.is_memory() {
        sweep_twice(&home, true, command).await;
    }
    let commits = sweep(&home, true, command).await;
    assert_eq!(commits, 6);
}
