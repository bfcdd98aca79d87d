//! Time: time-outs, sleeps, and roots that are to start later.

use serde_json::json;

use super::hand::*;
use crate::machine::{Address, Happened, Input};

#[test]
fn a_leaf_that_takes_too_long_is_told_and_fails() {
    let mut hand = Hand::new();
    let out = hand.submit("timed", &json!({}));
    let at = Hand::alarm(&out);
    assert!(out[0].ends_with(&format!("run / leaf a1, wake / at {at}")), "{out:?}");
    assert!(hand.due("/", at - 2).is_empty());
    assert_eq!(hand.due("/", at), ["[/ active a1 cancelled]", "[] -> cancel /"]);
    let out = hand.ran("/", ok("5"));
    let end = "ended! `timed` took longer than its time-out of 10s";
    assert_eq!(
        out,
        ["disarm /".to_owned(), format!("[/ ended_with_failure a1 o1 cancelled] -> {end}")]
    );
}

#[test]
fn what_ends_in_time_is_not_woken() {
    let mut hand = Hand::new();
    let at = Hand::alarm(&hand.submit("timed", &json!({})));
    let out = hand.ran("/", with_hooks(ok("5")));
    assert_eq!(out, ["disarm /", "[/ succeeded a1] -> run / end_successfully"]);
    assert!(hand.due("/", at).is_empty());
}

#[test]
fn a_time_out_counts_from_the_first_start_over_a_restart() {
    let mut hand = Hand::new();
    let at = Hand::alarm(&hand.submit("timed", &json!({})));
    hand.wait(5);
    let out = hand.restart(true);
    assert_eq!(out[1], format!("[/ active a2 d1] -> run / leaf a2, wake / at {at}"));
    hand.wait(6);
    let out = hand.restart(false);
    assert!(out.iter().all(|line| !line.contains("leaf")), "it is over: {out:?}");
    assert!(out.last().unwrap().ends_with("-> run / compensate -"), "{out:?}");
}

#[test]
fn the_start_that_is_stored_is_the_one_that_counts() {
    let mut hand = Hand::new();
    let at = Hand::alarm(&hand.submit("timed", &json!({ "x": ["a"] })));
    hand.wait(3);
    hand.say("/", Happened::Granted { number: 0 });
    let out = hand.due("/", at);
    assert_eq!(out, ["[/ active a1 cancelled]", "[] -> cancel /"]);
}

#[test]
fn a_flow_is_dropped_and_what_is_in_it_is_cancelled() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        let at = Hand::alarm(&hand.submit("timed flow", &json!({})));
        hand.asks("/", vec![child(0, "redo", 0), sleep(1, 60)]);
        let out = if restarts {
            hand.wait(11);
            hand.restart(false)
        } else {
            hand.due("/", at)
        };
        let at = |what: &str| {
            out.iter().position(|line| line == what).unwrap_or_else(|| panic!("{what}: {out:?}"))
        };
        assert!(at("[] -> cancel /0") < at("[] -> drop /"));
        let attempt = hand.row("/0").attempt;
        let out = hand.say("/0", Happened::Ran { attempt, reply: ok("1") });
        let text = "`timed flow` took longer than its time-out of 10s";
        assert!(hand.row("/").failure.is_some(), "{out:?}");
        assert!(hand.row("/").failure.unwrap().contains(text));
    }
}

#[test]
fn a_retry_pause_does_not_outlast_the_time_out() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let crate::context::requests::Ask::Child { position, mut child } = child(0, "timed", 0) else {
        panic!("a child")
    };
    child.retry = Some(crate::retry::Retry::new(9).backoff(std::time::Duration::from_secs(60)));
    let ask = crate::context::requests::Ask::Child { position, child };
    let deadline = Hand::alarm(&hand.asks("/", vec![ask]));
    let out = hand.ran("/0", err("x"));
    assert_eq!(out[1], format!("wake /0 at {deadline}"), "{out:?}");
    let out = hand.due("/0", deadline);
    assert!(out.iter().any(|line| line.starts_with("[/0 failed a1 cancelled]")), "{out:?}");
}

#[test]
fn what_waits_for_a_place_after_its_pause_times_out_too() {
    let mut hand = Hand::new();
    let deadline = Hand::alarm(&hand.submit("timed single", &json!({})));
    let out = hand.ran("/", err("x"));
    let pause = Hand::alarm(&out[2..]);
    hand.submit_as(root("B"), "timed single", &json!({}));
    assert!(hand.due("/", pause).is_empty(), "no place");
    let out = hand.due("/", deadline);
    assert!(out.last().unwrap().starts_with("[/ failed a1 cancelled]"), "{out:?}");
}

#[test]
fn sleeps_and_a_child_end_in_the_order_of_time() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let out = hand.asks("/", vec![sleep(0, 20), sleep(1, 10), child(2, "leaf", 2)]);
    let (late, early) = (Hand::alarm(&out[..1]), Hand::alarm(&out[1..2]));
    assert_eq!(out[0], format!("[sleep / 0] -> wake / at {late}"));
    assert_eq!(late - early, 10 * SECOND);
    assert_eq!(hand.due("/", early), ["give / 1=null", "held 1"]);
    assert_eq!(hand.answers("/", Vec::new()), ["[once / 1 sleep o1]"]);
    hand.ran("/2", ok("5"));
    hand.answers("/", Vec::new());
    assert_eq!(hand.due("/", late), ["give / 0=null", "held 3"]);
    let out = hand.returns("/", ok("6"));
    assert_eq!(out, ["[once / 0 sleep o3]", "[/ ended_successfully a1 o4] -> ended 6"]);
}

#[test]
fn two_sleeps_that_are_over_together_end_in_their_order() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let out = hand.asks("/", vec![sleep(0, 20), sleep(1, 10)]);
    hand.wait(30);
    assert_eq!(hand.due("/", Hand::alarm(&out[1..])), ["give / 1=null 0=null", "held 1"]);
    hand.answers("/", Vec::new());
    assert!(hand.due("/", Hand::alarm(&out[..1])).is_empty(), "it has ended already");
}

#[test]
fn a_sleep_goes_on_over_a_restart_and_its_end_is_replayed() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let out = hand.asks("/", vec![sleep(0, 10), sleep(1, 20)]);
    let (early, late) = (Hand::alarm(&out[..1]), Hand::alarm(&out[1..]));
    hand.due("/", early);
    hand.answers("/", Vec::new());
    let out = hand.restart(true);
    let all = ["[/ active a1 d1]".to_owned(), format!("wake / at {late}")];
    assert!(all.iter().all(|line| out.contains(line)), "{out:?}");
    let out = hand.polled("/", 2, polled_with(vec![sleep(0, 10), sleep(1, 20)]));
    assert_eq!(out, ["give / 0=null"]);
    hand.polled("/", 2, answer_with(Vec::new()));
    assert_eq!(hand.due("/", late), ["give / 1=null", "held 1"]);
}

#[test]
fn another_duration_is_another_way() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![sleep(0, 10)]);
    hand.restart(true);
    let out = hand.polled("/", 2, polled_with(vec![sleep(0, 11)]));
    let text = "request 0 was a sleep of 10s before, and now the flow asks for a sleep of 11s";
    assert_eq!(out[1], format!("[/ stuck a2 d1] -> stuck /: {text}"));
}

#[test]
fn a_sleep_that_ends_while_a_stuck_flow_is_read_ends_once() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let at = Hand::alarm(&hand.asks("/", vec![sleep(0, 10)]));
    let end = Some(crate::machine::FlowEnd::Diverged("odd".to_owned()));
    hand.polled("/", 1, crate::machine::Polled { end, ..Default::default() });
    hand.retry("/");
    let stored = hand.stored("/");
    assert_eq!(hand.due("/", at), ["[once / 0 sleep o1]"]);
    let out = hand.say("/", Happened::Replay { ticket: Some(8), stored });
    assert!(!out[0].contains("wake"), "{out:?}");
    let out = hand.polled("/", 2, polled_with(vec![sleep(0, 10)]));
    assert_eq!(out, ["give / 0=null"]);
    assert!(hand.due("/", at).is_empty());
}

#[test]
fn a_root_starts_when_its_time_has_come() {
    for restarts in [false, true] {
        let mut hand = Hand::new();
        let out = hand.submit_later(ROOT, "leaf", None, Some(50 * SECOND));
        assert_eq!(out, ["[insert / not_started a0 waits] -> accept 1, wake / at 50000000"]);
        if restarts {
            assert_eq!(hand.restart(true), ["wake / at 50000000"], "no death is counted");
        }
        assert!(hand.due("/", 49 * SECOND).is_empty());
        assert_eq!(hand.due("/", 50 * SECOND), ["[/ active a1] -> run / leaf a1"]);
    }
}

#[test]
fn a_time_that_has_passed_is_no_wait() {
    let mut hand = Hand::new();
    hand.wait(60);
    let out = hand.submit_later(ROOT, "leaf", None, Some(50 * SECOND));
    assert_eq!(out, ["[insert / active a1] -> accept 1, run / leaf a1"]);
}

#[test]
fn a_key_that_is_taken_is_told_and_nothing_is_left() {
    for start_at in [None, Some(50 * SECOND)] {
        let mut hand = Hand::new();
        hand.submit_later(ROOT, "leaf", Some("key"), start_at);
        hand.submit_later(root("B"), "leaf", Some("key"), start_at);
        let at = Address { root: root("B"), command: root("B") };
        let what = Happened::Duplicate { ticket: 1, taken: ROOT };
        assert_eq!(hand.tell(Input::Of { at, what }), ["refuse 1"]);
        assert!(hand.say("/", Happened::Granted { number: 0 }).is_empty());
        if start_at.is_some() {
            let out = hand.due("/", 50 * SECOND);
            assert_eq!(out, ["[/ active a1] -> run / leaf a1"]);
        }
        let out = hand.ran("/", ok("5"));
        assert_eq!(out, ["[/ ended_successfully a1 o1] -> ended 5"]);
        assert!(hand.is_empty());
    }
}

#[test]
fn a_sleep_of_a_flow_whose_run_is_over_does_not_end() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let at = Hand::alarm(&hand.asks("/", vec![sleep(0, 10), child(1, "leaf", 1)]));
    let out = hand.polled("/", 1, over_with(with_hooks(err("x"))));
    assert_eq!(out, ["[/ execution_failed a1]"]);
    assert!(hand.due("/", at).is_empty());
    hand.ran("/1", ok("1"));
    assert!(hand.due("/", at).is_empty(), "nor while its end hook runs");
}
