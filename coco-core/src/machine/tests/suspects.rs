//! Crash limits: who is suspected, tried and parked when the engine dies again and again.

use serde_json::json;

use super::hand::*;
use crate::context::requests::Ask;
use crate::machine::{FlowEnd, Happened, Polled};
use crate::retry::Retry;

fn deaths(hand: &Hand, paths: &[&str]) -> Vec<i32> {
    paths.iter().map(|path| hand.row(path).deaths).collect()
}

const LIMIT: &str = "the engine died 3 times while this tree ran, the last time while it ran alone";

/// Three trees during which the engine died twice.
fn suspects() -> (Hand, Vec<String>) {
    let mut hand = Hand::new();
    for path in ["", "B", "C"] {
        hand.submit_as(root(path), "redo", &json!({}));
    }
    hand.restart_all(true);
    assert_eq!(deaths(&hand, &["/", "B", "C"]), [1, 1, 1]);
    let out = hand.restart_all(true);
    (hand, out)
}

#[test]
fn two_deaths_make_suspects_and_they_run_one_at_a_time() {
    let (mut hand, out) = suspects();
    assert_eq!(deaths(&hand, &["/", "B", "C"]), [3, 2, 2], "one is on trial");
    let runs: Vec<_> = out.iter().filter(|line| line.contains("-> run")).collect();
    assert_eq!(runs, ["[/ active a3 d3] -> run / leaf a3"]);
    let out = hand.say("/", Happened::Ran { attempt: 3, reply: ok("1") });
    assert!(out[0].starts_with("[/ ended_successfully a3"), "{out:?}");
    assert_eq!(out[1..], ["[B active a2 d3]", "[B active a3 d3] -> run B leaf a3"]);
}

#[test]
fn a_death_on_trial_convicts_that_tree_alone() {
    let (mut hand, _) = suspects();
    let out = hand.restart_all(true);
    assert_eq!(out[0], format!("[/ stuck a3 d3] -> stuck /: {LIMIT}"));
    assert_eq!(hand.row("/").status.as_str(), "stuck");
    assert_eq!(deaths(&hand, &["/", "B", "C"]), [3, 3, 2], "the next one is on trial");
    let out = hand.restart_all(false);
    assert!(out.iter().any(|line| *line == format!("stuck /: {LIMIT}")), "{out:?}");
    assert!(out.iter().all(|line| !line.contains("run / ")), "it stays so: {out:?}");
}

#[test]
fn a_clean_stop_convicts_nobody_and_forgets_nothing() {
    let (mut hand, _) = suspects();
    hand.stop();
    let out = hand.restart_all(false);
    assert_eq!(deaths(&hand, &["/", "B", "C"]), [3, 2, 2], "the trial begins again");
    let runs = out.iter().filter(|line| line.contains("-> run")).count();
    assert_eq!(runs, 1);
    assert!(out.iter().any(|line| line == "[/ active a3 d2]"), "{out:?}");
}

#[test]
fn one_death_is_none_after_a_clean_stop() {
    let mut hand = Hand::new();
    hand.submit("redo", &json!({}));
    hand.restart(true);
    hand.restart(false);
    assert_eq!(hand.row("/").deaths, 1);
    hand.restart(true);
    assert_eq!(hand.row("/").deaths, 3, "the second one, and on trial");
}

#[test]
fn a_trial_is_over_when_something_of_the_tree_has_ended() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.submit_as(root("B"), "redo", &json!({}));
    let asks = || vec![child(0, "redo", 0), child(1, "redo", 1)];
    hand.asks("/", asks());
    hand.restart_all(true);
    let out = hand.restart_all(true);
    assert!(out.iter().all(|line| !line.contains("run B")), "{out:?}");
    let attempt = hand.row("/").attempt;
    hand.polled("/", attempt, polled_with(asks()));
    let reply = ok("1");
    let out = hand.say("/0", Happened::Ran { attempt: 3, reply });
    let ended = out.iter().position(|line| line.starts_with("[/0 ended_successfully"));
    let next = out.iter().position(|line| line.contains("run B leaf"));
    assert!(ended.is_some() && ended < next, "its end is stored before the next trial: {out:?}");
    hand.restart_all(true);
    assert_eq!(hand.row("/").deaths, 1, "that counts anew");
    assert_eq!(hand.row("B").status.as_str(), "stuck");
}

#[test]
fn a_trial_is_over_when_nothing_of_the_tree_runs() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.submit_as(root("B"), "redo", &json!({}));
    hand.asks("/", vec![sleep(0, 1000)]);
    hand.restart_all(true);
    hand.restart_all(true);
    assert_eq!(deaths(&hand, &["/", "B"]), [3, 2]);
    let attempt = hand.row("/").attempt;
    let out = hand.polled("/", attempt, polled_with(vec![sleep(0, 1000)]));
    assert_eq!(out[0], "[/ active a3]", "it only sleeps");
    assert!(out.iter().any(|line| line.contains("run B leaf")), "{out:?}");
    assert_eq!(deaths(&hand, &["/", "B"]), [0, 3]);
}

#[test]
fn a_flow_that_returned_runs_no_step_that_it_dropped() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.submit_as(root("B"), "redo", &json!({}));
    let asks = || vec![once(0, "step"), child(1, "leaf", 1)];
    hand.asks("/", asks());
    hand.ran("/1", with_hooks(ok("1")));
    hand.say("/1", Happened::Hooked(err("not yet")));
    hand.restart_all(true);
    let out = hand.restart_all(true);
    assert!(out.iter().all(|line| !line.contains("run B")), "{out:?}");
    let attempt = hand.row("/").attempt;
    hand.polled("/", attempt, polled_with(asks()));
    let out = hand.polled("/", attempt, over_with(ok("2")));
    assert!(out.iter().any(|line| line.contains("run B leaf")), "it waits for `/1`: {out:?}");
}

#[test]
fn a_trial_does_not_wait_for_a_step_that_its_flow_has_dropped() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.submit_as(root("B"), "redo", &json!({}));
    hand.asks("/", vec![once(0, "step"), sleep(1, 1000)]);
    hand.restart_all(true);
    hand.restart_all(true);
    let attempt = hand.row("/").attempt;
    let out = hand.polled("/", attempt, polled_with(vec![once(0, "step"), sleep(1, 1000)]));
    assert!(out.iter().all(|line| !line.contains("run B")), "a step is about to run: {out:?}");
    let out = hand.polled("/", attempt, polled_with(vec![Ask::Dropped { position: 0 }]));
    assert!(out.iter().any(|line| line.contains("run B leaf")), "it only sleeps: {out:?}");
}

#[test]
fn a_hook_on_trial_is_convicted_also_in_its_second_attempt() {
    let mut hand = Hand::with_hook_retry(Retry::new(5));
    hand.submit("leaf", &json!({}));
    hand.ran("/", with_hooks(ok("5")));
    let out = hand.say("/", Happened::Hooked(err("not yet")));
    hand.due("/", Hand::alarm(&out));
    hand.restart(true);
    let out = hand.restart(true);
    assert_eq!(hand.row("/").deaths, 3, "it is tried, as its time has come: {out:?}");
    assert!(out.contains(&"[] -> run / end_successfully".to_owned()), "{out:?}");
    hand.restart(true);
    assert_eq!(hand.row("/").status.as_str(), "stuck");
    let out = hand.retry("/");
    assert!(out.last().unwrap().contains("run / end_successfully"), "{out:?}");
    assert_eq!(hand.row("/").deaths, 0);
}

fn frozen() -> Hand {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "redo", 0), child(1, "flow", 1)]);
    for _ in 0..3 {
        hand.restart(true);
    }
    assert_eq!(hand.row("/").status.as_str(), "stuck");
    hand
}

#[test]
fn a_frozen_tree_goes_on_when_its_root_is_retried() {
    let mut hand = frozen();
    assert_eq!(hand.retry("/0"), ["refuse 8"], "that one is not stuck");
    let out = hand.retry("/");
    assert_eq!(out[0], "[audit retry /, / active a3] -> accept 8, unstuck");
    assert!(out.iter().any(|line| line.contains("run /0 leaf")), "{out:?}");
    assert!(out.iter().any(|line| line.contains("run /1 flow")), "{out:?}");
    assert!(out.iter().any(|line| line.contains("run / replay")), "{out:?}");
    assert_eq!(deaths(&hand, &["/"]), [0]);
}

#[test]
fn a_frozen_tree_that_is_cancelled_ends() {
    let mut hand = frozen();
    let out = hand.cancel("/");
    assert!(out[0].ends_with("-> accept 7, unstuck"), "{out:?}");
    assert!(out.iter().all(|line| !line.contains("leaf") && !line.contains("replay")), "{out:?}");
    for _ in 0..4 {
        for path in ["/0", "/1", "/"] {
            hand.hooked(path);
        }
    }
    assert!(hand.is_empty());
    assert!(hand.row("/").failure.unwrap().contains("it was cancelled"));
}

#[test]
fn who_retries_a_frozen_tree_hears_what_else_is_stuck() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "redo", 0), child(1, "flow", 1)]);
    let end = Some(FlowEnd::Diverged("it sleeps".to_owned()));
    hand.polled("/1", 1, Polled { end, ..Polled::default() });
    for _ in 0..3 {
        hand.restart(true);
    }
    assert_eq!(hand.retry("/1"), ["refuse 8"], "nothing goes on before the root is retried");
    let out = hand.retry("/");
    assert!(out[1].ends_with("-> accept 8, stuck /1: it sleeps"), "{out:?}");
}

#[test]
fn a_frozen_leaf_can_be_abandoned() {
    let mut hand = Hand::new();
    hand.submit("redo", &json!({}));
    for _ in 0..3 {
        hand.restart(true);
    }
    let out = hand.abandon("/");
    assert!(out[0].ends_with(&format!("ended! it was abandoned: hopeless: {LIMIT}")), "{out:?}");
    assert!(hand.is_empty());
}

#[test]
fn what_waits_for_its_trial_runs_nothing_when_it_is_cancelled_or_retried() {
    let mut hand = Hand::new();
    hand.submit("redo", &json!({}));
    hand.submit_as(root("B"), "flow", &json!({}));
    let ask = Happened::Polled {
        attempt: 1,
        polled: polled_with(vec![child(0, "leaf", 0), child(1, "redo", 1)]),
    };
    hand.say("B", ask);
    hand.ran("B/0", with_hooks(ok("1")));
    hand.say("B/0", Happened::Hooked(err("not yet")));
    hand.restart_all(true);
    hand.restart_all(true);
    assert_eq!(deaths(&hand, &["/", "B"]), [3, 2]);
    let out = hand.retry("B/0");
    assert!(out.iter().all(|line| !line.contains("run")), "it waits for its trial: {out:?}");
    assert!(out[0].contains("accept 8"), "{out:?}");
    let out = hand.cancel("B");
    assert!(out.iter().all(|line| !line.contains("run")), "{out:?}");
    assert!(out[0].contains("accept 7"), "{out:?}");
    let attempt = hand.row("/").attempt;
    let out = hand.say("/", Happened::Ran { attempt, reply: ok("1") });
    let runs: Vec<_> = out.iter().filter(|line| line.contains("run B")).collect();
    assert_eq!(runs.len(), 2, "each once: {out:?}");
    for _ in 0..4 {
        for path in ["B/0", "B/1", "B"] {
            hand.hooked(path);
        }
    }
    assert!(hand.is_empty());
}

#[test]
fn no_trial_begins_when_the_engine_stops() {
    let (mut hand, _) = suspects();
    hand.stop();
    let out = hand.say("/", Happened::Ran { attempt: 3, reply: ok("1") });
    assert_eq!(out.len(), 1, "{out:?}");
}

#[test]
fn what_has_not_begun_is_no_suspect() {
    let mut hand = Hand::new();
    hand.submit_later(ROOT, "leaf", None, Some(50 * SECOND));
    for _ in 0..4 {
        hand.restart(true);
    }
    assert_eq!(deaths(&hand, &["/"]), [0]);
}
