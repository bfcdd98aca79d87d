//! Another attempt of a leaf: how many, after which pause, over a restart.

use serde_json::json;

use super::hand::*;
use crate::context::requests::Ask;
use crate::erased::Reply;
use crate::failure::{Failure, FailureKind};
use crate::machine::Happened;
use crate::retry::{Again, Retry};
use std::time::Duration;

fn attempt(hand: &mut Hand, attempt: i32, reply: Reply) -> Vec<String> {
    hand.say("/", Happened::Ran { attempt, reply })
}

#[test]
fn it_is_tried_as_often_as_it_says_and_fails_by_the_last() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("tried", &json!({}));
        for failed in 1..=2 {
            let mut out = attempt(&mut hand, failed, err("x"));
            assert_eq!(
                out[0],
                format!("[/ active a{failed} waits] -> wake / at {}", Hand::alarm(&out))
            );
            let at = Hand::alarm(&out);
            let pause = at - hand.now();
            let expected = (1 << (failed - 1)) * SECOND;
            assert!((expected * 4 / 5..=expected * 6 / 5).contains(&pause), "{pause}");
            if restarts {
                out = hand.restart(false);
                assert_eq!(out, [format!("wake / at {at}")], "the pause goes on");
            }
            assert!(hand.due("/", at - 2).is_empty(), "not before its time");
            let next = failed + 1;
            assert_eq!(hand.due("/", at), [format!("[/ active a{next}] -> run / leaf a{next}")]);
        }
        let out = attempt(&mut hand, 3, with_hooks(err("x")));
        assert_eq!(out, ["[/ failed a3] -> run / end_with_failure"]);
    }
}

#[test]
fn a_panic_is_tried_again_and_what_would_come_again_is_not() {
    let panicked = Failure::new(FailureKind::Panicked, "it panicked");
    let panicked = Reply { result: Err(panicked), ..err("") };
    let never = Reply { again: Again::Never, ..err("x") };
    let large = Failure::new(FailureKind::NotStorable, "too large");
    let large = Reply { result: Err(large), ..err("") };
    for (reply, again) in
        [(panicked, true), (never, false), (large, false), (refused("no"), false), (ok("1"), false)]
    {
        let mut hand = Hand::new();
        hand.submit("tried", &json!({}));
        let out = hand.ran("/", reply.clone());
        assert_eq!(out[0].contains("waits"), again, "{reply:?}: {out:?}");
    }
}

#[test]
fn a_failure_may_say_when() {
    let mut hand = Hand::new();
    hand.submit("tried", &json!({}));
    let later = Reply { again: Again::After(Duration::from_secs(77)), ..err("x") };
    let out = hand.ran("/", later);
    assert_eq!(Hand::alarm(&out) - hand.now(), 77 * SECOND);
}

#[test]
fn a_flow_says_how_its_child_is_tried_and_a_restart_knows() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let Ask::Child { position, mut child } = child(0, "redo", 0) else { panic!("a child") };
    child.retry = Some(Retry::new(2));
    hand.asks("/", vec![Ask::Child { position, child }]);
    hand.restart(false);
    let out = hand.say("/0", Happened::Ran { attempt: 2, reply: err("x") });
    assert!(out.iter().all(|line| !line.contains("waits")), "that were two: {out:?}");

    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let Ask::Child { position, mut child } = super::hand::child(0, "redo", 0) else {
        panic!("a child")
    };
    child.retry = Some(Retry::new(3));
    hand.asks("/", vec![Ask::Child { position, child }]);
    hand.restart(false);
    let out = hand.say("/0", Happened::Ran { attempt: 2, reply: err("x") });
    assert!(out[0].starts_with("[/0 active a2 waits] -> wake /0 at "), "{out:?}");
}

#[test]
fn undo_commands_of_all_attempts_are_run_once() {
    let mut hand = Hand::new();
    hand.submit("tried", &json!({}));
    hand.say("/", registers(1));
    let out = hand.ran("/", err("x"));
    hand.due("/", Hand::alarm(&out));
    let Happened::Registers { ticket, entry, .. } = registers(1) else { panic!("an entry") };
    let again = Happened::Registers { attempt: 2, ticket, entry };
    assert_eq!(hand.say("/", again), ["[] -> accept 6"]);
    let never = Reply { again: Again::Never, ..err("x") };
    assert_eq!(attempt(&mut hand, 2, never), ["[/ failed a2] -> undo / 0 by undo"]);
    let out = hand.hooked("/");
    assert_eq!(out, ["[undone / 0, / ended_with_failure a2 o2] -> ended! x"]);
}

#[test]
fn a_wait_that_was_skipped_behind_a_rejection_is_not_lost() {
    use crate::machine::{Loaded, Started};
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let Ask::Child { position, mut child } = child(0, "leaf", 0) else { panic!("a child") };
    child.retry = Some(Retry::new(3));
    hand.asks("/", vec![Ask::Child { position, child }, super::hand::child(1, "leaf", 1)]);
    hand.is_cut = true;
    hand.ran("/1", ok("1"));
    hand.answers("/", Vec::new());
    hand.ran("/0", err("x"));
    let mut lost = hand.take_lost();
    let skipped = lost.split_off(1);
    hand.forget();
    let step = lost.remove(0);
    let reason = "odd".to_owned();
    let out = hand.reload(Loaded::Rejected {
        step,
        reason,
        skipped,
        started: Started::default(),
        running: [].into(),
    });
    assert!(out[0].starts_with("wake /0 at "), "{out:?}");
    assert_eq!(out[1], "[/0 active a1 waits]");
    assert!(out.iter().all(|line| !line.contains("failed_restarted")), "no engine died: {out:?}");
}
