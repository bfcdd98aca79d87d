//! Flows that run for the first time.

use serde_json::json;

use super::hand::*;
use crate::context::requests::{Ask, AskedChild};
use crate::failure::Failure;
use crate::lock::LockProperties;
use crate::machine::{FlowEnd, Happened, Input, Polled};
use crate::testing::simulator::commands::{failure, spec_of};

fn flow() -> Hand {
    let mut hand = Hand::new();
    let out = hand.submit("flow", &json!({}));
    assert_eq!(out, ["[insert / active a1] -> accept 1, run / flow a1"]);
    hand
}

#[test]
fn the_end_of_a_child_and_the_next_child_come_out_together() {
    let mut hand = flow();
    let out = hand.asks("/", vec![child(0, "leaf", 0)]);
    assert_eq!(out, ["[insert /0 active a1] -> run /0 leaf a1"]);
    assert_eq!(hand.ran("/0", ok("5")), ["give / 0=5", "held 1"]);
    let out = hand.answers("/", vec![child(1, "leaf", 1)]);
    let steps = ["[/0 ended_successfully a1 o1]", "[insert /1 active a1] -> run /1 leaf a1"];
    assert_eq!(out, steps);
    assert_eq!(hand.ran("/1", ok("6")), ["give / 1=6", "held 2"]);
    let out = hand.returns("/", ok("7"));
    let steps = ["[/1 ended_successfully a1 o2]", "[/ ended_successfully a1 o3] -> ended 7"];
    assert_eq!(out, steps);
    assert!(hand.is_empty());
}

#[test]
fn a_slow_poll_lets_the_end_go_alone() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    assert_eq!(hand.ran("/0", ok("5")), ["give / 0=5", "held 1"]);
    assert!(hand.say("/", Happened::Flush { hold: 0 }).is_empty(), "an old number");
    let out = hand.say("/", Happened::Flush { hold: 1 });
    assert_eq!(out, ["[/0 ended_successfully a1 o1]"]);
    assert!(hand.say("/", Happened::Flush { hold: 1 }).is_empty());
    // What comes next is held anew, and the old number does not let it go.
    assert_eq!(hand.ran("/1", ok("6")), ["held 2"]);
    assert!(hand.say("/", Happened::Flush { hold: 1 }).is_empty());
    let out = hand.answers("/", Vec::new());
    assert_eq!(out, ["give / 1=6"], "it is held still, under the same number");
    let out = hand.say("/", Happened::Flush { hold: 2 });
    assert_eq!(out, ["[/1 ended_successfully a1 o2]"]);
}

#[test]
fn outcomes_are_given_in_the_order_of_ends() {
    let mut hand = flow();
    hand.asks("/", (0..4).map(|n| child(n, "leaf", n)).collect());
    assert_eq!(hand.ran("/2", ok("2")), ["give / 2=2", "held 1"]);
    for path in ["/3", "/0", "/1"] {
        let failed = if path == "/0" { err("x") } else { ok("9") };
        assert!(hand.ran(path, failed).is_empty(), "the flow is being polled");
    }
    let out = hand.answers("/", Vec::new());
    assert_eq!(out, ["give / 3=9 0!x 1=9"], "what ended meanwhile, at once");
}

#[test]
fn a_once_runs_after_all_that_the_flow_was_given() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0)]);
    hand.ran("/0", ok("5"));
    let out = hand.answers("/", vec![once(1, "step")]);
    assert_eq!(out, ["[/0 ended_successfully a1 o1]", "[] -> turn / 1 after 1"]);
    let out = hand.asks("/", vec![once_ended(1, "6")]);
    assert_eq!(out, ["give / 1=6", "held 2"]);
    let out = hand.answers("/", vec![once(2, "next")]);
    assert_eq!(out, ["[once / 1 step o2]", "[] -> turn / 2 after 2"]);
    let result = Err(failure("x"));
    let out = hand.asks("/", vec![Ask::OnceEnded { position: 2, result }]);
    assert_eq!(out, ["give / 2!x", "held 3"]);
    let out = hand.returns("/", ok("7"));
    assert_eq!(out, ["[once / 2 next failed o3]", "[/ ended_successfully a1 o4] -> ended 7"]);
}

#[test]
fn a_once_waits_for_what_the_flow_was_given_since_it_asked() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0), once(1, "step")]);
    hand.ran("/0", ok("5"));
    let turn = |given| Happened::Turn { attempt: 1, position: 1, given };
    assert!(hand.say("/", turn(0)).is_empty(), "the end of the child is held for the poll");
    let out = hand.answers("/", Vec::new());
    assert_eq!(out, ["[/0 ended_successfully a1 o1]", "[] -> turn / 1 after 1"]);
    assert_eq!(hand.say("/", turn(1)), ["let run / 1"]);
    hand.asks("/", vec![once_ended(1, "6")]);
    assert!(hand.say("/", turn(2)).is_empty(), "it has ended");
}

#[test]
fn a_flow_that_returns_ok_drains_and_an_undelivered_failure_counts() {
    for (last, end) in [
        (ok("6"), "[/ ended_successfully a1 o3] -> ended 7"),
        (err("late"), "[/ ended_with_failure a1 o3] -> ended! late"),
    ] {
        let mut hand = flow();
        hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
        hand.ran("/0", ok("5"));
        assert_eq!(hand.returns("/", ok("7")), ["[/0 ended_successfully a1 o1]"]);
        let out = hand.ran("/1", last);
        assert_eq!(out[1], end);
        assert!(hand.row("/").executed, "it returned Ok");
    }
}

#[test]
fn a_delivered_failure_is_the_flows_own_affair() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0)]);
    assert_eq!(hand.ran("/0", err("x")), ["give / 0!x", "held 1"]);
    let out = hand.returns("/", ok("7"));
    assert_eq!(out[1], "[/ ended_successfully a1 o2] -> ended 7");
}

#[test]
fn a_failure_that_was_given_to_nobody_counts() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    hand.ran("/0", ok("5"));
    let reply = Box::new(ok("7"));
    let unseen: Option<Failure> = Some(failure("unseen"));
    let end = Some(FlowEnd::Returned { reply, unseen });
    hand.polled("/", 1, Polled { given: true, asks: Vec::new(), end });
    let out = hand.ran("/1", err("later"));
    assert_eq!(out[1], "[/ ended_with_failure a1 o3] -> ended! unseen");
}

#[test]
fn a_failure_that_crosses_the_return_counts() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0)]);
    assert_eq!(hand.ran("/0", err("crossed")), ["give / 0!crossed", "held 1"]);
    let polled = Polled { given: false, asks: Vec::new(), end: over(ok("7")) };
    let out = hand.polled("/", 1, polled);
    assert_eq!(out[1], "[/ ended_with_failure a1 o2] -> ended! crossed");
}

#[test]
fn a_flow_that_fails_waits_for_its_children() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1), child(2, "leaf", 2)]);
    hand.ran("/0", err("x"));
    let out = hand.returns("/", with_hooks(err("x")));
    assert_eq!(out, ["[/0 ended_with_failure a1 o1]", "[/ execution_failed a1]"]);
    assert_eq!(hand.ran("/1", ok("5")), ["[/1 ended_successfully a1 o2]"]);
    let out = hand.ran("/2", ok("6"));
    let steps = ["[/2 ended_successfully a1 o3]", "[/ failed a1] -> run / end_with_failure"];
    assert_eq!(out, steps);
    let out = hand.say("/", Happened::Hooked(ok("null")));
    assert_eq!(out, ["[/ ended_with_failure a1 o4] -> ended! x"]);
}

#[test]
fn a_child_that_meets_a_lock_ends_as_failed_and_its_flow_goes_on() {
    let mut hand = flow();
    let locked = json!({ "x": ["a"] });
    let out = hand.asks("/", vec![child_with(0, "leaf", &locked), child_with(1, "leaf", &locked)]);
    let start = |n| format!("locks? [/{n} active a1] -> run /{n} leaf a1");
    let insert = |n| format!("[insert /{n} not_started a0]");
    assert_eq!(out, [insert(0), start(0), insert(1), start(1)]);
    assert!(hand.say("/0", Happened::Granted { number: 0 }).is_empty());
    let out =
        hand.say("/1", Happened::Refused { ticket: None, number: 0, refusal: conflict().into() });
    assert_eq!(out[0], format!("give / 1!{}", conflict()));
    assert_eq!(out[1..], ["held 1"]);
    let out = hand.answers("/", Vec::new());
    assert_eq!(out, ["[/1 ended_with_failure a0 o1, release /1]"]);
    assert_eq!(hand.row("/0").status.as_str(), "active");
    assert_eq!(hand.locks(), [(id("/0"), "a".to_owned())]);
}

#[test]
fn a_child_may_take_what_its_ancestors_hold() {
    let mut hand = Hand::new();
    let locked = json!({ "x": ["a"] });
    hand.submit("flow", &locked);
    hand.say("/", Happened::Granted { number: 0 });
    hand.asks("/", vec![child(0, "flow", 0)]);
    hand.asks("/0", vec![child_with(0, "leaf", &locked)]);
    assert_eq!(hand.locks(), [(ROOT, "a".to_owned()), (id("/0/0"), "a".to_owned())]);
}

#[test]
fn a_child_that_no_store_takes_is_stored_as_failed_in_one_write() {
    let mut hand = flow();
    let child = AskedChild {
        spec: spec_of("leaf"),
        locks: LockProperties::default(),
        parameters: Err(failure("too large")),
        canonical: None,
        retry: None,
    };
    let out = hand.asks("/", vec![Ask::Child { position: 0, child: Box::new(child) }]);
    assert_eq!(out, ["give / 0!too large", "held 1"]);
    let out = hand.returns("/", err("too large"));
    let steps = [
        "[insert /0 ended_with_failure a0 o1]",
        "[/ ended_with_failure a1 o2] -> ended! too large",
    ];
    assert_eq!(out, steps);
}

#[test]
fn a_stop_drops_flows_and_the_ends_of_leaves_are_stored() {
    let mut hand = flow();
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    assert_eq!(hand.ran("/0", ok("5")), ["give / 0=5", "held 1"]);
    let out = hand.tell(Input::Stop);
    assert_eq!(out, ["drop /", "[/0 ended_successfully a1 o1]"]);
    assert!(hand.returns("/", ok("7")).is_empty(), "too late");
    assert_eq!(hand.ran("/1", ok("6")), ["[/1 ended_successfully a1 o2]"]);
    let out = hand.restart(false);
    assert_eq!(out, ["[/ active a2] -> run / replay a2"], "no death is counted");
}
