//! Leaves: from submit to their end, with hooks and locks.

use serde_json::json;
use uuid::Uuid;

use super::hand::*;
use crate::id::CommandId;
use crate::machine::{Address, Happened, Input};

#[test]
fn a_leaf_is_stored_run_and_ended() {
    let mut hand = Hand::new();
    let out = hand.submit("leaf", &json!({}));
    assert_eq!(out, ["[insert / active a1] -> accept 1, run / leaf a1"]);
    let out = hand.ran("/", ok("5"));
    assert_eq!(out, ["[/ ended_successfully a1 o1] -> ended 5"]);
    assert!(hand.is_empty());
}

#[test]
fn a_leaf_that_fails_ends_with_its_failure() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    assert_eq!(hand.ran("/", err("broken")), ["[/ ended_with_failure a1 o1] -> ended! broken"]);
}

#[test]
fn a_refused_validation_calls_no_hook() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    let out = hand.ran("/", with_hooks(refused("no")));
    assert_eq!(out, ["[/ ended_with_failure a1 o1] -> ended! no"]);
}

#[test]
fn an_end_hook_of_its_own_comes_between() {
    for (reply, stands, hook, end) in [
        (ok("5"), "succeeded", "end_successfully", "ended_successfully a1 o1] -> ended 5"),
        (err("x"), "failed", "end_with_failure", "ended_with_failure a1 o1] -> ended! x"),
    ] {
        let mut hand = Hand::new();
        hand.submit("leaf", &json!({}));
        let out = hand.ran("/", with_hooks(reply));
        assert_eq!(out, [format!("[/ {stands} a1] -> run / {hook}")]);
        assert_eq!(hand.say("/", Happened::Hooked(ok("null"))), [format!("[/ {end}")]);
    }
}

#[test]
fn a_failing_end_hook_is_stuck_and_called_again_when_retried() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    hand.ran("/", with_hooks(ok("5")));
    let out = hand.say("/", Happened::Hooked(err("not yet")));
    assert_eq!(out, ["[/ stuck a1] -> stuck /: not yet"]);
    let out = hand.say("/", Happened::Retry { ticket: 2 });
    let steps =
        ["[/ succeeded a1, audit retry /] -> accept 2, unstuck", "[] -> run / end_successfully"];
    assert_eq!(out, steps);
    let out = hand.say("/", Happened::Retry { ticket: 3 });
    assert_eq!(out, ["refuse 3"], "it is not stuck any more");
    let out = hand.say("/", Happened::Hooked(ok("null")));
    assert_eq!(out, ["[/ ended_successfully a1 o1] -> ended 5"]);
    assert_eq!(hand.say("/", Happened::Retry { ticket: 4 }), ["refuse 4"]);
}

#[test]
fn what_an_older_attempt_says_is_not_heard() {
    let mut hand = Hand::new();
    hand.submit("redo", &json!({}));
    assert_eq!(hand.restart(true), ["[/ active a1 d1]", "[/ active a2 d1] -> run / leaf a2"]);
    assert!(hand.ran("/", ok("5")).is_empty());
    let out = hand.say("/", Happened::Ran { attempt: 2, reply: ok("6") });
    assert_eq!(out, ["[/ ended_successfully a2 o1 d1, release /] -> ended 6"]);
}

#[test]
fn locks_go_by_scope() {
    for (name, at_success, at_end, kept) in [
        (
            "leaf",
            "[/ succeeded a1, release /] -> run / end_successfully",
            "[/ ended_successfully a1 o1] -> ended 5",
            0,
        ),
        (
            "keep",
            "[/ succeeded a1] -> run / end_successfully",
            "[/ ended_successfully a1 o1, release /] -> ended 5",
            1,
        ),
    ] {
        let mut hand = Hand::new();
        let out = hand.submit(name, &json!({ "x": ["a"] }));
        assert_eq!(out, ["locks? [insert / active a1] -> accept 1, run / leaf a1"]);
        assert_eq!(hand.locks(), [(ROOT, "a".to_owned())]);
        assert!(hand.say("/", Happened::Granted { number: 0 }).is_empty());
        assert_eq!(hand.ran("/", with_hooks(ok("5"))), [at_success]);
        assert_eq!(hand.locks().len(), kept, "{name}");
        let out = hand.say("/", Happened::Hooked(ok("null")));
        assert_eq!(out, [at_end], "what was let go is not released again");
        assert!(hand.locks().is_empty());
    }
}

#[test]
fn a_failed_leaf_keeps_its_locks_until_its_hook_is_through() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({ "x": ["a"] }));
    hand.say("/", Happened::Granted { number: 0 });
    assert_eq!(hand.ran("/", with_hooks(err("x"))), ["[/ failed a1] -> run / end_with_failure"]);
    assert_eq!(hand.locks().len(), 1);
    hand.say("/", Happened::Hooked(ok("null")));
    assert!(hand.locks().is_empty());
}

#[test]
fn a_root_that_meets_a_lock_is_refused_and_not_stored() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({ "x": ["a"] }));
    let other = CommandId::from_uuid(Uuid::from_u128(2));
    hand.submit_as(other, "leaf", &json!({ "s": ["a"] }));
    let at = Address { root: other, command: other };
    let what = Happened::Refused { ticket: Some(1), number: 0, refusal: conflict().into() };
    assert_eq!(hand.tell(Input::Of { at, what }), ["refuse 1"]);
    let what = Happened::Retry { ticket: 2 };
    assert_eq!(hand.tell(Input::Of { at, what }), ["refuse 2"], "nothing is left of it");
    assert_eq!(hand.locks(), [(ROOT, "a".to_owned())]);
}

#[test]
fn the_hook_gets_the_fields_as_execute_left_them() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    let reply = crate::erased::Reply { state: Some(r#"{"n":1}"#.into()), ..ok("5") };
    hand.ran("/", with_hooks(reply));
    assert_eq!(hand.row("/").state.as_deref(), Some(r#"{"n":1}"#));
    let again = crate::erased::Reply { state: Some(r#"{"n":2}"#.into()), ..ok("null") };
    hand.say("/", Happened::Hooked(again));
    assert_eq!(hand.row("/").state.as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(hand.row("/").return_value.as_deref(), Some("5"), "and not what the hook gave");
}
