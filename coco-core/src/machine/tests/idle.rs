//! The polls of idle trees: the same comes out, whether they touch the tree or not.

use serde_json::json;

use super::hand::*;
use crate::context::requests::Ask;
use crate::erased::{Hooks, Next, Reply};
use crate::machine::{Forgotten, Happened};

/// A tree of a command of this type that waits for its poll, and when that is.
fn waiting(hand: &mut Hand, name: &str) -> (Vec<String>, i64) {
    let mut told = hand.submit(name, &json!({}));
    told.extend(hand.ran("/", ok("0")));
    let alarm = told.iter().rev().find(|line| line.starts_with("wake")).expect("an alarm");
    let at = Hand::alarm(std::slice::from_ref(alarm));
    (told, at)
}

/// It is polled, which says `reply`. Gives when the next poll is.
fn polled(hand: &mut Hand, told: &mut Vec<String>, at: i64, reply: Reply) -> i64 {
    told.extend(hand.due("/", at));
    told.push(format!("{} admitted", hand.admitted()));
    let out = hand.say("/", Happened::RoundOver(reply));
    let at = Hand::alarm(&out);
    told.extend(out);
    told.push(format!("{} admitted", hand.admitted()));
    at
}

/// What comes out of polls that say nothing new, and then of `then`. The tree lay still until then.
fn after_polls(name: &str, then: impl Fn(&mut Hand, i64) -> Vec<String>) -> Vec<String> {
    let told = |mut hand: Hand, is_still: bool| {
        let (mut told, mut at) = waiting(&mut hand, name);
        for _ in 0..3 {
            assert_eq!(hand.lies_still(), is_still, "{told:?}");
            at = polled(&mut hand, &mut told, at, ok("0"));
        }
        assert_eq!(hand.lies_still(), is_still, "{told:?}");
        told.extend(then(&mut hand, at));
        told.push(format!("{} admitted", hand.admitted()));
        told
    };
    let touched = told(Hand::waiting_for(60).touching_all(), false);
    assert_eq!(told(Hand::waiting_for(60), true), touched);
    touched
}

fn says(hand: &mut Hand, at: i64, reply: Reply) -> Vec<String> {
    let mut told = hand.due("/", at);
    told.extend(hand.say("/", Happened::RoundOver(reply)));
    told
}

fn ready(reply: Reply) -> Reply {
    let next = Next { is_ready: true, ..Next::default() };
    Reply { next: Some(Box::new(next)), ..reply }
}

fn launching() -> Reply {
    let Ask::Child { child, .. } = child(0, "leaf", 0) else { unreachable!("it asks for a child") };
    let next = Next { launched: vec![(root("B/"), *child)], ..Next::default() };
    Reply { next: Some(Box::new(next)), ..ok("0") }
}

#[test]
fn polls_that_say_nothing_new_write_nothing_and_come_at_longer_and_longer_intervals() {
    let told = after_polls("polled", |_, _| Vec::new());
    let alarms = told.iter().filter(|line| line.starts_with("wake"));
    let alarms: Vec<_> = alarms.map(|line| Hand::alarm(std::slice::from_ref(line))).collect();
    let pauses: Vec<_> = alarms.windows(2).map(|pair| (pair[1] - pair[0]) / SECOND).collect();
    assert_eq!(pauses, [2, 4, 8]);
    assert_eq!(told.iter().filter(|line| line.contains("executed]")).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|line| *line == "1 admitted").count(), 3, "while it is polled");
}

#[test]
fn a_poll_that_says_something_new_is_heard() {
    let changed = Reply { state: Some(r#"{"n":1}"#.into()), ..ok("0") };
    let hooks = Reply { hooks: Hooks { compensate: true, ..Hooks::NONE }, ..ok("0") };
    let launching = launching();
    for reply in [ok("1"), changed, hooks, err("x"), refused("x"), ready(ok("0")), launching] {
        let told = after_polls("polled", |hand, at| {
            let mut told = says(hand, at, reply.clone());
            // What came of it shows in what comes then.
            told.extend(hand.due("/", hand.now() + 10 * SECOND));
            told.extend(hand.say("/", Happened::RoundOver(ready(ok("0")))));
            told
        });
        assert!(told.iter().any(|line| line.contains(" -> ended")), "{told:?}");
    }
}

#[test]
fn whatever_else_happens_to_it_between_two_polls_or_in_one_finds_it_as_it_is() {
    type Event = fn(&mut Hand) -> Vec<String>;
    let events: [Event; 8] = [
        |hand| hand.cancel("/"),
        |hand| hand.retry("/"),
        |hand| hand.abandon("/"),
        |hand| hand.say("/", Happened::HasEvents),
        |hand| hand.say("/", Happened::NoEvents),
        |hand| hand.say("/", Happened::Subscribes { attempt: 1, ticket: 3, key: "k".into() }),
        |hand| {
            let task = r#""copy""#.into();
            hand.say("/", Happened::AddsTask { attempt: 1, ticket: 5, task })
        },
        |hand| hand.say("/", registers(1)),
    ];
    for event in events {
        for is_polled in [false, true] {
            after_polls("polled", |hand, at| {
                let mut told = Vec::new();
                if is_polled {
                    told.extend(hand.due("/", at));
                }
                told.extend(event(hand));
                let at = hand.now() + 60 * SECOND;
                told.extend(says(hand, at, ok("0")));
                told.extend(says(hand, at + 60 * SECOND, ok("0")));
                told
            });
        }
    }
}

#[test]
fn its_time_runs_out_though_it_lies_still() {
    let told = after_polls("timed polled", |hand, at| says(hand, at + 10 * SECOND, ok("0")));
    assert!(told.iter().any(|line| line.contains("ended!")), "{told:?}");
}

#[test]
fn what_it_is_told_out_of_turn_is_not_heard() {
    let told = after_polls("polled", |hand, at| {
        let told = [
            hand.say("/", Happened::RoundOver(ok("0"))),
            hand.due("/", at - 10),
            hand.due("/", at),
            hand.say("/7", Happened::RoundOver(ok("0"))),
            hand.due("/", at),
            hand.say("/", Happened::RoundOver(ready(ok("1")))),
        ];
        told.into_iter().map(|out| format!("{out:?}")).collect()
    });
    assert_eq!(told.iter().filter(|line| line.contains("ended 1")).count(), 1, "{told:?}");
}

#[test]
fn the_hooks_that_a_poll_has_named_are_called() {
    let told = after_polls("polled", |hand, at| {
        let mut told = says(hand, at, with_hooks(ok("0")));
        told.extend(hand.cancel("/"));
        told
    });
    assert!(told.iter().any(|line| line.contains("run / end_with_failure")), "{told:?}");
}

#[test]
fn it_rests_when_its_next_poll_is_far() {
    let mut hand = Hand::waiting_for(5);
    let (mut told, mut at) = waiting(&mut hand, "polled");
    for pause in [2, 4] {
        at = polled(&mut hand, &mut told, at, ok("0"));
        assert!(hand.lies_still(), "{pause} seconds are not far");
    }
    polled(&mut hand, &mut told, at, ok("0"));
    assert!(!hand.lies_still(), "it has asked to rest");
}

#[test]
fn a_tree_that_is_forgotten_or_stopped_while_it_lies_still_leaves_what_another_does() {
    for is_polled in [false, true] {
        after_polls("polled", |hand, at| {
            let mut told = if is_polled { hand.due("/", at) } else { Vec::new() };
            let Forgotten { held, started } = hand.forget();
            told.push(format!("{held:?} {started:?} {}", hand.is_empty()));
            told
        });
        after_polls("polled", |hand, at| {
            let mut told = if is_polled { hand.due("/", at) } else { Vec::new() };
            told.extend(hand.stop());
            told.extend(hand.say("/", Happened::RoundOver(ready(ok("0")))));
            told
        });
    }
}

#[test]
fn what_has_children_tasks_or_waits_for_an_event_does_not_lie_still() {
    let mut hand = Hand::waiting_for(60);
    hand.submit("polled", &json!({}));
    let task = r#""copy""#.into();
    hand.say("/", Happened::AddsTask { attempt: 1, ticket: 5, task });
    hand.ran("/", ok("0"));
    assert!(!hand.lies_still(), "it has a task");

    let mut hand = Hand::waiting_for(60);
    hand.submit("polled", &json!({}));
    hand.say("/", Happened::Subscribes { attempt: 1, ticket: 3, key: "k".into() });
    hand.ran("/", ok("0"));
    assert!(!hand.lies_still(), "it waits for an event");
}
