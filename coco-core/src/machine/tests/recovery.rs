//! What a restart makes of each status.

use serde_json::json;

use super::hand::*;
use crate::machine::{Happened, Polled};

#[test]
fn a_leaf_that_may_not_run_again_fails() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    let out = hand.restart(true);
    let steps = [
        "[/ active a1 d1]",
        "[/ failed_restarted a1 d1]",
        "[/ failed a1 d1] -> run / compensate -",
    ];
    assert_eq!(out, steps);
    let out = hand.say("/", Happened::Hooked(ok("null")));
    assert_eq!(out, ["[] -> run / end_with_failure"], "a default one has undone nothing");
    let out = hand.say("/", Happened::Hooked(ok("null")));
    let ended =
        "[/ ended_with_failure a1 o1 d1, release /] -> ended! the engine died while `leaf` ran";
    assert_eq!(out, [ended]);
}

#[test]
fn a_child_whose_start_was_not_granted_asks_again() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.is_cut = true;
    hand.asks("/", Vec::new());
    hand.is_cut = false;
    let locked = json!({ "x": ["a"] });
    hand.asks("/", vec![child_with(0, "leaf", &locked)]);
    hand.take_back("/0");
    let out = hand.restart(true);
    let start = "locks? [/0 active a1] -> run /0 leaf a1";
    assert_eq!(out, ["[/ active a1 d1]", start, "[/ active a2 d1] -> run / replay a2"]);
}

#[test]
fn a_refusal_of_a_later_run_is_a_failure_with_its_end_hook() {
    let mut hand = Hand::new();
    hand.submit("redo", &json!({}));
    hand.restart(true);
    let reply = with_hooks(refused("no"));
    let out = hand.say("/", Happened::Ran { attempt: 2, reply });
    assert_eq!(out, ["[/ failed a2 d1] -> run / end_with_failure"]);
}

#[test]
fn an_end_hook_is_called_again() {
    for (reply, hooks) in
        [(ok("5"), &["end_successfully"][..]), (err("x"), &["compensate -", "end_with_failure"])]
    {
        let mut hand = Hand::new();
        hand.submit("leaf", &json!({}));
        hand.ran("/", with_hooks(reply));
        let mut out = hand.restart(true).split_off(1);
        for hook in hooks {
            assert_eq!(out, [format!("[] -> run / {hook}")]);
            out = hand.say("/", Happened::Hooked(ok("null")));
        }
        assert!(hand.is_empty());
    }
}

#[test]
fn a_flow_that_had_failed_waits_for_its_open_children() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "redo", 1)]);
    hand.ran("/0", err("x"));
    hand.returns("/", err("x"));
    let out = hand.restart(true);
    assert_eq!(out, ["[/ execution_failed a1 d1]", "[/1 active a2] -> run /1 leaf a2"]);
    let out = hand.say("/1", Happened::Ran { attempt: 2, reply: ok("5") });
    let steps =
        ["[/1 ended_successfully a2 o2, release /1]", "[/ failed a1 d1] -> run / compensate -"];
    assert_eq!(out, steps);
}

#[test]
fn what_is_stuck_stays_so_and_can_be_retried() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    hand.ran("/", with_hooks(ok("5")));
    hand.say("/", Happened::Hooked(err("not yet")));
    assert_eq!(hand.restart(true), ["stuck /: not yet", "[/ stuck a1 d1]"]);
    let out = hand.say("/", Happened::Retry { ticket: 2 });
    let steps =
        ["[/ succeeded a1 d1, audit retry /] -> accept 2, unstuck", "[] -> run / end_successfully"];
    assert_eq!(out, steps);
    let out = hand.say("/", Happened::Hooked(ok("null")));
    assert_eq!(out, ["[/ ended_successfully a1 o1 d1, release /] -> ended 5"]);
}

#[test]
fn deaths_count_until_something_ends() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let asks = || vec![child(0, "redo", 0), child(1, "redo", 1)];
    hand.asks("/", asks());
    hand.restart(true);
    assert_eq!(hand.row("/").deaths, 1);
    hand.restart(false);
    assert_eq!(hand.row("/").deaths, 1, "a clean stop is no death");
    hand.polled("/", 3, Polled { asks: asks(), ..Polled::default() });
    hand.say("/0", Happened::Ran { attempt: 3, reply: ok("5") });
    hand.say("/", Happened::Flush { hold: 1 });
    hand.restart(true);
    assert_eq!(hand.row("/").deaths, 1, "something ended in between");
}
