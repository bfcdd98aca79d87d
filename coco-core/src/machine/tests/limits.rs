//! Concurrency limits: places, who gets them in which order, and when they are free again.

use serde_json::json;

use super::hand::*;
use crate::machine::{FlowEnd, Happened, Polled};

/// One root has the only place of its type, and another one waits for it.
fn two(name: &str) -> Hand {
    let mut hand = Hand::new();
    hand.submit(name, &json!({}));
    let out = hand.submit_as(root("B"), name, &json!({}));
    assert_eq!(out, ["[insert B not_started a0] -> accept 1"]);
    hand
}

fn begins(out: &[String], path: &str) -> bool {
    out.iter().any(|line| line.contains(&format!("[{path} active a1] -> run {path} ")))
}

#[test]
fn who_came_first_begins_first_over_all_trees() {
    let mut hand = two("single");
    hand.submit_as(root("C"), "flow", &json!({}));
    let out = hand.say(
        "C",
        Happened::Polled { attempt: 1, polled: polled_with(vec![child(0, "single", 0)]) },
    );
    assert_eq!(out, ["[insert C/0 not_started a0]"]);
    hand.submit_as(root("D"), "single", &json!({}));
    let mut before = "/";
    for (path, next) in [("/", "B"), ("B", "C/0"), ("C/0", "D")] {
        let out = hand.ran(path, ok("1"));
        assert!(begins(&out, next), "after {before}: {out:?}");
        before = path;
    }
    let out = hand.ran("D", ok("1"));
    assert_eq!(out, ["[D ended_successfully a1 o1] -> ended 1"]);
}

#[test]
fn a_place_is_free_when_the_code_is_over() {
    // Its end hook and its undo need none.
    for reply in [with_all_hooks(ok("1")), with_all_hooks(err("x")), refused("no")] {
        let mut hand = two("single");
        let out = hand.ran("/", reply);
        assert!(begins(&out, "B"), "{out:?}");
    }
    let mut hand = two("timed single");
    let out = hand.ran("/", err("x"));
    assert!(out.iter().any(|line| line.starts_with("[/ active a1 waits]")), "{out:?}");
    assert!(begins_with_alarm(&out, "B"), "in its retry pause: {out:?}");
}

fn begins_with_alarm(out: &[String], path: &str) -> bool {
    out.iter().any(|line| line.starts_with(&format!("[{path} active a1] -> run {path} leaf a1")))
}

#[test]
fn a_stuck_flow_gives_its_place_back() {
    let mut hand = two("single flow");
    let end = Some(FlowEnd::Diverged("odd".to_owned()));
    let out = hand.polled("/", 1, Polled { end, ..Polled::default() });
    assert!(begins(&out, "B"), "{out:?}");
}

#[test]
fn a_cancelled_command_gives_its_place_back_when_its_code_is_over() {
    let mut hand = two("single");
    assert!(!begins(&hand.cancel("/"), "B"), "it runs still");
    assert!(begins(&hand.ran("/", err("x")), "B"));
    let mut hand = two("single flow");
    assert!(begins(&hand.cancel("/"), "B"), "a flow is dropped at once");
}

#[test]
fn a_refused_start_gives_its_place_back() {
    let mut hand = Hand::new();
    hand.submit("single", &json!({ "x": ["a"] }));
    hand.submit_as(root("B"), "single", &json!({}));
    let out =
        hand.say("/", Happened::Refused { ticket: Some(1), number: 0, refusal: conflict().into() });
    assert_eq!(out[0], "refuse 1");
    assert!(begins(&out, "B"), "{out:?}");
}

#[test]
fn a_forgotten_tree_gives_its_places_back_when_another_is_told_something() {
    let mut hand = two("single");
    hand.forget();
    let out = hand.submit_as(root("C"), "leaf", &json!({}));
    assert!(begins(&out, "B"), "{out:?}");
}

#[test]
fn a_retry_pause_that_is_over_waits_for_a_place() {
    let mut hand = two("timed single");
    let out = hand.ran("/", err("x"));
    let at = out.iter().find(|line| line.contains("waits")).cloned().expect("a pause");
    assert!(hand.due("/", Hand::alarm(&[at])).is_empty());
    let out = hand.ran("B", ok("1"));
    assert!(out.iter().any(|line| line.starts_with("[/ active a2] -> run / leaf a2")), "{out:?}");
}

#[test]
fn what_is_below_its_own_type_needs_no_place() {
    let mut hand = Hand::new();
    hand.submit("single flow", &json!({}));
    let out = hand.asks("/", vec![child(0, "flow", 0), child(1, "single flow", 1)]);
    assert!(begins(&out, "/1"), "{out:?}");
    let out = hand.asks("/0", vec![child(0, "single flow", 0)]);
    assert!(begins(&out, "/0/0"), "at any depth: {out:?}");
    hand.submit_as(root("B"), "single flow", &json!({}));
    hand.polled("/1", 1, over_with(ok("1")));
    let out = hand.returns("/0/0", ok("1"));
    assert!(!begins(&out, "B"), "they had no place to give back");
}

#[test]
fn a_key_that_is_taken_takes_no_place() {
    let mut hand = Hand::new();
    hand.submit_later(ROOT, "single", Some("key"), None);
    let out = hand.say("/", Happened::Granted { number: 0 });
    assert_eq!(out, ["[/ active a1] -> run / leaf a1"], "it takes a place once it is stored");
    hand.submit_later(root("B"), "single", Some("key"), None);
    let out = hand.ran("/", ok("1"));
    assert!(!begins(&out, "B"), "it may not be stored: {out:?}");
    let out = hand.say("B", Happened::Duplicate { ticket: 1, taken: ROOT });
    assert_eq!(out, ["refuse 1"]);
    let out = hand.submit_as(root("C"), "single", &json!({}));
    assert_eq!(out, ["[insert C active a1] -> accept 1, run C leaf a1"]);
}

#[test]
fn a_restart_keeps_to_the_limit() {
    for name in ["single", "single flow"] {
        let mut hand = Hand::new();
        // The older one waits, and is read first.
        hand.submit_as(root("B"), name, &json!({}));
        hand.submit(name, &json!({}));
        let out = hand.restart_all(true);
        let runs = out.iter().filter(|line| line.contains("-> run ")).count();
        assert_eq!(runs, 1, "{out:?}");
        let (first, other) =
            if out.iter().any(|line| line.contains("run / ")) { ("/", "B") } else { ("B", "/") };
        let attempt = hand.row(first).attempt;
        let out = if name == "single" {
            hand.say(first, Happened::Ran { attempt, reply: ok("1") })
        } else {
            hand.polled(first, attempt, over_with(ok("1")))
        };
        assert!(out.iter().any(|line| line.contains(&format!("-> run {other} "))), "{out:?}");
    }
}

#[test]
fn nothing_begins_when_the_engine_stops() {
    let mut hand = two("single");
    hand.stop();
    let out = hand.ran("/", ok("1"));
    assert_eq!(out, ["[/ ended_successfully a1 o1] -> ended 1"]);
}

#[test]
fn who_is_in_line_for_locks_asks_for_no_place() {
    let mut hand = Hand::new();
    hand.submit("single", &json!({ "x": ["a"], "wait": true }));
    hand.queued("/", 0, None);
    // As it had waited for one before its tree was read again.
    assert_eq!(hand.say("/", Happened::Place), Vec::<String>::new());
    assert!(begins(&hand.has_locks("/", 0), "/"), "it takes one when it has its locks");
}
