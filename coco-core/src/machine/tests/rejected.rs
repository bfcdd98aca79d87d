//! A step that the store refuses for its data: the tree is forgotten and read again.

use std::collections::HashSet;

use serde_json::json;

use super::hand::*;
use crate::context::requests::Ask;
use crate::lock::{Lock, LockMode};
use crate::machine::step::{Step, Write};
use crate::machine::{Forgotten, Happened, Loaded, Polled};

/// What is read again after the first of `lost` was rejected, while the code of `running` runs.
pub(super) fn reload(hand: &mut Hand, mut lost: Vec<Step>, running: &[&str]) -> Vec<String> {
    let mut skipped = lost.split_off(1);
    let Forgotten { held, started } = hand.forget();
    skipped.extend(held.into_iter().map(|(step, _)| step));
    let step = lost.remove(0);
    let running: HashSet<_> = running.iter().map(|path| id(path)).collect();
    let reason = "odd".to_owned();
    hand.reload(Loaded::Rejected { step, reason, skipped, started, running })
}

fn flow(asks: i32) -> Hand {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", (0..asks).map(|n| child(n, "leaf", n)).collect());
    hand
}

#[test]
fn a_rejected_child_is_stored_as_failed_and_its_siblings_are_asked_for_again() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.is_cut = true;
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    let steps = ["[insert /0 ended_with_failure a0 o1]", "[/ active a2] -> run / replay a2"];
    assert_eq!(out, steps);
    let asks = vec![child(0, "leaf", 0), child(1, "leaf", 1)];
    let out = hand.polled("/", 2, Polled { asks, ..Polled::default() });
    assert_eq!(out, [format!("give / 0!{}", rejected()), "held 1".to_owned()]);
    let out = hand.polled("/", 2, Polled { given: true, ..Polled::default() });
    assert_eq!(out, ["[insert /1 active a1] -> run /1 leaf a1"]);
}

#[test]
fn a_leaf_whose_end_is_rejected_fails_by_it() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    hand.is_cut = true;
    hand.ran("/", ok("5"));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, ["[/ failed a1] -> run / compensate -"]);
    let out = hand.say("/", Happened::Hooked(ok("null")));
    assert_eq!(out, ["[] -> run / end_with_failure"]);
    let out = hand.say("/", Happened::Hooked(ok("null")));
    assert_eq!(out, [format!("[/ ended_with_failure a1 o1, release /] -> ended! {}", rejected())]);
}

#[test]
fn the_skipped_end_of_a_sibling_is_not_lost() {
    let mut hand = flow(3);
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    hand.answers("/", vec![child(3, "leaf", 3)]);
    let mut lost = hand.take_lost();
    assert_eq!(lost.len(), 2, "an end, and an insert that is going to be rejected");
    // Its end goes into the same batch, after what is rejected.
    hand.ran("/1", err("x"));
    hand.answers("/", Vec::new());
    lost.extend(hand.take_lost());
    let applied = lost.remove(0);
    hand.store_now(&applied);
    let out = reload(&mut hand, lost, &["/2"]);
    let steps = [
        "[insert /3 ended_with_failure a0 o2]",
        "[/1 failed a1] -> run /1 compensate -",
        "[/ active a2] -> run / replay a2",
    ];
    assert_eq!(out, steps, "and what runs is not started again");
    let out = hand.ran("/2", ok("7"));
    assert_eq!(out, ["[/2 ended_successfully a1 o3, release /2]"], "it is heard when it ends");
}

#[test]
fn an_end_that_is_held_for_a_poll_is_not_lost() {
    let mut hand = flow(2);
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    hand.say("/", Happened::Flush { hold: 1 });
    let lost = hand.take_lost();
    assert_eq!(lost.len(), 1, "the end of `/0`");
    assert_eq!(hand.ran("/1", ok("6")), ["held 2"]);
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out[0], "[/0 failed a1] -> run /0 compensate -", "its end was rejected");
    assert_eq!(
        out[1], "[/1 succeeded a1, release /1] -> run /1 end_successfully",
        "it is not run again"
    );
}

#[test]
fn a_rejected_once_result_is_its_failure() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![once(0, "step")]);
    hand.is_cut = true;
    hand.asks("/", vec![once_ended(0, "5")]);
    hand.answers("/", Vec::new());
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, ["[once / 0 step failed o1]", "[/ active a2] -> run / replay a2"]);
    let out = hand.polled("/", 2, Polled { asks: vec![once(0, "step")], ..Polled::default() });
    assert_eq!(out, [format!("give / 0!{}", rejected())]);
}

#[test]
fn a_flow_whose_end_is_rejected_fails_by_it() {
    let mut hand = flow(1);
    hand.ran("/0", ok("5"));
    hand.answers("/", Vec::new());
    hand.is_cut = true;
    hand.polled("/", 1, Polled { end: over(ok("7")), ..Polled::default() });
    let lost = hand.take_lost();
    assert_eq!(lost.len(), 1);
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, ["[/ failed a1] -> run / compensate -"]);
}

#[test]
fn a_hook_whose_end_is_rejected_is_stuck_and_called_again() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    hand.ran("/", with_hooks(ok("5")));
    hand.is_cut = true;
    hand.say("/", Happened::Hooked(ok("null")));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, [format!("[/ stuck a1] -> stuck /: {}", rejected())]);
    let out = hand.say("/", Happened::Retry { ticket: 2 });
    let steps =
        ["[/ succeeded a1, audit retry /] -> accept 2, unstuck", "[] -> run / end_successfully"];
    assert_eq!(out, steps);
}

#[test]
fn a_hook_that_runs_is_not_called_again() {
    let mut hand = flow(2);
    hand.ran("/0", with_hooks(ok("5")));
    hand.is_cut = true;
    hand.ran("/1", ok("6"));
    hand.answers("/", Vec::new());
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &["/0"]);
    let steps = ["[/1 failed a1] -> run /1 compensate -", "[/ active a2] -> run / replay a2"];
    assert_eq!(out, steps);
    assert_eq!(
        hand.say("/0", Happened::Hooked(ok("null"))),
        ["[/0 ended_successfully a1 o1, release /0]"]
    );
}

#[test]
fn a_parent_that_an_ending_child_has_moved_is_moved_once() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let locked = json!({ "x": ["a"] });
    hand.asks("/", vec![child_with(0, "leaf", &locked), child(1, "leaf", 1)]);
    hand.take_back("/0");
    hand.ran("/1", err("x"));
    hand.returns("/", with_hooks(err("x")));
    assert_eq!(hand.row("/").status.as_str(), "execution_failed");
    let start = Write::Update(id("/0"), Box::new(hand.row("/0")));
    let start = Step { root: ROOT, command: id("/0"), request: None, writes: vec![start] };
    let out = reload(&mut hand, vec![start], &[]);
    let steps =
        ["[/0 ended_with_failure a0 o2, release /0]", "[/ failed a1] -> run / compensate -"];
    assert_eq!(out, steps);
}

#[test]
fn what_a_dropped_run_still_says_is_not_heard() {
    let mut hand = flow(1);
    let update = Write::Update(ROOT, Box::new(hand.row("/")));
    let step = Step { root: ROOT, command: ROOT, request: None, writes: vec![update] };
    let out = reload(&mut hand, vec![step], &["/0"]);
    assert_eq!(out, ["[/ execution_failed a1]"]);
    let asks = vec![child(1, "leaf", 1)];
    assert!(hand.polled("/", 1, Polled { asks, ..Polled::default() }).is_empty());
}

#[test]
fn a_mark_that_is_rejected_is_stuck_for_a_reason_that_is_told() {
    let mut hand = flow(1);
    hand.ran("/0", undoable(ok("5")));
    hand.returns("/", undoable(err("x")));
    hand.is_cut = true;
    assert_eq!(hand.hooked("/"), ["[compensated /0] -> run / compensate -"]);
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, [format!("[/ stuck a1] -> stuck /: {}", rejected())]);
    assert_eq!(hand.retry("/")[1..], ["[] -> undo /0"], "it is not known to be undone");
}

#[test]
fn a_flow_whose_undo_command_is_rejected_fails_by_it() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.is_cut = true;
    hand.asks("/", vec![register(0, 1)]);
    hand.answers("/", Vec::new());
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, ["[/ failed a1] -> run / compensate -"], "and does not ask again for ever");
}

#[test]
fn a_late_lock_that_is_rejected_fails_its_flow_and_its_answer_keeps_its_name() {
    let lock = Lock { group: "disk".into(), key: "a".to_owned(), mode: LockMode::Shared };
    let asks = || vec![Ask::Lock { position: 0, lock: lock.clone() }];
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.is_cut = true;
    hand.asks("/", asks());
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out, ["[/ failed a1] -> run / compensate -"], "it would ask again");

    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", asks());
    hand.is_cut = true;
    hand.say("/", Happened::Granted { number: 1 });
    hand.answers("/", Vec::new());
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert_eq!(out[0], "[once / 0 lock failed o1]");
    let out = hand.polled("/", 2, Polled { asks: asks(), ..Polled::default() });
    assert_eq!(out, [format!("give / 0!{}", rejected())]);
}
