//! Retry and abandon: what an operator does to what is stuck.

use serde_json::json;

use super::hand::*;
use crate::machine::{FlowEnd, Happened, Polled};

fn diverge(hand: &mut Hand, path: &str) -> Vec<String> {
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    hand.polled(path, 1, Polled { end, ..Polled::default() })
}

#[test]
fn what_is_abandoned_ends_without_a_hook_and_frees_its_locks() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({ "x": ["a"] }));
        hand.say("/", Happened::Granted { number: 0 });
        hand.asks("/", vec![child(0, "leaf", 0)]);
        hand.ran("/0", undoable(ok("1")));
        hand.answers("/", Vec::new());
        diverge(&mut hand, "/");
        if restarts {
            hand.restart(false);
        }
        let out = hand.abandon("/");
        let end = "[audit abandon /, / ended_with_failure a1 o2, release /] -> ended! \
                   it was abandoned: hopeless: it sleeps";
        assert_eq!(out, [end, "[] -> accept 9, unstuck"], "and it is stored before");
        assert!(hand.locks().is_empty());
        assert!(hand.row("/0").compensated_at.is_none(), "nothing is undone");
        assert!(hand.is_empty());
    }
}

#[test]
fn what_is_not_stuck_or_has_open_children_is_not_abandoned() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    assert_eq!(hand.abandon("/"), ["refuse 9"]);
    hand.asks("/", vec![child(0, "leaf", 0)]);
    diverge(&mut hand, "/");
    assert_eq!(hand.abandon("/"), ["refuse 9"], "its child is open");
    assert_eq!(hand.abandon("/0"), ["refuse 9"], "its child is not stuck");
    hand.ran("/0", ok("1"));
    assert!(hand.abandon("/")[0].contains("-> ended! it was abandoned"));
    assert_eq!(hand.abandon("/"), ["refuse 9"], "it has ended");
}

#[test]
fn an_abandoned_child_is_a_failure_for_its_parent_and_nothing_of_it_is_undone() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({}));
        hand.asks("/", vec![child(0, "flow", 0), child(1, "leaf", 1)]);
        hand.asks("/0", vec![child(0, "leaf", 0)]);
        hand.ran("/0/0", undoable(ok("1")));
        hand.answers("/0", Vec::new());
        hand.ran("/1", undoable(ok("2")));
        hand.answers("/", Vec::new());
        diverge(&mut hand, "/0");
        let out = hand.abandon("/0");
        assert_eq!(out[0], "give / 0!it was abandoned: hopeless: it sleeps");
        let out = hand.polled("/", 1, answer_with(Vec::new()));
        assert_eq!(out[1], "[] -> accept 9, unstuck");
        let attempt = if restarts {
            hand.restart(true);
            hand.polled("/", 2, polled_with(vec![child(0, "flow", 0), child(1, "leaf", 1)]));
            2
        } else {
            1
        };
        let out = hand.polled("/", attempt, over_with(err("x")));
        assert!(out[0].ends_with("-> undo /1"), "{out:?}");
        let out = hand.hooked("/");
        assert!(!out[0].contains("undo"), "{out:?}");
        assert!(hand.row("/0/0").compensated_at.is_none());
    }
}

#[test]
fn a_succeeded_child_that_is_stuck_and_abandoned_is_not_undone() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({}));
        hand.asks("/", vec![child_with(0, "leaf", &json!({ "x": ["a"] }))]);
        hand.say("/0", Happened::Granted { number: 0 });
        hand.ran("/0", with_all_hooks(ok("1")));
        hand.say("/0", Happened::Hooked(err("not yet")));
        if restarts {
            hand.restart(true);
        }
        let asks = vec![child_with(0, "leaf", &json!({ "x": ["a"] }))];
        if restarts {
            hand.polled("/", 2, polled_with(asks));
        }
        let out = hand.abandon("/0");
        assert_eq!(out[0], "give / 0!it was abandoned: hopeless: not yet");
        let attempt = hand.row("/").attempt;
        let out = hand.polled("/", attempt, answer_over_with(err("x")));
        assert!(out.iter().all(|line| !line.contains("-> undo")), "{out:?}");
        while !hand.is_empty() {
            hand.hooked("/");
        }
        assert!(hand.locks().is_empty(), "what was passed up is freed with the parent");
    }
}

#[test]
fn a_retry_is_for_all_that_is_stuck_below() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1), child(2, "flow", 2)]);
    for path in ["/0", "/1"] {
        hand.ran(path, with_hooks(err("x")));
        hand.say(path, Happened::Hooked(err("not yet")));
    }
    diverge(&mut hand, "/2");
    let out = hand.retry("/1");
    let steps = [
        "[/1 failed a1, audit retry /1] -> accept 8, stuck /0: not yet",
        "[] -> run /1 end_with_failure",
    ];
    let sorted_stuck = |line: &str| line.replace("stuck /2: it sleeps", "stuck /0: not yet");
    assert_eq!(out.iter().map(|line| sorted_stuck(line)).collect::<Vec<_>>(), steps);
    let out = hand.retry("/");
    assert_eq!(out.iter().filter(|line| line.contains("accept 8")).count(), 0, "{out:?}");
    assert!(out.contains(&"[] -> run /0 end_with_failure".to_owned()), "{out:?}");
    let reload = out.iter().find(|line| line.contains("reload /2")).expect("it is read");
    assert_eq!(reload, "[] -> reload /2 8", "the last one answers");
    let stored = hand.stored("/2");
    let out = hand.say("/2", Happened::Replay { ticket: Some(8), stored });
    assert_eq!(out, ["[/2 active a2, audit retry /2] -> accept 8, run /2 flow a2, unstuck"]);
    assert_eq!(hand.retry("/"), ["refuse 8"], "nothing is stuck any more");
}

#[test]
fn who_retries_is_answered_when_it_ends_meanwhile() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    diverge(&mut hand, "/");
    hand.retry("/");
    let stored = hand.stored("/");
    hand.abandon("/");
    let what = Happened::Replay { ticket: Some(8), stored };
    assert_eq!(hand.say("/", what), ["refuse 8"]);
}

#[test]
fn a_retry_of_a_stuck_flow_waits_for_a_place() {
    let mut hand = Hand::new();
    hand.submit("single flow", &json!({}));
    diverge(&mut hand, "/");
    hand.submit_as(root("B"), "single flow", &json!({}));
    hand.retry("/");
    let stored = hand.stored("/");
    let out = hand.say("/", Happened::Replay { ticket: Some(8), stored });
    assert_eq!(out, ["[/ active a1 waits, audit retry /] -> accept 8, unstuck"]);
    let out = hand.polled("B", 1, over_with(ok("1")));
    assert_eq!(out[1], "[/ active a2] -> run / flow a2");
}

#[test]
fn a_late_read_does_not_run_a_flow_that_has_failed() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    diverge(&mut hand, "/");
    hand.retry("/");
    let late = hand.stored("/");
    hand.cancel("/");
    hand.say("/", Happened::Hooked(err("not yet")));
    assert_eq!(hand.row("/").stuck_from.unwrap().as_str(), "failed");
    let what = Happened::Replay { ticket: Some(8), stored: late };
    assert_eq!(hand.say("/", what), ["refuse 8"]);
}
