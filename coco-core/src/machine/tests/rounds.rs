//! The rounds of a callback: fan-out, one after the other, polls, and callbacks of one's own.

mod events;
mod lost;
mod tasks;

use serde_json::json;

use super::hand::*;
use super::rejected::reload;
use crate::context::requests::{Ask, AskedChild};
use crate::erased::{Hooks, Next, Reply};
use crate::failure::{Failure, FailureKind};
use crate::lock::{Lock, LockMode};
use crate::machine::Happened;

/// What a call says that starts these.
fn starts(reply: Reply, children: Vec<Ask>, is_ready: bool) -> Reply {
    let started = children.into_iter().filter_map(|ask| match ask {
        Ask::Child { position, child } => Some((position, *child)),
        _ => None,
    });
    let started: Vec<(i32, AskedChild)> = started.collect();
    Reply { next: Some(Box::new(Next { started, is_ready, ..Next::default() })), ..reply }
}

fn pending(reply: Reply) -> Reply {
    starts(reply, Vec::new(), false)
}

fn ready(reply: Reply) -> Reply {
    starts(reply, Vec::new(), true)
}

fn with_state(reply: Reply, state: &str) -> Reply {
    Reply { state: Some(state.into()), ..reply }
}

fn round(hand: &mut Hand, path: &str, reply: Reply) -> Vec<String> {
    hand.say(path, Happened::RoundOver(reply))
}

/// A root of this kind that has executed and started so many leaves.
fn started(name: &str, children: i32) -> Hand {
    let mut hand = Hand::new();
    hand.submit(name, &json!({}));
    let children = (0..children).map(|n| child(n, "leaf", n)).collect();
    hand.ran("/", starts(ok("0"), children, false));
    hand
}

#[test]
fn a_tree_that_waits_to_be_polled_is_counted_once() {
    let mut hand = started("polled", 0);
    assert_eq!(hand.admitted(), 0, "it takes up no room");
    hand.restart(true);
    hand.restart(true);
    assert_eq!(hand.admitted(), 0, "nor after its trial");
    let at = hand.now() + 2 * SECOND;
    assert_eq!(hand.due("/", at), ["[] -> run / round 0/0"]);
    assert_eq!(hand.admitted(), 1, "but while it is polled it does");
}

#[test]
fn undo_commands_that_it_has_registered_are_no_children_after_a_restart() {
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    hand.say("/", registers(1));
    hand.ran("/", starts(ok("0"), vec![child(0, "redo", 0)], false));
    assert_eq!(hand.restart(false), ["[/0 active a2] -> run /0 leaf a2"]);
    let out = hand.say("/0", Happened::Ran { attempt: 2, reply: ok("1") });
    assert_eq!(out, ["[/0 ended_successfully a2 o2, release /0]", "[] -> run / round 0/1"]);
}

/// A root that has failed to execute, and whose callback is asked when it may fail.
fn outlives() -> (Hand, i64) {
    let mut hand = Hand::new();
    hand.submit("custom", &json!({}));
    let hooks = Hooks { failed_round: true, ..Hooks::NONE };
    let out = hand.ran("/", Reply { hooks, ..err("x") });
    let at = Hand::alarm(&out);
    assert_eq!(out, [format!("wake / at {at}"), "[/ execution_failed a1]".to_owned()]);
    (hand, at)
}

#[test]
fn a_cancel_ends_what_waits_though_it_has_failed() {
    let (mut hand, _) = outlives();
    let out = hand.cancel("/");
    let end = "[/ ended_with_failure a1 o1 cancelled] -> ended! x".to_owned();
    assert_eq!(out.last(), Some(&end), "between two rounds at once");

    let (mut hand, at) = outlives();
    assert_eq!(hand.due("/", at), ["[] -> run / round 0/0"]);
    let out = hand.cancel("/");
    assert_eq!(out.last().map(String::as_str), Some("[] -> cancel /"), "a round is told");
    assert_eq!(round(&mut hand, "/", pending(ok("null"))).last(), Some(&end), "and is the last");
}

#[test]
fn a_round_that_runs_goes_on_where_an_order_for_its_command_is_rejected() {
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    assert_eq!(hand.due("/", at), ["[] -> run / round 0/0"]);
    hand.is_cut = true;
    hand.cancel("/");
    let lost = hand.take_lost();
    assert_eq!(reload(&mut hand, lost, &["/", "/0"]), [""; 0], "nothing else begins");
    let out = round(&mut hand, "/", with_state(pending(ok("0")), "{}"));
    let step = "[/ active a1 executed]";
    assert_eq!(out.last().map(String::as_str), Some(step), "and it is heard");
}

#[test]
fn what_a_round_has_seen_is_not_new_to_the_next_one_though_the_tree_was_read_again() {
    let mut hand = started("next", 1);
    let out = hand.ran("/0", err("x"));
    assert_eq!(out.last().map(String::as_str), Some("[] -> run / round 0/1"));
    hand.is_cut = true;
    hand.cancel("/");
    let lost = hand.take_lost();
    reload(&mut hand, lost, &["/"]);
    let out = round(&mut hand, "/", pending(ok("0")));
    let at = Hand::alarm(&out);
    assert_eq!(hand.due("/", at), ["[] -> run / round 1/1"]);
}

#[test]
fn an_order_that_is_lost_is_no_round() {
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    round(&mut hand, "/", with_state(pending(ok("0")), "{}"));
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    hand.cancel("/");
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(!out.iter().any(|line| line.starts_with("[/ ")), "nothing of it is stored: {out:?}");
}

#[test]
fn the_lost_round_of_what_has_failed_is_done_again() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "custom", 0), child(1, "leaf", 1)]);
    let hooks = Hooks { failed_round: true, ..Hooks::NONE };
    let out = hand.ran("/0", Reply { hooks, ..err("x") });
    let at = Hand::alarm(&out);
    hand.due("/0", at);
    hand.is_cut = true;
    hand.ran("/1", ok("5"));
    hand.say("/", Happened::Flush { hold: 1 });
    round(&mut hand, "/0", with_state(pending(ok("null")), "{}"));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(out.contains(&"[/0 execution_failed a1]".to_owned()), "{out:?}");
    assert_eq!(hand.row("/0").state.as_deref(), Some("{}"));
}

/// Code that runs asks for a lock.
fn asks_lock() -> Happened {
    let lock = Lock { group: "disk".into(), key: "a".into(), mode: LockMode::Exclusive };
    Happened::AsksLock { attempt: 1, ticket: 5, lock }
}

#[test]
fn a_round_that_waits_for_a_lock_is_no_trial() {
    let mut hand = started("fan", 0);
    hand.restart(true);
    let out = hand.restart(true);
    assert_eq!(out.last().map(String::as_str), Some("[] -> run / round 0/0"), "it is on trial");
    hand.say("/", asks_lock());
    assert_eq!(
        hand.queued("/", 1, None),
        ["[/ active a1 executed]"],
        "no death is stored any more"
    );
}

#[test]
fn what_code_waits_for_that_is_over_it_does_not_want_any_more() {
    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    for over in [
        Happened::Ran { attempt: 1, reply: pending(ok("0")) },
        Happened::RoundOver(pending(ok("0"))),
    ] {
        hand.say("/", asks_lock());
        hand.queued("/", 1, None);
        let out = hand.say("/", over);
        assert_eq!(out[0], "refuse 5");
        assert!(out.iter().any(|line| line.starts_with("[leave / ")), "{out:?}");
        let at = Hand::alarm(&out);
        hand.due("/", at);
    }
}

#[test]
fn what_has_rested_between_two_polls_is_polled_when_it_is_back() {
    let mut hand = started("polled", 0);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    let at = Hand::alarm(&round(&mut hand, "/", pending(ok("0"))));
    assert_eq!(at - hand.now(), 2 * SECOND, "a longer pause than is waited for in the machine");
    hand.wait(2);
    let back = hand.restart_with_room(1, ROOT);
    assert_eq!(back, [format!("wake / at {}", hand.now() + 10 * SECOND)]);
    let due = hand.due("/", at);
    assert_eq!(due.last().map(String::as_str), Some("[] -> run / round 0/0"), "it was for that");
    let at = Hand::alarm(&round(&mut hand, "/", pending(ok("0"))));
    assert_eq!(at - hand.now(), 10 * SECOND, "the pauses do not begin again");
}

#[test]
fn what_was_read_before_it_failed_outlives_that_only_where_its_callback_says_so() {
    let mut hand = Hand::new();
    hand.submit_later(ROOT, "custom", None, Some(10 * SECOND));
    hand.restart(true);
    hand.due("/", 10 * SECOND);
    let out = hand.ran("/", err("x"));
    assert_eq!(
        out.last().map(String::as_str),
        Some("[/ ended_with_failure a1 o1, release /] -> ended! x")
    );
}

#[test]
fn the_lost_pause_before_another_attempt_is_waited_for() {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    hand.asks("/", vec![child(0, "timed custom", 0), child(1, "leaf", 1)]);
    hand.is_cut = true;
    hand.ran("/1", ok("5"));
    hand.say("/", Happened::Flush { hold: 1 });
    hand.ran("/0", err("x"));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(out.contains(&"[/0 active a1 waits]".to_owned()), "{out:?}");
}

#[test]
fn a_lost_round_that_had_changed_nothing_is_not_stored() {
    let mut hand = started("custom", 2);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    round(&mut hand, "/", with_state(pending(ok("0")), "{}"));
    hand.ran("/0", ok("5"));
    hand.is_cut = true;
    hand.ran("/1", ok("6"));
    let out = round(&mut hand, "/", pending(ok("0")));
    assert!(out.contains(&"[/ active a1 executed]".to_owned()), "it has seen a child: {out:?}");
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(!out.contains(&"[/ active a1 executed]".to_owned()), "{out:?}");
}

/// A child whose parameters no store takes.
fn unstorable(position: i32) -> Ask {
    let Ask::Child { mut child, .. } = child(position, "leaf", 0) else {
        unreachable!("it asks for a child")
    };
    child.parameters = Err(Failure::new(FailureKind::NotStorable, "too large"));
    Ask::Child { position, child }
}

#[test]
fn what_a_lost_round_had_started_is_started_whatever_has_become_of_it() {
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    let children = vec![unstorable(1), child(2, "single", 2), child(3, "single", 3)];
    round(&mut hand, "/", starts(ok("0"), children, false));
    let out = hand.cancel("/");
    assert!(out.contains(&"[/3 ended_with_failure a0 o3]".to_owned()), "{out:?}");
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    let steps: Vec<_> = out.iter().filter(|line| line.starts_with("[/ ")).collect();
    let step = "[/ active a1 executed, insert /1 ended_with_failure a0 o1, \
                insert /2 not_started a0, insert /3 not_started a0]";
    assert_eq!(steps, [step]);
}

/// The steps among what came out.
fn steps(out: &[String]) -> Vec<&str> {
    out.iter().map(String::as_str).filter(|line| line.contains('[')).collect()
}

#[test]
fn a_fan_out_of_any_width_is_three_batches() {
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    let children = (0..4).map(|n| child(n, "leaf", n)).collect();
    let out = hand.ran("/", starts(ok("0"), children, false));
    let inserts: Vec<_> = (0..4).map(|n| format!("insert /{n} active a1")).collect();
    let runs: Vec<_> = (0..4).map(|n| format!("run /{n} leaf a1")).collect();
    let step = format!("[/ active a1 executed, {}] -> {}", inserts.join(", "), runs.join(", "));
    assert_eq!(out, [step], "what it starts is stored with it, and runs side by side");
    for n in [2, 0, 3] {
        assert_eq!(steps(&hand.ran(&format!("/{n}"), ok("1"))).len(), 1, "an end, and no round");
    }
    let out = hand.ran("/1", ok("1"));
    assert_eq!(out, ["[/1 ended_successfully a1 o4]", "[] -> run / round 0/4"]);
    let out = round(&mut hand, "/", ready(ok("7")));
    assert_eq!(steps(&out), ["[/ ended_successfully a1 o5] -> ended 7"]);
}

#[test]
fn a_fan_out_without_children_has_its_round_at_once() {
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    let out = hand.ran("/", pending(ok("0")));
    assert_eq!(out, ["[/ active a1 executed]", "[] -> run / round 0/0"]);
}

#[test]
fn a_round_that_starts_something_is_not_the_last_one() {
    let mut hand = started("fan", 1);
    hand.ran("/0", ok("1"));
    let out = round(&mut hand, "/", starts(ok("0"), vec![child(1, "leaf", 1)], true));
    assert_eq!(out, ["[/ active a1 executed, insert /1 active a1] -> run /1 leaf a1"]);
    let out = hand.ran("/1", ok("1"));
    assert_eq!(out.last().map(String::as_str), Some("[] -> run / round 1/2"));
}

#[test]
fn the_next_operation_comes_with_one_step_and_without_a_timer() {
    let mut hand = started("next", 1);
    let out = hand.ran("/0", ok("1"));
    assert_eq!(out, ["[/0 ended_successfully a1 o1]", "[] -> run / round 0/1"]);
    let next = with_state(ok("0"), "{\"at\":1}");
    let out = round(&mut hand, "/", starts(next, vec![child(1, "leaf", 1)], false));
    assert_eq!(out, ["[/ active a1 executed, insert /1 active a1] -> run /1 leaf a1"]);
    assert_eq!(hand.row("/").state.as_deref(), Some("{\"at\":1}"));
    assert_eq!(hand.row("/").seen, Some(1));
}

#[test]
fn an_operation_that_starts_nothing_is_asked_again_at_growing_intervals() {
    let mut hand = started("next", 0);
    for pause in [1, 2, 4, 8, 10, 10] {
        let out = round(&mut hand, "/", pending(ok("0")));
        let at = Hand::alarm(&out);
        assert_eq!(out, [format!("wake / at {at}")], "nothing is written");
        assert_eq!(at - hand.now(), pause * SECOND);
        assert!(hand.due("/", at - 2).is_empty(), "not before");
        assert_eq!(hand.due("/", at), ["[] -> run / round 0/0"]);
    }
}

#[test]
fn a_poll_that_changes_something_is_stored_and_its_pauses_begin_again() {
    let mut hand = Hand::new();
    hand.submit("polled", &json!({}));
    let out = hand.ran("/", pending(ok("0")));
    let mut at = Hand::alarm(&out);
    assert_eq!(out, [format!("wake / at {at}"), "[/ active a1 executed]".to_owned()]);
    for pause in [2, 4] {
        hand.due("/", at);
        at = Hand::alarm(&round(&mut hand, "/", pending(ok("0"))));
        assert_eq!(at - hand.now(), pause * SECOND);
    }
    hand.due("/", at);
    let out = round(&mut hand, "/", pending(ok("1")));
    at = Hand::alarm(&out);
    assert_eq!(steps(&out), ["[/ active a1 executed]"]);
    assert_eq!(at - hand.now(), SECOND);
    hand.due("/", at);
    let out = round(&mut hand, "/", ready(ok("2")));
    assert_eq!(steps(&out), ["[/ ended_successfully a1 o1] -> ended 2"]);
}

#[test]
fn a_restart_goes_on_with_what_the_last_round_has_left() {
    // Between two rounds: the pauses begin again.
    let mut hand = started("polled", 0);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    round(&mut hand, "/", with_state(pending(ok("1")), "{\"n\":1}"));
    let out = hand.restart(false);
    let at = Hand::alarm(&out);
    assert_eq!(out, [format!("wake / at {at}")]);
    assert_eq!(at - hand.now(), SECOND);
    hand.due("/", at);
    // In a round: it comes again, with the same fields.
    let out = hand.restart(false);
    let at = Hand::alarm(&out);
    hand.due("/", at);
    let out = round(&mut hand, "/", with_state(ready(ok("2")), "{\"n\":2}"));
    assert_eq!(steps(&out), ["[/ ended_successfully a1 o1, release /] -> ended 2"]);
    assert_eq!(hand.row("/").state.as_deref(), Some("{\"n\":2}"));

    // While a child runs: it goes on, and the round waits for it.
    let mut hand = started("next", 0);
    round(&mut hand, "/", starts(ok("0"), vec![child(0, "redo", 0)], false));
    assert_eq!(hand.restart(false), ["[/0 active a2] -> run /0 leaf a2"]);
    let out = hand.say("/0", Happened::Ran { attempt: 2, reply: ok("1") });
    assert_eq!(out.last().map(String::as_str), Some("[] -> run / round 0/1"));
    // In a round that a failure is new to: it stays new until that round is stored.
    assert_eq!(hand.restart(false), ["[] -> run / round 0/1"]);
    round(&mut hand, "/", with_state(pending(ok("0")), "{}"));
    assert_eq!(hand.restart(false), ["[] -> run / round 1/1"]);

    // After a child has ended that no round has seen: it is called at once.
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    hand.ran("/0", err("x"));
    assert_eq!(hand.restart(false), ["[] -> run / round 0/1"]);

    // Before `execute` is stored: a command that may not run twice has failed.
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    assert_eq!(steps(&hand.restart(false))[0], "[/ failed_restarted a1]");
}

#[test]
fn a_cancel_between_rounds_ends_the_children_first() {
    let mut hand = started("next", 2);
    hand.ran("/0", ok("1"));
    let out = hand.cancel("/");
    assert!(out.contains(&"[] -> cancel /1".to_owned()), "{out:?}");
    let out = hand.ran("/1", err("stopped"));
    let end = out.last().expect("an end");
    assert!(end.contains("it was cancelled: enough"), "no round comes any more: {out:?}");

    let mut hand = started("polled", 0);
    let out = hand.cancel("/");
    assert!(out.last().expect("an end").contains("it was cancelled: enough"), "{out:?}");
}

#[test]
fn a_cancel_in_a_round_is_told_to_it_and_what_it_still_starts_is_dropped() {
    let mut hand = started("fan", 0);
    let out = hand.cancel("/");
    assert!(out.contains(&"[] -> cancel /".to_owned()), "{out:?}");
    let late = with_state(ok("5"), "{\"late\":1}");
    let out = round(&mut hand, "/", starts(late, vec![child(0, "leaf", 0)], true));
    assert!(!out.iter().any(|line| line.contains("insert")), "{out:?}");
    assert!(out.last().expect("an end").contains("it was cancelled: enough"), "{out:?}");
    let row = hand.row("/");
    let left = (row.state.as_deref(), row.return_value.as_deref());
    assert_eq!(left, (Some("{\"late\":1}"), Some("5")), "but what it has done is known");
}

#[test]
fn a_round_that_fails_fails_its_command_when_all_its_children_have_ended() {
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    let out = round(&mut hand, "/", with_state(err("x"), "{}"));
    assert_eq!(steps(&out), ["[/ execution_failed a1]"]);
    assert_eq!(hand.row("/").state, None, "its changes are dropped");
    let out = hand.ran("/0", ok("1"));
    assert_eq!(steps(&out).last(), Some(&"[/ ended_with_failure a1 o2] -> ended! x"));
}

#[test]
fn what_is_ready_waits_for_its_children_and_is_not_called_any_more() {
    let mut hand = started("custom", 2);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    let out = round(&mut hand, "/", ready(ok("7")));
    assert_eq!(steps(&out), ["[/ active a1 executed]"]);
    assert_eq!(hand.ran("/0", ok("1")), ["[/0 ended_successfully a1 o1]"]);
    let out = hand.ran("/1", ok("1"));
    assert_eq!(steps(&out).last(), Some(&"[/ ended_successfully a1 o3] -> ended 7"));
}

#[test]
fn a_place_is_kept_between_rounds_and_taken_again_after_a_restart() {
    let mut hand = Hand::new();
    for path in ["/", "B/"] {
        hand.submit_as(root(path), "single next", &json!({}));
    }
    hand.ran("/", pending(ok("0")));
    let out = round(&mut hand, "/", pending(ok("0")));
    let at = Hand::alarm(&out);
    assert!(!out.iter().any(|line| line.contains("B active")), "{out:?}");
    hand.due("/", at);
    let out = round(&mut hand, "/", ready(ok("0")));
    let begins = |line: &&str| line.starts_with("[B active a1] -> run B leaf a1");
    assert!(steps(&out).iter().any(begins), "{out:?}");

    hand.say("B/", Happened::Ran { attempt: 1, reply: pending(ok("0")) });
    hand.submit_as(root("C/"), "single next", &json!({}));
    let out = hand.restart_all(false);
    let has_place: Vec<_> = out.iter().filter(|line| line.contains("round")).collect();
    assert_eq!(has_place, ["[] -> run B round 0/0"], "who has begun comes first: {out:?}");
    assert!(!out.iter().any(|line| line.contains("run C")), "and the other waits: {out:?}");
}
