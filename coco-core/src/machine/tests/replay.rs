//! Flows that run again over what is stored.

use serde_json::json;

use super::hand::*;
use crate::context::requests::Ask;
use crate::machine::{FlowEnd, Happened, Polled};

/// A flow whose first two children have ended, the second one first, and whose third runs.
fn stored() -> Hand {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    hand.ran("/1", err("x"));
    hand.answers("/", Vec::new());
    hand.ran("/0", ok("5"));
    hand.answers("/", vec![once(2, "step"), child(3, "redo", 3)]);
    hand.asks("/", vec![once_ended(2, "6")]);
    hand.answers("/", Vec::new());
    hand
}

fn replaying() -> Hand {
    let mut hand = stored();
    let out = hand.restart(true);
    let steps = [
        "[/ active a1 d1]",
        "[/3 active a2] -> run /3 leaf a2",
        "[/ active a2 d1] -> run / replay a2",
    ];
    assert_eq!(out, steps);
    hand
}

fn asks_again(hand: &mut Hand, asks: Vec<Ask>) -> Vec<String> {
    hand.polled("/", 2, Polled { asks, ..Polled::default() })
}

fn answers_again(hand: &mut Hand, asks: Vec<Ask>) -> Vec<String> {
    hand.polled("/", 2, Polled { given: true, asks, end: None })
}

#[test]
fn outcomes_are_given_one_at_a_time_in_the_order_of_ends() {
    let mut hand = replaying();
    let out = asks_again(&mut hand, vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    assert_eq!(out, ["give / 1!x of a replay"]);
    assert_eq!(answers_again(&mut hand, Vec::new()), ["give / 0=5 of a replay"]);
    let out = answers_again(&mut hand, vec![once(2, "step"), child(3, "redo", 3)]);
    assert_eq!(out, ["give / 2=6"], "the last that is stored ends the replay");
    assert!(answers_again(&mut hand, Vec::new()).is_empty(), "nothing is asked or run again");
    let out = hand.say("/3", Happened::Ran { attempt: 2, reply: ok("7") });
    assert_eq!(out, ["give / 3=7", "held 1"]);
}

/// The reason for which the flow is stuck when it asks like this.
fn stuck_by(hand: &mut Hand, out: &[String]) -> String {
    let row = hand.row("/");
    assert_eq!(row.status.as_str(), "stuck", "{out:?}");
    assert_eq!(out[0], "drop /");
    let reason = out[1].strip_prefix("[/ stuck a2 d1] -> stuck /: ").expect("it is stuck");
    assert!(row.stuck_reason.is_some_and(|stored| stored.contains("diverged")));
    reason.to_owned()
}

#[test]
fn another_request_is_stuck_with_both_sides_named() {
    for (ask, asked) in [
        (child(0, "redo", 0), r#"`redo` {"n":0}"#),
        (child(0, "leaf", 9), r#"`leaf` {"n":9}"#),
        (once(0, "step"), "once `step`"),
    ] {
        let mut hand = replaying();
        let out = asks_again(&mut hand, vec![ask]);
        let expected =
            format!(r#"request 0 was `leaf` {{"n":0}} before, and now the flow asks for {asked}"#);
        assert_eq!(stuck_by(&mut hand, &out), expected);
    }
}

#[test]
fn another_once_is_stuck_with_both_sides_named() {
    for (ask, asked) in
        [(once(2, "other"), "once `other`"), (child(2, "leaf", 2), r#"`leaf` {"n":2}"#)]
    {
        let mut hand = replaying();
        asks_again(&mut hand, vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
        answers_again(&mut hand, Vec::new());
        let out = answers_again(&mut hand, vec![ask]);
        let expected =
            format!("request 2 was once `step` before, and now the flow asks for {asked}");
        assert_eq!(stuck_by(&mut hand, &out), expected);
    }
}

#[test]
fn key_order_of_parameters_does_not_matter() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child_with(0, "redo", &json!({ "a": 1, "b": 2 }))]);
    hand.restart(true);
    let again = serde_json::from_str(r#"{"b":2,"a":1}"#).expect("JSON");
    assert!(asks_again(&mut hand, vec![child_with(0, "redo", &again)]).is_empty());
}

#[test]
fn a_stored_child_that_is_never_asked_for_is_stuck() {
    let mut hand = replaying();
    let out = asks_again(&mut hand, vec![child(0, "leaf", 0)]);
    let expected = r#"request 1 was `leaf` {"n":1} before, and now the flow waits for something else without asking for it"#;
    assert_eq!(stuck_by(&mut hand, &out), expected);

    let mut hand = replaying();
    asks_again(&mut hand, vec![child(0, "leaf", 0), child(1, "leaf", 1)]);
    let polled = Polled { given: true, asks: Vec::new(), end: over(ok("7")) };
    let out = hand.polled("/", 2, polled);
    let expected =
        "request 2 was once `step` before, and now the flow returned without asking for it";
    assert_eq!(stuck_by(&mut hand, &out), expected);
}

#[test]
fn a_wait_for_something_foreign_is_stuck() {
    let mut hand = replaying();
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    let out = hand.polled("/", 2, Polled { end, ..Polled::default() });
    assert_eq!(stuck_by(&mut hand, &out), "it sleeps");
}

#[test]
fn a_gap_is_legal() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "leaf", 0)]);
    hand.ran("/0", ok("5"));
    hand.answers("/", vec![once(3, "step"), child(4, "redo", 4)]);
    hand.restart(true);
    asks_again(&mut hand, vec![child(0, "leaf", 0)]);
    let out = answers_again(&mut hand, vec![once(3, "step"), child(4, "redo", 4)]);
    assert_eq!(out, ["[] -> turn / 3 after 1"], "the step runs again, the child does not");
    assert_eq!(asks_again(&mut hand, vec![once_ended(3, "6")]), ["give / 3=6", "held 1"]);
}

#[test]
fn what_a_diverging_replay_asks_anew_does_not_happen() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "redo", 0)]);
    hand.restart(true);
    let out = asks_again(&mut hand, vec![child(1, "redo", 0)]);
    assert!(out.iter().all(|step| !step.contains("insert")), "{out:?}");
    assert!(out.iter().any(|step| step.contains("stuck")), "{out:?}");
}

#[test]
fn a_retry_of_a_stuck_flow_takes_in_what_ended_meanwhile() {
    let mut hand = replaying();
    asks_again(&mut hand, vec![once(0, "other")]);
    assert!(asks_again(&mut hand, vec![child(0, "leaf", 0)]).is_empty(), "there is no run");
    let out = hand.say("/", Happened::Retry { ticket: 2 });
    assert_eq!(out, ["[] -> reload / 2"]);
    let stored = hand.stored("/");
    let reply = ok("7");
    let out = hand.say("/3", Happened::Ran { attempt: 2, reply });
    assert_eq!(
        out,
        ["[/3 ended_successfully a2 o4, release /3]"],
        "siblings end, and nothing is given"
    );
    let out = hand.say("/", Happened::Replay { ticket: Some(2), stored });
    assert_eq!(out, ["[/ active a3 d1, audit retry /] -> accept 2, run / replay a3, unstuck"]);
    let stored = hand.stored("/");
    assert_eq!(hand.say("/", Happened::Replay { ticket: Some(3), stored }), ["refuse 3"]);

    let asks = vec![child(0, "leaf", 0), child(1, "leaf", 1)];
    let out = hand.polled("/", 3, Polled { asks, ..Polled::default() });
    assert_eq!(out, ["give / 1!x of a replay"]);
    let mut answer = |asks| hand.polled("/", 3, Polled { given: true, asks, end: None });
    assert_eq!(answer(Vec::new()), ["give / 0=5 of a replay"]);
    assert_eq!(answer(vec![once(2, "step"), child(3, "redo", 3)]), ["give / 2=6 3=7"]);
}

#[test]
fn an_ancestor_waits_for_a_stuck_flow_and_its_siblings_end() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "flow", 0), child(1, "leaf", 1)]);
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    hand.polled("/0", 1, Polled { end, ..Polled::default() });
    hand.ran("/1", ok("5"));
    assert_eq!(hand.returns("/", ok("6")), ["[/1 ended_successfully a1 o1]"]);
    let out = hand.restart(true);
    let all = ["stuck /0: it sleeps", "[/ active a1 d1]", "[/ active a2 d1] -> run / replay a2"];
    assert_eq!(out, all, "and after a restart too");
    let polled = Polled { asks: vec![child(0, "leaf", 0)], ..Polled::default() };
    assert!(hand.polled("/0", 1, polled).is_empty(), "what its last run said is not heard");
}
