//! Undo: what, in which order, live and over a restart at each moment; and where locks are then.

use serde_json::json;

use super::hand::*;
use crate::machine::Happened;
use crate::retry::Retry;

/// A flow that is about to fail: `/0` and `/3` have a `compensate` of their own, `/1` has two such
/// children, and an undo command was registered at 2.
fn full_flow() -> Hand {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "flow", 1)]);
    hand.asks("/1", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    hand.ran("/1/0", undoable(ok("1")));
    hand.answers("/1", Vec::new());
    hand.ran("/0", undoable(ok("2")));
    let out = hand.answers("/", vec![register(2, 0)]);
    assert_eq!(out, ["give / 2=null"]);
    hand.answers("/", vec![child(3, "leaf", 3)]);
    hand.ran("/1/1", undoable(ok("3")));
    hand.returns("/1", ok("4"));
    hand.answers("/", Vec::new());
    hand.ran("/3", undoable(ok("5")));
    hand
}

const ORDER: [&str; 5] = ["undo /3", "undo /1/1", "undo /1/0", "undo / 2 by undo", "undo /0"];

/// What is undone next.
fn undone_next(out: &[String]) -> Option<String> {
    let effect = out.last()?.rsplit_once("-> ")?.1;
    effect.starts_with("undo").then(|| effect.to_owned())
}

#[test]
fn the_newest_end_is_undone_first_over_a_restart_at_each_moment() {
    for restart_after in 0..=ORDER.len() {
        let mut hand = full_flow();
        let mut out = hand.returns("/", with_hooks(err("x")));
        let mut order = Vec::new();
        for undone in 0..=ORDER.len() {
            if undone == restart_after {
                out = hand.restart(true);
            }
            let Some(next) = undone_next(&out) else { break };
            order.push(next);
            out = hand.hooked("/");
        }
        assert_eq!(order, ORDER, "restarted after {restart_after}");
        // The hooks are not known after a restart, and a default one has undone nothing.
        assert!(out.last().unwrap().ends_with("-> run / compensate -"), "{out:?}");
        assert_eq!(hand.hooked("/"), ["[] -> run / end_with_failure"]);
        let out = hand.hooked("/");
        assert!(out[0].ends_with("-> ended! x"), "{out:?}");
        for path in ["/0", "/3", "/1/0", "/1/1"] {
            assert!(hand.row(path).compensated_at.is_some(), "{path}");
            assert_eq!(hand.row(path).status.as_str(), "ended_successfully");
        }
        assert!(hand.row("/1").compensated_at.is_none(), "by what is in it");
        assert!(hand.is_undone("/", 2));
    }
}

#[test]
fn each_undo_is_marked_before_the_next_one_runs() {
    let mut hand = full_flow();
    let out = hand.returns("/", err("x"));
    let failed = ["[/3 ended_successfully a1 o6 own]", "[/ failed a1] -> undo /3"];
    assert_eq!(out, failed);
    assert_eq!(hand.hooked("/"), ["[compensated /3] -> undo /1/1"]);
    assert_eq!(hand.hooked("/"), ["[compensated /1/1] -> undo /1/0"]);
    assert_eq!(hand.hooked("/"), ["[compensated /1/0] -> undo / 2 by undo"]);
    assert_eq!(hand.hooked("/"), ["[undone / 2] -> undo /0"]);
    let out = hand.hooked("/");
    let end = "[compensated /0, / ended_with_failure a1 o7] -> ended! x";
    assert_eq!(out, [end], "the last one is marked in the step that ends it");
}

#[test]
fn what_has_a_compensate_of_its_own_is_not_undone_from_inside() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({}));
        hand.asks("/", vec![child(0, "flow", 0)]);
        hand.asks("/0", vec![child(0, "leaf", 0)]);
        hand.ran("/0/0", undoable(ok("1")));
        assert_eq!(hand.returns("/0", undoable(ok("2"))), ["give / 0=2"]);
        hand.answers("/", Vec::new());
        assert_eq!(hand.row("/0").undo, Some(crate::entity::Undo::Own));
        if restarts {
            hand.restart(false);
            hand.polled("/", 2, polled_with(vec![child(0, "flow", 0)]));
        }
        let attempt = hand.row("/").attempt;
        let out = hand.polled("/", attempt, over_with(err("x")));
        assert_eq!(undone_next(&out), Some("undo /0".to_owned()));
        let out = hand.hooked("/");
        assert!(undone_next(&out).is_none(), "{out:?}");
        assert!(hand.row("/0/0").compensated_at.is_none());
    }
}

#[test]
fn what_succeeded_leaves_nothing_behind_when_the_root_succeeds() {
    let mut hand = full_flow();
    let out = hand.returns("/", undoable(ok("9")));
    let end = "[/ ended_successfully a1 o7] -> ended 9";
    assert_eq!(out[1..], [end], "a root has nobody to undo it");
    assert!(hand.row("/0").compensated_at.is_none());
}

#[test]
fn a_failed_child_undoes_what_is_in_it_and_leaves_the_rest() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "flow", 1)]);
    hand.asks("/1", vec![child(0, "leaf", 0)]);
    hand.ran("/0", undoable(ok("1")));
    hand.answers("/", Vec::new());
    hand.ran("/1/0", undoable(ok("2")));
    let out = hand.returns("/1", err("x"));
    assert_eq!(out[1..], ["[/1 failed a1] -> undo /1/0"]);
    let out = hand.hooked("/1");
    assert_eq!(out[0], "give / 1!x");
    let out = hand.returns("/", ok("3"));
    let ended = ["[compensated /1/0, /1 ended_with_failure a1 o3]"];
    assert_eq!(out[..1], ended);
    assert_eq!(out[1], "[/ ended_successfully a1 o4] -> ended 3");
    assert!(hand.row("/0").compensated_at.is_none());
}

#[test]
fn its_own_compensate_comes_after_what_is_in_it_and_without_an_output() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        hand.submit("flow", &json!({}));
        hand.asks("/", vec![child(0, "leaf", 0)]);
        hand.ran("/0", undoable(ok("1")));
        hand.answers("/", Vec::new());
        let out = hand.polled("/", 1, over_with(with_all_hooks(err("x"))));
        assert_eq!(undone_next(&out), Some("undo /0".to_owned()));
        assert_eq!(hand.hooked("/"), ["[compensated /0] -> run / compensate -"]);
        if restarts {
            let out = hand.restart(true);
            assert_eq!(out, ["[/ failed a1 d1]", "[] -> run / compensate -"], "it may be twice");
        }
        let out = hand.compensated("/");
        assert!(out[0].ends_with("-> run / end_with_failure"), "{out:?}");
        assert!(hand.row("/").compensated_at.is_some());
        if restarts {
            let out = hand.restart(true);
            assert_eq!(out.last().unwrap(), "[] -> run / end_with_failure", "not a third time");
        }
        let out = hand.hooked("/");
        assert!(out[0].ends_with("-> ended! x"), "{out:?}");
    }
}

#[test]
fn undo_commands_of_a_leaf_are_run_by_it_or_by_who_asked_for_it() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1), child(2, "leaf", 2)]);
    for path in ["/0", "/1", "/2"] {
        assert_eq!(hand.say(path, registers(1)), [format!("[register {path} 0 undo] -> accept 6")]);
        let out = hand.say(path, registers(2));
        assert_eq!(out, [format!("[register {path} 1 undo] -> accept 6")]);
    }
    assert_eq!(hand.say("/0", registers(1)), ["[] -> accept 6"], "it is registered already");
    // One fails, one has nothing else that undoes it, one has a compensate of its own.
    assert_eq!(hand.ran("/0", err("x")), ["[/0 failed a1] -> undo /0 1 by undo"]);
    assert_eq!(hand.say("/0", registers(3)), ["refuse 6"], "its code is over");
    assert_eq!(hand.hooked("/0"), ["[undone /0 1] -> undo /0 0 by undo"]);
    hand.hooked("/0");
    hand.answers("/", Vec::new());
    hand.ran("/1", ok("1"));
    hand.answers("/", Vec::new());
    assert_eq!(hand.row("/1").undo, Some(crate::entity::Undo::Inner));
    hand.ran("/2", undoable(ok("2")));
    let out = hand.returns("/", err("y"));
    assert_eq!(undone_next(&out), Some("undo /2".to_owned()));
    assert_eq!(undone_next(&hand.hooked("/")), Some("undo /1 1 by undo".to_owned()));
    assert_eq!(undone_next(&hand.restart(true)), Some("undo /1 1 by undo".to_owned()));
    assert_eq!(undone_next(&hand.hooked("/")), Some("undo /1 0 by undo".to_owned()));
    assert!(undone_next(&hand.hooked("/")).is_none());
    assert!(!hand.is_undone("/2", 0), "its own compensate did that");
}

#[test]
fn a_replay_finds_its_undo_commands_again() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![register(0, 5)]);
    hand.answers("/", vec![child(1, "redo", 1)]);
    hand.restart(true);
    let out = hand.polled("/", 2, polled_with(vec![register(0, 5)]));
    assert_eq!(out, ["give / 0=null of a replay"], "and it is not stored again");
    hand.polled("/", 2, answer_with(vec![child(1, "redo", 1)]));
    hand.restart(true);
    let out = hand.polled("/", 3, polled_with(vec![register(0, 6)]));
    assert!(out[1].contains("request 0 was the undo command `undo`"), "{out:?}");
}

#[test]
fn a_failing_undo_is_tried_again_then_stuck_and_goes_on_where_it_was() {
    let mut hand = Hand::with_hook_retry(Retry::new(3));
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    hand.ran("/0", undoable(ok("1")));
    hand.answers("/", Vec::new());
    hand.ran("/1", undoable(ok("2")));
    hand.returns("/", err("x"));
    hand.hooked("/");
    let out = hand.say("/", Happened::Hooked(err("not yet")));
    assert!(out[0].starts_with("[/ failed a1 waits] -> wake / at "), "{out:?}");
    assert_eq!(hand.row("/").hook_attempt, 1);
    let at = Hand::alarm(&out);
    assert!(hand.due("/", at - 2).is_empty(), "not before its time");
    assert_eq!(hand.due("/", at), ["[] -> undo /0"]);
    hand.say("/", Happened::Hooked(err("not yet")));
    let out = hand.restart(true);
    assert!(out.iter().any(|line| line.starts_with("wake / at ")), "{out:?}");
    assert_eq!(hand.row("/").hook_attempt, 2, "a restart forgets no attempt");
    assert_eq!(hand.due("/", Hand::alarm(&out)), ["[] -> undo /0"]);
    let out = hand.say("/", Happened::Hooked(err("never")));
    assert_eq!(out, ["[/ stuck a1 d1] -> stuck /: never"]);
    assert_eq!(hand.row("/").stuck_from.unwrap().as_str(), "failed");
    let out = hand.restart(true);
    assert!(!out.iter().any(|line| line.contains("undo")), "{out:?}");
    assert_eq!(hand.retry("/")[1..], ["[] -> undo /0"], "and not `/1` again");
    assert_eq!(hand.row("/").hook_attempt, 0);
    assert_eq!(hand.hooked("/"), ["[compensated /0] -> run / compensate -"]);
}

#[test]
fn a_failure_that_would_come_again_is_stuck_at_once() {
    let mut hand = Hand::with_hook_retry(Retry::new(3));
    hand.submit("leaf", &json!({}));
    hand.ran("/", with_hooks(ok("5")));
    let never = crate::erased::Reply { again: crate::retry::Again::Never, ..err("gone") };
    assert_eq!(hand.say("/", Happened::Hooked(never)), ["[/ stuck a1] -> stuck /: gone"]);
}

fn keys(hand: &Hand, path: &str) -> usize {
    hand.locks().iter().filter(|(owner, _)| *owner == id(path)).count()
}

#[test]
fn locks_pass_up_while_something_could_be_undone_and_go_with_the_root() {
    for (name, reply) in [("flow", ok("9")), ("flow", err("x"))] {
        let mut hand = Hand::new();
        hand.submit(name, &json!({}));
        hand.asks("/", vec![child(0, "flow", 0)]);
        let locked = json!({ "x": ["a"] });
        hand.asks("/0", vec![child_with(0, "leaf", &locked)]);
        hand.say("/0/0", Happened::Granted { number: 0 });
        hand.ran("/0/0", undoable(ok("1")));
        hand.answers("/0", Vec::new());
        assert_eq!((keys(&hand, "/0/0"), keys(&hand, "/0")), (0, 1), "passed to its parent");
        hand.polled("/0", 1, over_with(ok("2")));
        hand.say("/", Happened::Flush { hold: 2 });
        assert_eq!((keys(&hand, "/0"), keys(&hand, "/")), (0, 1), "and on to the root");
        let fails = reply.result.is_err();
        hand.polled("/", 1, answer_over_with(reply));
        if fails {
            assert_eq!(keys(&hand, "/"), 1, "held while it is being undone");
            hand.hooked("/");
        }
        assert!(hand.locks().is_empty());
        assert!(hand.is_empty());
    }
}

#[test]
fn locks_of_what_nothing_undoes_are_freed_at_its_end() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let locked = json!({ "x": ["a"] });
    hand.asks("/", vec![child_with(0, "leaf", &locked)]);
    hand.say("/0", Happened::Granted { number: 0 });
    hand.ran("/0", ok("1"));
    let out = hand.answers("/", Vec::new());
    assert_eq!(out, ["[/0 ended_successfully a1 o1, release /0]"]);
}

#[test]
fn a_root_that_inherits_locks_lets_them_go_by_its_scope() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let locked = json!({ "x": ["a"] });
    hand.asks("/", vec![child_with(0, "leaf", &locked)]);
    hand.say("/0", Happened::Granted { number: 0 });
    hand.ran("/0", undoable(ok("1")));
    hand.answers("/", Vec::new());
    let out = hand.polled("/", 1, over_with(with_hooks(ok("2"))));
    assert_eq!(out, ["[/ succeeded a1, release /] -> run / end_successfully"]);
    assert!(hand.locks().is_empty());
    assert_eq!(hand.hooked("/"), ["[/ ended_successfully a1 o2] -> ended 2"]);
}

#[test]
fn a_child_that_keeps_its_locks_to_the_end_passes_them_then() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let locked = json!({ "x": ["a"] });
    hand.asks(
        "/",
        vec![child_with(0, "keep", &locked), child_with(1, "leaf", &json!({ "x": ["b"] }))],
    );
    hand.say("/0", Happened::Granted { number: 0 });
    hand.say("/1", Happened::Granted { number: 0 });
    assert_eq!(
        hand.ran("/0", with_all_hooks(ok("1"))),
        ["[/0 succeeded a1 own] -> run /0 end_successfully"]
    );
    assert_eq!(
        hand.ran("/1", with_all_hooks(ok("1"))),
        ["[/1 succeeded a1 own, pass /1 to /] -> run /1 end_successfully"]
    );
    hand.hooked("/0");
    let out = hand.answers("/", Vec::new());
    assert_eq!(out, ["[/0 ended_successfully a1 o1 own, pass /0 to /]"]);
}
