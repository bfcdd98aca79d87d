//! Tasks outside that rounds add: placeholders, and kept with the end of their round.

use super::*;
use crate::machine::{Loaded, OverTask};

/// Code adds the task of this name.
fn adds(hand: &mut Hand, name: &str) -> Vec<String> {
    hand.say("/", Happened::AddsTask { attempt: 1, ticket: 5, task: name.into() })
}

/// This task is over, well.
fn done(position: i32) -> OverTask {
    OverTask { position, failure: None, is_known: true }
}

/// The outside does not know this task.
fn unknown(position: i32) -> OverTask {
    let failure = Failure::new(FailureKind::Failed, "not begun");
    OverTask { position, failure: Some(failure), is_known: false }
}

fn asked(hand: &mut Hand, over: Vec<OverTask>) -> Vec<String> {
    hand.say("/", Happened::TasksAsked(over))
}

/// It is time for what was set among `out`.
fn due(hand: &mut Hand, out: &[String]) -> Vec<String> {
    hand.due("/", Hand::alarm(out))
}

fn last(out: &[String]) -> &str {
    out.last().expect("something comes out")
}

/// A root in a round that has added the task `a`.
fn in_round() -> Hand {
    let mut hand = started("next", 0);
    assert_eq!(adds(&mut hand, "a"), ["[task / 0] -> accept 5"]);
    hand
}

/// The same, after the round has come to its end; and what it said.
fn after_round() -> (Hand, Vec<String>) {
    let mut hand = in_round();
    let out = round(&mut hand, "/", pending(ok("0")));
    (hand, out)
}

#[test]
fn a_task_is_kept_in_the_step_of_what_has_added_it_and_once() {
    let (mut hand, out) = after_round();
    assert_eq!(last(&out), "[/ active a1 executed, task kept / 0]", "though nothing else changed");
    assert_eq!(due(&mut hand, &out), ["[] -> run / tasks 1"]);
    asked(&mut hand, vec![done(0)]);
    assert_eq!(adds(&mut hand, "a"), ["[] -> accept 5"], "it is that one");
    let out = round(&mut hand, "/", pending(ok("0")));
    assert!(!out.iter().any(|line| line.contains('[')), "nothing is stored: {out:?}");

    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    adds(&mut hand, "a");
    adds(&mut hand, "b");
    let out = hand.ran("/", pending(ok("0")));
    assert_eq!(last(&out), "[/ active a1 executed, task kept / 0, task kept / 1]");
}

#[test]
fn a_round_that_was_interrupted_comes_before_its_tasks_are_asked() {
    for name in ["next", "polled", "custom"] {
        let mut hand = started(name, 0);
        if name != "next" {
            let at = hand.now() + 2 * SECOND;
            hand.due("/", at);
        }
        adds(&mut hand, "a");
        assert_eq!(last(&hand.restart(false)), "[] -> run / round 0/0", "{name}");
        assert_eq!(adds(&mut hand, "a"), ["[] -> accept 5"], "it is stored");
        let out = round(&mut hand, "/", pending(ok("0")));
        assert_eq!(last(&out), "[/ active a1 executed, task kept / 0]");
        assert_eq!(due(&mut hand, &out), ["[] -> run / tasks 1"]);
        assert_eq!(last(&hand.restart(false)), "[] -> run / tasks 1", "{name}: no round was lost");
        let failed = asked(&mut hand, vec![unknown(0)]);
        assert!(failed[0].starts_with("[task ended / 0, / failed a1"), "it was begun: {failed:?}");
    }
}

#[test]
fn a_round_that_was_interrupted_waits_for_a_place() {
    let mut hand = Hand::new();
    hand.submit_as(root("/"), "single next", &json!({}));
    hand.ran("/", pending(ok("0")));
    adds(&mut hand, "a");
    hand.submit_as(root("B/"), "single next", &json!({}));
    let out = hand.restart_all(false);
    let runs: Vec<_> = out.iter().filter(|line| line.contains("run")).collect();
    assert_eq!(runs, ["[] -> run / round 0/0"], "{out:?}");
}

#[test]
fn what_a_repeated_round_does_not_add_fails_nobody_when_it_is_not_known() {
    let mut hand = in_round();
    hand.restart(false);
    let out = round(&mut hand, "/", pending(ok("0")));
    assert!(!out.iter().any(|line| line.contains('[')), "there is nothing to keep: {out:?}");
    assert_eq!(due(&mut hand, &out), ["[] -> run / tasks 1"], "it may run, and is asked");
    let out = asked(&mut hand, vec![unknown(0)]);
    assert_eq!(out, ["[task ended / 0]", "[] -> run / round 0/0"]);
    assert_eq!(adds(&mut hand, "a"), ["[task / 1] -> accept 5"], "it stands for nothing any more");
    let out = round(&mut hand, "/", pending(ok("0")));
    assert_eq!(last(&out), "[/ active a1 executed, task kept / 1]");

    let mut hand = in_round();
    hand.restart(false);
    adds(&mut hand, "b");
    let out = round(&mut hand, "/", pending(ok("0")));
    assert_eq!(
        last(&out),
        "[/ active a1 executed, task kept / 1]",
        "what it has added, and no other"
    );
    assert_eq!(last(&hand.restart(false)), "[] -> run / tasks 2", "no round while one is kept");
    asked(&mut hand, vec![unknown(0)]);
    assert_eq!(hand.row("/").failure, None);
}

#[test]
fn what_a_repeated_round_does_not_add_fails_its_command_where_it_has_failed() {
    let mut hand = in_round();
    hand.restart(false);
    let out = round(&mut hand, "/", pending(ok("0")));
    due(&mut hand, &out);
    let out = asked(&mut hand, vec![OverTask { is_known: true, ..unknown(0) }]);
    assert!(out[0].starts_with("[task ended / 0, / failed a1"), "{out:?}");
}

#[test]
fn what_a_repeated_round_does_not_add_is_stopped_with_its_command() {
    let mut hand = in_round();
    hand.restart(false);
    let out = round(&mut hand, "/", err("x"));
    assert_eq!(out, ["[/ execution_failed a1]", "[] -> run / stop 1"]);
    let out = asked(&mut hand, vec![unknown(0)]);
    assert_eq!(out[0], "[task ended / 0]");
    assert!(out[1].starts_with("[/ failed a1"), "{out:?}");
}

#[test]
fn a_round_for_events_comes_again_and_no_other_beside_a_task_that_is_kept() {
    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    hand.say("/", Happened::Subscribes { attempt: 1, ticket: 4, key: "disk|7".into() });
    adds(&mut hand, "a");
    hand.ran("/", pending(ok("0")));
    assert_eq!(last(&hand.say("/", Happened::HasEvents)), "[] -> run / inbox");
    adds(&mut hand, "b");
    assert_eq!(last(&hand.restart(false)), "[] -> run / inbox");
    assert_eq!(hand.say("/", Happened::NoEvents), ["[] -> run / tasks 2"]);
    hand.restart(false);
    adds(&mut hand, "b");
    let out = round(&mut hand, "/", pending(ok("0")));
    assert_eq!(out, ["[/ active a1 executed, task kept / 1]", "[] -> run / tasks 2"]);
}

#[test]
fn an_inbox_without_events_was_not_what_was_interrupted() {
    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    hand.say("/", Happened::Subscribes { attempt: 1, ticket: 4, key: "disk|7".into() });
    let out = hand.ran("/", pending(ok("0")));
    due(&mut hand, &out);
    adds(&mut hand, "a");
    assert_eq!(last(&hand.restart(false)), "[] -> run / inbox");
    assert_eq!(hand.say("/", Happened::NoEvents), ["[] -> run / round 0/0"]);
}

#[test]
fn what_was_left_does_not_wait_for_a_round_that_waits_for_children() {
    let mut hand = in_round();
    hand.restart(false);
    round(&mut hand, "/", starts(ok("0"), vec![child(0, "redo", 0)], false));
    let out = hand.restart(false);
    assert_eq!(out, ["[/0 active a2] -> run /0 leaf a2", "[] -> run / tasks 1"]);
}

#[test]
fn nothing_was_interrupted_in_what_has_rested() {
    let mut hand = in_round();
    assert_eq!(hand.restart_with_room(1, ROOT), ["[] -> run / tasks 1"]);
}

#[test]
fn an_attempt_that_has_failed_keeps_no_task() {
    let mut hand = Hand::new();
    hand.submit("pair polled", &json!({}));
    adds(&mut hand, "a");
    let out = hand.ran("/", err("x"));
    due(&mut hand, &out);
    hand.say("/", Happened::AddsTask { attempt: 2, ticket: 5, task: "b".into() });
    let out = hand.say("/", Happened::Ran { attempt: 2, reply: pending(ok("0")) });
    assert_eq!(last(&out), "[/ active a2 executed, task kept / 1]");
}

#[test]
fn what_code_has_added_is_known_though_its_tree_is_read_again() {
    let mut hand = in_round();
    hand.restart(false);
    adds(&mut hand, "b");
    hand.is_cut = true;
    hand.cancel("/");
    let lost = hand.take_lost();
    assert_eq!(reload(&mut hand, lost, &["/"]), [""; 0], "its code goes on");
    let out = round(&mut hand, "/", pending(ok("0")));
    assert_eq!(last(&out), "[/ active a1 executed, task kept / 1]");

    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    adds(&mut hand, "a");
    hand.is_cut = true;
    hand.cancel("/");
    let lost = hand.take_lost();
    reload(&mut hand, lost, &["/"]);
    let out = hand.ran("/", pending(ok("0")));
    assert_eq!(last(&out), "[/ active a1 executed, task kept / 0]");
}

#[test]
fn nothing_was_interrupted_in_a_tree_that_is_read_again() {
    let mut hand = Hand::new();
    hand.submit("custom", &json!({}));
    let out = hand.ran("/", starts(ok("0"), vec![child(0, "redo", 0)], false));
    due(&mut hand, &out);
    adds(&mut hand, "a");
    hand.restart(false);
    round(&mut hand, "/", pending(ok("0")));
    hand.is_cut = true;
    hand.say("/0", Happened::Ran { attempt: 2, reply: err("x") });
    let lost = hand.take_lost();
    assert_eq!(last(&reload(&mut hand, lost, &[])), "[] -> run / tasks 1", "and no round");
}

#[test]
fn a_lost_round_keeps_what_it_has_added() {
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    adds(&mut hand, "a");
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    round(&mut hand, "/", pending(ok("0")));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(out.contains(&"[/ active a1 executed, task kept / 0]".to_owned()), "{out:?}");
    let rejected = hand.reload(Loaded::Start { crashed: false });
    assert_eq!(last(&rejected), "[] -> run / tasks 1");
}
