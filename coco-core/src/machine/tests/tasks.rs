//! Tasks outside.

use serde_json::json;

use super::hand::*;
use super::rejected::reload;
use crate::context::requests::Ask;
use crate::erased::{Next, Reply};
use crate::machine::{Happened, OverTask};

fn has_task(hand: &mut Hand, path: &str) {
    hand.say(path, Happened::AddsTask { attempt: 1, ticket: 5, task: "\"copy\"".into() });
}

fn over(failure: Option<&str>) -> Happened {
    let failure = failure.and_then(|message| err(message).result.err());
    Happened::TasksAsked(vec![OverTask { position: 0, failure, is_known: true }])
}

fn pending(reply: Reply, started: Vec<Ask>) -> Reply {
    let started = started.into_iter().filter_map(|ask| match ask {
        Ask::Child { position, child } => Some((position, *child)),
        _ => None,
    });
    let next = Next { started: started.collect(), ..Next::default() };
    Reply { next: Some(Box::new(next)), ..reply }
}

#[test]
fn that_a_task_has_failed_is_stored_with_the_failure_of_its_command() {
    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    has_task(&mut hand, "/");
    hand.ran("/", pending(ok("0"), Vec::new()));
    let at = hand.now() + 2 * SECOND;
    assert_eq!(hand.due("/", at), ["[] -> run / tasks 1"]);
    let out = hand.say("/", over(Some("full")));
    assert_eq!(out[0], "[task ended / 0, / failed a1] -> run / clear 1", "{out:?}");
}

#[test]
fn what_waits_for_a_place_and_is_cancelled_stops_its_tasks() {
    let mut hand = Hand::new();
    hand.submit_as(root("B/"), "single next", &json!({}));
    has_task(&mut hand, "B/");
    hand.ran("B/", pending(ok("0"), Vec::new()));
    hand.submit("single next", &json!({}));
    let out = hand.restart_all(false);
    assert!(out.iter().any(|line| line.contains("run / leaf a1")), "it has the place: {out:?}");
    let out = hand.cancel("B/");
    assert!(out.contains(&"[] -> run B stop 1".to_owned()), "{out:?}");
}

#[test]
fn what_has_failed_stops_its_tasks_though_its_end_was_lost() {
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    hand.ran("/", pending(ok("0"), vec![child(0, "leaf", 0), child(1, "polled", 1)]));
    has_task(&mut hand, "/1");
    hand.ran("/1", pending(ok("0"), Vec::new()));
    assert!(hand.cancel("/1").contains(&"[] -> run /1 stop 1".to_owned()));
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    hand.say("/1", over(None));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(out.contains(&"[] -> run /1 stop 1".to_owned()), "{out:?}");
}

#[test]
fn what_stops_its_tasks_while_its_tree_is_read_again_takes_up_no_place() {
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    hand.ran("/", pending(ok("0"), vec![child(0, "leaf", 0), child(1, "single next", 1)]));
    has_task(&mut hand, "/1");
    hand.ran("/1", pending(ok("0"), Vec::new()));
    hand.say("/1", Happened::TasksAsked(Vec::new()));
    let out = hand.cancel("/1");
    assert!(out.contains(&"[] -> run /1 stop 1".to_owned()), "{out:?}");
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    let lost = hand.take_lost();
    reload(&mut hand, lost, &["/1"]);
    hand.say("/1", over(None));
    let out = hand.submit_as(root("B/"), "single next", &json!({}));
    assert!(out[0].contains("run B leaf a1"), "{out:?}");
}
