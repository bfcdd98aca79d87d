//! Rounds whose steps are rejected, or come after one that is.

use super::*;

#[test]
fn a_round_whose_step_is_rejected_fails_its_command() {
    let mut hand = started("next", 0);
    hand.is_cut = true;
    round(&mut hand, "/", starts(with_state(ok("1"), "{}"), vec![child(0, "leaf", 0)], false));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    assert!(steps(&out)[0].starts_with("[/ failed a1]"), "nothing of it is stored: {out:?}");
    assert_eq!(hand.row("/").state, None);
}

#[test]
fn a_round_after_a_rejected_step_is_stored_with_what_it_has_started() {
    let mut hand = started("custom", 1);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    let next = with_state(ok("1"), "{\"n\":1}");
    round(&mut hand, "/", starts(next, vec![child(1, "leaf", 1)], false));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    let step = "[/ active a1 executed, insert /1 active a1] -> run /1 leaf a1";
    assert!(out.contains(&step.to_owned()), "{out:?}");
    assert_eq!(hand.row("/").state.as_deref(), Some("{\"n\":1}"));
}

#[test]
fn what_a_lost_round_had_started_is_started_though_an_older_child_has_ended_since() {
    let mut hand = started("custom", 2);
    let at = hand.now() + 2 * SECOND;
    hand.due("/", at);
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    round(&mut hand, "/", starts(ok("1"), vec![child(2, "leaf", 2)], false));
    hand.ran("/1", ok("5"));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    let step = "[/ active a1 executed, insert /2 active a1] -> run /2 leaf a1";
    assert!(out.contains(&step.to_owned()), "{out:?}");
}
