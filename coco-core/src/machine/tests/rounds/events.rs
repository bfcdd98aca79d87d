//! Rounds of commands that listen for events.

use super::*;

fn subscribes(hand: &mut Hand) {
    let what = Happened::Subscribes { attempt: 1, ticket: 5, key: "wire".into() };
    hand.say("/", what);
}

#[test]
fn what_the_last_round_says_for_an_event_is_stored_with_the_end() {
    let mut hand = Hand::new();
    hand.submit("custom", &json!({}));
    hand.ran("/", starts(ok("0"), vec![child(0, "polled", 0)], false));
    subscribes(&mut hand);
    hand.ran("/0", pending(ok("0")));
    hand.restart(true);
    let out = hand.restart(true);
    assert!(out.contains(&"[] -> run / inbox".to_owned()), "on trial: {out:?}");
    let heard = Next { is_ready: true, handled: Some(1), ..Next::default() };
    let heard = Reply { next: Some(Box::new(heard)), ..with_state(ok("1"), "{\"n\":1}") };
    let out = round(&mut hand, "/", heard);
    assert!(out.contains(&"[/ active a1 executed]".to_owned()), "its trial is over: {out:?}");
    assert_eq!(hand.row("/").state, None, "it would be heard again after a restart");
    let at = hand.now() + 20 * SECOND;
    hand.due("/0", at);
    round(&mut hand, "/0", ready(ok("0")));
    let ended = hand.row("/");
    assert_eq!(ended.state.as_deref(), Some("{\"n\":1}"));
    assert_eq!(ended.return_value.as_deref(), Some("1"));
}

#[test]
fn an_alarm_from_before_it_rested_is_nothing_to_what_was_polled_since() {
    let mut hand = Hand::new();
    hand.submit("custom", &json!({}));
    hand.ran("/", starts(ok("0"), vec![child(0, "redo", 0)], false));
    subscribes(&mut hand);
    hand.restart_with_room(1, ROOT);
    hand.say("/", Happened::NoEvents);
    let out = hand.say("/0", Happened::Ran { attempt: 2, reply: ok("5") });
    assert_eq!(out.last().map(String::as_str), Some("[] -> run / round 0/1"));
    let at = hand.now() + SECOND;
    hand.due("/", at);
    let out = round(&mut hand, "/", pending(ok("0")));
    assert!(out.iter().all(|line| !line.contains("run")), "it waits for an event: {out:?}");
}

#[test]
fn what_a_lost_end_says_of_events_is_stored_with_the_end() {
    let mut hand = Hand::new();
    hand.submit("custom", &json!({}));
    hand.ran("/", starts(ok("0"), vec![child(0, "leaf", 0), child(1, "leaf", 1)], false));
    subscribes(&mut hand);
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    hand.ran("/1", ok("5"));
    hand.say("/", Happened::HasEvents);
    hand.say("/", Happened::NoEvents);
    let heard = Next { is_ready: true, handled: Some(1), ..Next::default() };
    let heard = Reply { next: Some(Box::new(heard)), ..with_state(ok("1"), "{\"n\":1}") };
    let out = round(&mut hand, "/", heard);
    assert!(out.iter().any(|line| line.contains("unsubscribe /")), "{out:?}");
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(out.iter().any(|line| line.ends_with("-> run /1 end_successfully")), "{out:?}");
    assert_eq!(hand.row("/").state, None, "it would be heard again after a restart");
}
