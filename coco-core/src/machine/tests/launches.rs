//! Trees of their own that commands launch.

use serde_json::json;

use super::hand::*;
use super::rejected::reload;
use crate::context::requests::Ask;
use crate::erased::{Next, Reply};

/// What a leaf says that launches `B`.
fn launching(reply: Reply) -> Reply {
    let Ask::Child { child, .. } = child(0, "leaf", 0) else { unreachable!("it asks for a child") };
    let next = Next { launched: vec![(root("B/"), *child)], ..Next::default() };
    Reply { next: Some(Box::new(next)), ..reply }
}

/// A root with two leaves.
fn with_leaves() -> Hand {
    let mut hand = Hand::new();
    hand.submit("fan", &json!({}));
    let started =
        [child(0, "keep", 0), child(1, "keep", 1)].into_iter().filter_map(|ask| match ask {
            Ask::Child { position, child } => Some((position, *child)),
            _ => None,
        });
    let next = Next { started: started.collect(), ..Next::default() };
    hand.ran("/", Reply { next: Some(Box::new(next)), ..ok("0") });
    hand
}

#[test]
fn what_a_leaf_launches_is_stored_with_its_outcome_and_what_undoes_it() {
    let mut hand = with_leaves();
    let out = hand.ran("/0", launching(with_all_hooks(ok("5"))));
    assert_eq!(
        out,
        [
            "[insert B not_started a0, /0 succeeded a1 own] -> run /0 end_successfully",
            "[] -> no room for B"
        ]
    );
}

#[test]
fn what_a_lost_end_had_launched_is_stored_with_the_end() {
    let mut hand = with_leaves();
    hand.is_cut = true;
    hand.ran("/0", ok("5"));
    hand.ran("/1", launching(ok("5")));
    let lost = hand.take_lost();
    let out = reload(&mut hand, lost, &[]);
    let launched: Vec<_> = out.iter().filter(|line| line.contains("insert B")).collect();
    assert_eq!(launched.len(), 1, "{out:?}");
    assert!(launched[0].contains(", /1 succeeded a1"), "{out:?}");
}
