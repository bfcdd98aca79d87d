//! Cancel: at every place where a command can stand, live and over a restart.

use serde_json::json;

use super::hand::*;
use crate::machine::{FlowEnd, Happened, Polled};

const CANCELLED: &str = "it was cancelled: enough";

#[test]
fn what_waits_for_its_time_ends_without_having_begun() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit_later(ROOT, "leaf", None, Some(50 * SECOND));
        if restarts {
            assert_eq!(hand.restart(true), ["wake / at 50000000"]);
        }
        let out = hand.cancel("/");
        assert_eq!(out[0], "[/ not_started a0 waits cancelled, audit cancel /] -> accept 7");
        let release = if restarts { ", release /" } else { "" };
        let end = format!("[/ ended_with_failure a0 o1 cancelled{release}] -> ended! {CANCELLED}");
        assert_eq!(out[1..], [end]);
        assert!(hand.due("/", 50 * SECOND).is_empty());
    }
}

#[test]
fn what_waits_for_a_place_ends_and_does_not_take_it() {
    let mut hand = Hand::new();
    hand.submit("single", &json!({}));
    hand.submit_as(root("B"), "single", &json!({}));
    let out = hand.cancel("B");
    assert!(out[1].starts_with("[B ended_with_failure a0 o1 cancelled] -> ended! "), "{out:?}");
    assert_eq!(hand.ran("/", ok("1")), ["[/ ended_successfully a1 o1] -> ended 1"]);
    let out = hand.submit_as(root("C"), "single", &json!({}));
    assert_eq!(out, ["[insert C active a1] -> accept 1, run C leaf a1"]);
}

/// A child whose start asks for a lock.
fn asking(name: &'static str) -> Hand {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let out = hand.asks("/", vec![child_with(0, name, &json!({ "x": ["a"] }))]);
    assert!(out[1].starts_with("locks? [/0 active a1] -> run /0"), "{out:?}");
    hand
}

#[test]
fn a_leaf_whose_start_is_on_its_way_is_cancelled_once_it_has_begun() {
    let mut hand = asking("leaf");
    let out = hand.cancel("/0");
    assert!(out.is_empty(), "what its start becomes is not known: {out:?}");
    assert_eq!(hand.row("/0").status.as_str(), "active", "its row does not go back");
    let out = hand.say("/0", Happened::Granted { number: 0 });
    let steps = ["[/0 active a1 cancelled, audit cancel /0] -> accept 7", "[] -> cancel /0"];
    assert_eq!(out, steps);
    let out = hand.ran("/0", ok("5"));
    assert_eq!(out[0], format!("give / 0!{CANCELLED}"));
}

#[test]
fn a_flow_whose_start_is_on_its_way_is_dropped_behind_its_start() {
    let mut hand = asking("flow");
    hand.cancel("/0");
    let out = hand.say("/0", Happened::Granted { number: 0 });
    assert_eq!(out[2..], ["[] -> drop /0", "[/0 failed a1 cancelled] -> run /0 compensate -"]);
}

#[test]
fn a_cancelled_flow_whose_code_is_on_its_way_is_dropped_behind_it() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "flow", 0)]);
    let out = hand.cancel("/0");
    assert_eq!(out[2..], ["[] -> drop /0", "[/0 failed a1 cancelled] -> run /0 compensate -"]);
}

#[test]
fn a_refused_start_ends_by_its_refusal_and_a_cancel_comes_too_late() {
    let mut hand = asking("leaf");
    hand.cancel("/0");
    hand.take_back("/0");
    let out =
        hand.say("/0", Happened::Refused { ticket: None, number: 0, refusal: conflict().into() });
    assert!(out.contains(&"refuse 7".to_owned()), "{out:?}");
    assert!(out.iter().any(|line| line.starts_with("give / 0!disk `a` is locked")), "{out:?}");
}

#[test]
fn a_start_on_its_way_is_refused_when_what_is_above_it_was_cancelled() {
    let mut hand = asking("leaf");
    let out = hand.cancel("/");
    assert_eq!(out[2..], ["[] -> drop /"], "the child is not known to have begun");
    hand.take_back("/0");
    let out =
        hand.say("/0", Happened::Refused { ticket: None, number: 0, refusal: conflict().into() });
    assert!(out[0].starts_with("[/0 ended_with_failure a0 o1"), "{out:?}");
    assert_eq!(out[1], "[/ failed a1 cancelled] -> run / compensate -");
}

#[test]
fn a_leaf_that_runs_is_told_and_a_late_ok_is_kept_and_undone() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    let out = hand.cancel("/");
    let steps = ["[/ active a1 cancelled, audit cancel /] -> accept 7", "[] -> cancel /"];
    assert_eq!(out, steps);
    let out = hand.ran("/", with_all_hooks(ok("5")));
    assert_eq!(out, ["[/ failed a1 cancelled] -> run / compensate 5"], "cancelled too late");
    let row = hand.row("/");
    assert!(row.executed && row.return_value.as_deref() == Some("5"));
    hand.compensated("/");
    let out = hand.hooked("/");
    assert_eq!(out, [format!("[/ ended_with_failure a1 o1 cancelled] -> ended! {CANCELLED}")]);
}

#[test]
fn a_late_error_of_a_cancelled_leaf_stands_among_the_causes() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    hand.cancel("/");
    let out = hand.ran("/", undoable(err("x")));
    assert_eq!(out, ["[/ failed a1 cancelled] -> run / compensate -"], "nothing to undo");
    let out = hand.compensated("/");
    assert!(out[0].ends_with(&format!("-> ended! {CANCELLED}: x")), "{out:?}");
}

#[test]
fn a_leaf_that_was_cancelled_is_not_run_again_after_a_restart() {
    let mut hand = Hand::new();
    hand.submit("redo", &json!({}));
    hand.cancel("/");
    let out = hand.restart(true);
    let steps = ["[/ active a1 d1 cancelled]", "[/ failed a1 d1 cancelled] -> run / compensate -"];
    assert_eq!(out, steps);
}

#[test]
fn a_leaf_in_its_retry_pause_ends_at_once() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("tried", &json!({}));
        let out = hand.ran("/", err("x"));
        assert!(out[0].starts_with("[/ active a1 waits] -> wake / at"), "{out:?}");
        if restarts {
            hand.restart(false);
        }
        let out = hand.cancel("/");
        let failed = "[/ failed a1 cancelled] -> run / compensate -";
        assert_eq!(out[1..], [failed], "it waits for nothing any more");
        assert_eq!(hand.row("/").wake_at, None);
        assert_eq!(hand.restart(true)[1..], ["[] -> run / compensate -"]);
    }
}

/// A flow with a child that runs, one that is stuck in its end hook, and one that has succeeded.
fn family() -> Hand {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "redo", 0), child(1, "leaf", 1), child(2, "leaf", 2)]);
    hand.ran("/1", with_hooks(ok("1")));
    hand.say("/1", Happened::Hooked(err("not yet")));
    hand.ran("/2", undoable(ok("2")));
    hand.answers("/", Vec::new());
    hand
}

#[test]
fn a_flow_fails_when_all_in_it_have_ended() {
    for restarts in [false, true] {
        let mut hand = family();
        let out = hand.cancel("/");
        let steps = [
            "drop /",
            "[/ active a1 cancelled, audit cancel /] -> accept 7",
            "[] -> cancel /0",
            "[] -> drop /",
        ];
        assert_eq!(out, steps, "what stands and is stuck stays stuck");
        if restarts {
            let out = hand.restart(false);
            assert!(out.iter().any(|line| line == "stuck /1: not yet"), "{out:?}");
            assert!(out.contains(&"[/0 failed a1] -> run /0 compensate -".to_owned()), "{out:?}");
            hand.hooked("/0");
            hand.hooked("/0");
        } else {
            hand.ran("/0", ok("5"));
        }
        assert_eq!(hand.row("/0").status.as_str(), "ended_with_failure");
        hand.retry("/1");
        let out = hand.hooked("/1");
        assert_eq!(hand.row("/1").status.as_str(), "ended_successfully", "its outcome stood");
        assert!(out[1].ends_with("-> undo /2"), "{out:?}");
        assert_eq!(hand.hooked("/"), ["[compensated /2] -> run / compensate -"]);
        hand.hooked("/");
        let out = hand.hooked("/");
        assert!(out.last().unwrap().contains(&format!("-> ended! {CANCELLED}")), "{out:?}");
    }
}

#[test]
fn a_stuck_flow_below_is_cancelled_too() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({}));
        hand.asks("/", vec![child(0, "flow", 0)]);
        let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
        hand.polled("/0", 1, Polled { end, ..Polled::default() });
        if restarts {
            hand.restart(false);
        }
        let out = hand.cancel("/");
        assert!(out.iter().any(|line| line.contains("unstuck")), "{out:?}");
        finish(&mut hand, &["/0", "/"]);
        assert!(hand.is_empty(), "nothing is left");
    }
}

/// Lets the hooks that may run of these commands be through.
fn finish(hand: &mut Hand, paths: &[&str]) {
    for path in paths {
        for _ in 0..4 {
            hand.hooked(path);
        }
    }
}

#[test]
fn a_cancel_that_was_stored_before_a_stuck_child_was_freed_frees_it_after_a_restart() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "flow", 0)]);
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    hand.polled("/0", 1, Polled { end, ..Polled::default() });
    hand.is_cut = true;
    hand.cancel("/");
    let lost = hand.take_lost();
    hand.store_now(&lost[0]);
    hand.restart(true);
    finish(&mut hand, &["/0", "/"]);
    assert!(hand.is_empty(), "nothing is left");
}

#[test]
fn a_flow_that_returned_and_drains_keeps_its_output_and_fails_as_cancelled() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0)]);
    hand.polled("/", 1, over_with(with_all_hooks(ok("9"))));
    let out = hand.cancel("/");
    let steps = ["[/ active a1 cancelled, audit cancel /] -> accept 7", "[] -> cancel /0"];
    assert_eq!(out, steps, "there is no code to drop");
    let out = hand.ran("/0", ok("5"));
    assert_eq!(out[1], "[/ failed a1 cancelled] -> run / compensate 9");
}

#[test]
fn a_stuck_flow_is_freed_and_fails() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({}));
        let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
        hand.polled("/", 1, Polled { end, ..Polled::default() });
        if restarts {
            hand.restart(true);
        }
        let out = hand.cancel("/");
        let freed = |line: &String| line.ends_with("audit cancel /] -> accept 7, unstuck");
        assert!(out.iter().any(freed), "{out:?}");
        assert!(out.last().unwrap().ends_with("-> run / compensate -"), "{out:?}");
    }
}

#[test]
fn who_waits_is_told_of_what_else_is_stuck() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "flow", 0), child(1, "leaf", 1)]);
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    hand.polled("/0", 1, Polled { end, ..Polled::default() });
    hand.ran("/1", with_hooks(ok("1")));
    hand.say("/1", Happened::Hooked(err("not yet")));
    let out = hand.cancel("/0");
    assert!(out[0].ends_with("-> accept 7, stuck /1: not yet"), "{out:?}");
}

#[test]
fn what_has_its_outcome_is_not_cancelled() {
    for reply in [ok("5"), err("x")] {
        let mut hand = Hand::new();
        hand.submit("leaf", &json!({}));
        hand.ran("/", with_hooks(reply));
        assert_eq!(hand.cancel("/"), ["refuse 7"]);
        hand.say("/", Happened::Hooked(err("not yet")));
        assert_eq!(hand.cancel("/"), ["refuse 7"], "nor when its hook is stuck");
        hand.retry("/");
        hand.hooked("/");
        assert_eq!(hand.cancel("/"), ["refuse 7"], "nor when it has ended");
    }
}

#[test]
fn a_second_cancel_is_accepted_and_the_first_reason_stays() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({}));
    hand.cancel("/");
    let what = Happened::Cancel { ticket: 9, reason: "again".into() };
    let out = hand.say("/", what);
    assert_eq!(out, ["[audit cancel /] -> accept 9", "[] -> cancel /"]);
    let out = hand.ran("/", err("x"));
    assert!(out[0].ends_with(&format!("-> ended! {CANCELLED}: x")), "{out:?}");
}

#[test]
fn a_cancelled_child_is_a_failure_for_its_parent_and_no_more() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    hand.cancel("/0");
    let out = hand.ran("/0", err("x"));
    assert_eq!(out[0], format!("give / 0!{CANCELLED}: x"));
    hand.answers("/", Vec::new());
    hand.ran("/1", ok("1"));
    let out = hand.returns("/", ok("2"));
    assert!(out.last().unwrap().ends_with("-> ended 2"), "{out:?}");
}
