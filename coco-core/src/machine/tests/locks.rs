//! Commands that wait in line for their locks, and locks that are asked for late.

use serde_json::{Value, json};

use super::hand::*;
use crate::context::requests::Ask;
use crate::id::CommandId;
use crate::lock::{Lock, LockMode};
use crate::machine::step::Step;
use crate::machine::{Address, FlowEnd, Happened, Input, Loaded, Polled, Started};
use crate::status::CommandStatus;

/// When a wait of two seconds is over that began with the third input.
const UNTIL: i64 = 2 * SECOND + 3;

fn lock(key: &str) -> Lock {
    Lock { group: "disk".into(), key: key.to_owned(), mode: LockMode::Exclusive }
}

fn ask_lock(position: i32, key: &str) -> Ask {
    Ask::Lock { position, lock: lock(key) }
}

fn waits_for(key: &str) -> Value {
    json!({ "x": [key], "wait": true })
}

/// `/` is a leaf that holds `a`, and `B`, of this type, waits for it.
fn two(name: &str, wait: impl Into<Value>) -> Hand {
    let mut hand = Hand::new();
    hand.submit(name, &json!({ "x": ["a"] }));
    hand.say("/", Happened::Granted { number: 0 });
    let out = hand.submit_as(root("B"), name, &json!({ "x": ["a"], "wait": wait.into() }));
    let accepted = "[insert B not_started a0] -> accept 1";
    assert_eq!(out, [accepted, "locks? [B active a1] -> run B leaf a1"]);
    assert_eq!(hand.said(), ["waits B"]);
    hand
}

/// The keys that are held, by owner.
fn held(hand: &Hand) -> Vec<(CommandId, String)> {
    hand.locks()
}

#[test]
fn a_root_waits_in_line_and_begins_when_it_has_its_locks() {
    let mut hand = two("leaf", true);
    assert!(hand.queued("B", 0, None).is_empty());
    assert_eq!(hand.row("B").attempt, 0);
    hand.ran("/", ok("1"));
    assert_eq!(hand.said(), ["granted B"], "in the commit of the release");
    assert_eq!(held(&hand), [(root("B"), "a".to_owned())]);
    assert_eq!(hand.has_locks("B", 0), ["[B active a1] -> run B leaf a1"]);
    assert!(hand.has_locks("B", 0).is_empty(), "once");
    hand.ran("B", ok("1"));
    assert!(held(&hand).is_empty());
    assert!(hand.is_empty());
}

#[test]
fn a_wait_that_is_over_ends_the_command() {
    let mut hand = two("leaf", 2000);
    assert_eq!(hand.queued("B", 0, Some(UNTIL)), [format!("wake B at {UNTIL}")]);
    let early = hand.due("B", UNTIL - 2);
    assert!(early.is_empty(), "{early:?}");
    let out = hand.due("B", UNTIL);
    let text = "it waited for disk `a` longer than it may";
    let ended = format!("[B ended_with_failure a0 o1, release B] -> ended! {text}");
    assert_eq!(out, ["disarm B", &ended]);
    hand.ran("/", ok("1"));
    assert!(hand.said().is_empty(), "it is not in line any more");
    assert!(hand.has_locks("B", 0).is_empty());
}

#[test]
fn who_waits_is_cancelled_at_once() {
    let mut hand = two("leaf", true);
    assert!(hand.cancel("B").is_empty(), "what became of its request is not known yet");
    let out = hand.queued("B", 0, None);
    assert!(out.iter().any(|line| line.contains("accept 7")), "{out:?}");
    assert!(out.last().is_some_and(|line| line.contains("ended_with_failure")), "{out:?}");
    let mut hand = two("leaf", 2000);
    hand.queued("B", 0, Some(UNTIL));
    let out = hand.cancel("B");
    assert!(out.contains(&"disarm B".to_owned()), "{out:?}");
    assert!(out.iter().any(|line| line.contains("release B")), "{out:?}");
}

#[test]
fn a_child_that_waits_is_ended_with_its_flow() {
    let mut hand = Hand::new();
    hand.submit_as(root("B"), "leaf", &json!({ "x": ["a"] }));
    hand.say("B", Happened::Granted { number: 0 });
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child_with(0, "leaf", &waits_for("a"))]);
    assert_eq!(hand.said(), ["waits /0"]);
    hand.cancel("/");
    let out = hand.queued("/0", 0, None);
    assert!(out.iter().any(|line| line.starts_with("[/0 ended_with_failure")), "{out:?}");
    hand.ran("B", ok("1"));
    assert!(hand.said().is_empty());
}

#[test]
fn who_waits_gives_its_place_to_others() {
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({ "x": ["a"] }));
    hand.say("/", Happened::Granted { number: 0 });
    hand.submit_as(root("B"), "single", &waits_for("a"));
    hand.submit_as(root("C"), "single", &json!({}));
    let out = hand.queued("B", 0, None);
    assert!(out.iter().any(|line| line.contains("-> run C ")), "{out:?}");
    hand.ran("/", ok("1"));
    let out = hand.has_locks("B", 0);
    assert!(out.is_empty(), "it has its locks and no place: {out:?}");
    let out = hand.ran("C", ok("1"));
    assert!(out.iter().any(|line| line.contains("-> run B ")), "{out:?}");
}

#[test]
fn a_restart_keeps_the_place_in_line() {
    let mut hand = two("redo", true);
    hand.queued("B", 0, None);
    hand.submit_as(root("C"), "redo", &waits_for("a"));
    assert_eq!(hand.said(), ["waits C"]);
    let out = hand.restart_all(false);
    assert!(out.iter().any(|line| line.starts_with("locks? [C active")), "it asks: {out:?}");
    assert_eq!(hand.said(), ["waits B", "waits C"]);
    hand.say("/", Happened::Ran { attempt: 2, reply: ok("1") });
    assert_eq!(hand.said(), ["granted B"]);
    let out = hand.restart_all(false);
    assert!(out.iter().any(|line| line.starts_with("locks? [B active a1] -> run B")), "{out:?}");
    assert_eq!(hand.said(), ["waits C"], "B holds what it asks for");
}

#[test]
fn who_waits_rests_when_room_is_needed() {
    // One whose time is out is about to be told, and does not leave before.
    for (room, until, rests) in [
        (3, None, true),
        (4, None, false),
        (3, Some(SECOND), true),
        (4, Some(SECOND), false),
        (3, Some(1), false),
    ] {
        let mut hand = two("leaf", true);
        hand.restart_with_room(room, root("B"));
        let until = until.map(crate::Timestamp::from_micros);
        let what = Happened::Queued { number: 0, until };
        let at = Address { root: root("B"), command: root("B") };
        let out = hand.tell_all(Input::Of { at, what });
        assert_eq!(out.iter().any(|line| line.contains("rest")), rests, "{room}: {out:?}");
    }
}

#[test]
fn nothing_begins_by_a_grant_when_the_engine_stops() {
    let mut hand = two("leaf", true);
    hand.queued("B", 0, None);
    hand.stop();
    hand.ran("/", ok("1"));
    assert_eq!(hand.said(), ["granted B"]);
    assert!(hand.has_locks("B", 0).is_empty());
    let out = hand.restart_all(false);
    assert_eq!(out, ["locks? [B active a1] -> run B leaf a1"]);
}

#[test]
fn a_late_lock_of_a_flow_is_an_outcome_like_others() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({ "wait": true }));
    assert_eq!(hand.asks("/", vec![ask_lock(0, "a")]), ["locks? []"]);
    let out = hand.say("/", Happened::Granted { number: 1 });
    assert_eq!(out, ["give / 0=null", "held 1"]);
    let out = hand.answers("/", vec![child(1, "redo", 1)]);
    assert_eq!(out, ["[once / 0 lock o1]", "[insert /1 active a1] -> run /1 leaf a1"]);
    assert_eq!(held(&hand), [(ROOT, "a".to_owned())]);

    hand.restart(false);
    let asks = vec![ask_lock(0, "a"), child(1, "redo", 1)];
    let out = hand.polled("/", 2, Polled { asks: vec![ask_lock(0, "a")], ..Polled::default() });
    assert_eq!(out, ["give / 0=null of a replay"]);
    let other = vec![Ask::Lock { position: 0, lock: lock("b") }];
    hand.restart(false);
    let out = hand.polled("/", 3, Polled { asks: other, ..Polled::default() });
    let expected = "disk `b` locked exclusive";
    assert!(out.iter().any(|line| line.contains(expected)), "{out:?} {asks:?}");
}

#[test]
fn a_late_lock_that_was_granted_and_not_told_is_granted_again() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![ask_lock(0, "a")]);
    hand.restart(false);
    let out = hand.polled("/", 2, Polled { asks: vec![ask_lock(0, "a")], ..Polled::default() });
    assert_eq!(out, ["locks? []"]);
    assert!(hand.said().is_empty());
    let out = hand.say("/", Happened::Granted { number: 1 });
    assert_eq!(out[0], "give / 0=null");
}

#[test]
fn a_late_lock_that_is_refused_is_a_failure_that_is_stored() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![ask_lock(0, "a")]);
    let refusal = conflict().into();
    let out = hand.say("/", Happened::Refused { ticket: None, number: 1, refusal });
    assert_eq!(out, [format!("give / 0!{}", conflict()), "held 1".to_owned()]);
    let out = hand.returns("/", ok("1"));
    assert_eq!(out[0], "[once / 0 lock failed o1]");
}

#[test]
fn a_late_lock_that_is_waited_for() {
    let waits = |until| {
        let mut hand = Hand::new();
        hand.submit_as(root("B"), "leaf", &json!({ "x": ["a"] }));
        hand.say("B", Happened::Granted { number: 0 });
        hand.submit("flow", &json!({ "wait": true }));
        hand.asks("/", vec![ask_lock(4, "a")]);
        assert_eq!(hand.said(), ["waits /"]);
        hand.queued("/", 5, until);
        hand
    };
    let mut hand = waits(None);
    hand.ran("B", ok("1"));
    assert_eq!(hand.said(), ["granted /"]);
    assert_eq!(hand.has_locks("/", 5), ["give / 4=null", "held 1"]);

    let mut hand = waits(Some(UNTIL));
    let out = hand.due("/", UNTIL);
    assert_eq!(out[0], "give / 4!it waited for disk `a` longer than it may");
    assert_eq!(hand.answers("/", Vec::new()), ["[leave / 5]", "[once / 4 lock failed o1]"]);
    hand.ran("B", ok("1"));
    assert!(hand.said().is_empty(), "it has left the line");
    assert!(hand.has_locks("/", 5).is_empty());

    let mut hand = waits(Some(UNTIL));
    let out = hand.polled("/", 1, over_with(ok("1")));
    assert_eq!(out[0], "disarm /");
    assert!(out[1].starts_with("[leave / 5]"), "what it does not want any more: {out:?}");
    hand.ran("B", ok("1"));
    assert!(hand.said().is_empty());
    assert!(held(&hand).is_empty());
}

#[test]
fn a_leaf_asks_late_and_is_answered_once() {
    let asks = |hand: &mut Hand, attempt| {
        hand.say("/", Happened::AsksLock { attempt, ticket: 5, lock: lock("a") })
    };
    let mut hand = Hand::new();
    hand.submit("leaf", &json!({ "wait": true }));
    assert_eq!(asks(&mut hand, 2), ["refuse 5"], "another run");
    assert_eq!(asks(&mut hand, 1), ["locks? [] -> accept 5"]);
    assert!(hand.say("/", Happened::Granted { number: 1 }).is_empty());
    assert_eq!(held(&hand), [(ROOT, "a".to_owned())]);
    hand.ran("/", ok("1"));
    assert!(held(&hand).is_empty());

    let mut hand = Hand::new();
    hand.submit("leaf", &json!({ "wait": true }));
    asks(&mut hand, 1);
    let refusal = conflict().into();
    let out = hand.say("/", Happened::Refused { ticket: Some(5), number: 1, refusal });
    assert_eq!(out, ["refuse 5"]);
    assert_eq!(hand.row("/").status.as_str(), "active", "it is no submit that was refused");

    let waits = || {
        let mut hand = Hand::new();
        hand.submit_as(root("B"), "leaf", &json!({ "x": ["a"] }));
        hand.say("B", Happened::Granted { number: 0 });
        hand.submit("leaf", &json!({ "wait": true }));
        asks(&mut hand, 1);
        hand.queued("/", 1, Some(UNTIL));
        hand
    };
    let mut hand = waits();
    hand.ran("B", ok("1"));
    assert_eq!(hand.has_locks("/", 1), ["disarm /", "accept 5"]);
    let mut hand = waits();
    assert_eq!(hand.due("/", UNTIL), ["[leave / 1] -> refuse 5"]);
    let mut hand = waits();
    let out = hand.ran("/", ok("1"));
    assert_eq!(out[..3], ["refuse 5", "disarm /", "[leave / 1]"]);
}

#[test]
fn what_an_interrupted_run_of_a_leaf_waits_for_is_left_by_the_next() {
    let asks = |hand: &mut Hand, attempt, key| {
        hand.say("/", Happened::AsksLock { attempt, ticket: 5, lock: lock(key) })
    };
    // Its first run waits for `a` and for `b`, which others have.
    let waits = |name| {
        let mut hand = Hand::new();
        for (of, key) in [("B", "a"), ("C", "b")] {
            hand.submit_as(root(of), "leaf", &json!({ "x": [key] }));
        }
        hand.submit(name, &json!({ "wait": true }));
        for (number, key) in [(1, "a"), (2, "b")] {
            asks(&mut hand, 1, key);
            hand.queued("/", number, None);
        }
        assert_eq!(hand.said(), ["waits /", "waits /"]);
        hand
    };
    let in_line = |hand: &Hand| {
        let lines = hand.lines();
        lines.iter().map(|waiting| waiting.request.locks[0].key.clone()).collect::<Vec<_>>()
    };

    let mut hand = waits("redo");
    hand.restart(true);
    assert_eq!(in_line(&hand), ["a", "b"], "its second run may ask for the same");
    asks(&mut hand, 2, "c");
    assert!(hand.said().is_empty(), "it has `c` in the stead of `a`");
    hand.say("/", Happened::Granted { number: 1 });
    assert_eq!(in_line(&hand), ["b"]);
    let what = Happened::Ran { attempt: 2, reply: ok("1") };
    let at = Address { root: ROOT, command: ROOT };
    let out = hand.tell_all(Input::Of { at, what });
    assert_eq!(out[0], "[leave / all]");
    assert_eq!(in_line(&hand), Vec::<String>::new());

    // It may not run again: it fails, and waits for nothing while it is undone.
    let mut hand = waits("leaf");
    hand.restart(true);
    assert_eq!(hand.row("/").status, CommandStatus::Failed);
    assert_eq!(in_line(&hand), Vec::<String>::new());

    // It was parked in the middle of a run, after deaths of the engine, and is let go on.
    let mut hand = waits("redo");
    (0..4).for_each(|_| drop(hand.restart(true)));
    assert_eq!(hand.row("/").status, CommandStatus::Stuck);
    hand.restart(false);
    hand.retry("/");
    let attempt = hand.row("/").attempt;
    assert_eq!(in_line(&hand), ["a", "b"]);
    let what = Happened::Ran { attempt, reply: ok("1") };
    let at = Address { root: ROOT, command: ROOT };
    let out = hand.tell_all(Input::Of { at, what });
    assert_eq!(out[0], "[leave / all]");
    assert_eq!(in_line(&hand), Vec::<String>::new());

    // It was about to be tried again when the engine stopped.
    let mut hand = waits("tried");
    let out = hand.ran("/", err("no"));
    assert_eq!(in_line(&hand), Vec::<String>::new());
    let due = Hand::alarm(&out);
    hand.restart(false);
    let out = hand.due("/", due);
    assert_eq!(out, ["[/ active a2] -> run / leaf a2"]);

    // Its tree is read anew while its code goes on, which has heard that it is to ask again.
    let mut hand = waits("leaf");
    let step = Step { root: ROOT, command: ROOT, request: None, writes: Vec::new() };
    let (running, reason) = ([ROOT].into(), "odd".to_owned());
    hand.reload(Loaded::Rejected {
        step,
        reason,
        skipped: Vec::new(),
        started: Started::default(),
        running,
    });
    asks(&mut hand, 1, "a");
    assert_eq!(hand.said(), ["waits /"]);
    assert_eq!(in_line(&hand), ["a", "b"], "in its order");
    hand.ran("/", ok("1"));
    assert_eq!(in_line(&hand), Vec::<String>::new());
}

#[test]
fn a_grant_to_a_run_of_a_flow_that_is_no_more_is_for_the_next_to_ask_again() {
    // The flow waits late for what B has, goes another way than it may, and is let go on.
    let mut hand = Hand::new();
    hand.submit_as(root("B"), "leaf", &json!({ "x": ["a"] }));
    hand.say("B", Happened::Granted { number: 0 });
    hand.submit("flow", &json!({ "wait": true }));
    hand.asks("/", vec![ask_lock(0, "a")]);
    hand.queued("/", 1, None);
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    hand.polled("/", 1, Polled { end, ..Polled::default() });
    hand.retry("/");
    let stored = hand.stored("/");
    hand.say("/", Happened::Replay { ticket: Some(8), stored });

    // It is granted before the new run has asked.
    hand.ran("B", ok("1"));
    assert_eq!(hand.said(), ["waits /", "granted /"]);
    assert!(hand.has_locks("/", 1).is_empty());
    let asks = vec![ask_lock(0, "a")];
    let out = hand.polled("/", 2, Polled { asks, ..Polled::default() });
    assert_eq!(out, ["locks? []"]);
    let out = hand.say("/", Happened::Granted { number: 1 });
    assert_eq!(out, ["give / 0=null", "held 1"]);
    let out = hand.polled("/", 2, Polled { given: true, asks: Vec::new(), end: None });
    assert_eq!(out, ["[once / 0 lock o1]"]);
}
