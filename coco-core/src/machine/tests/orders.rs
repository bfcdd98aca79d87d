//! Two branches side by side, each with two children of one type, one after the other: in every
//! order of ends a branch is given the outcomes of its own children, live and after a restart at
//! any moment.
//!
//! Branch A asks for position 0, branch B for 1, and each asks for its second child when its first
//! has ended, at the next position that is free. All four run side by side too, for the 24 orders
//! in which they can end.

use std::collections::BTreeMap;

use serde_json::json;

use super::hand::*;
use crate::context::requests::Ask;
use crate::machine::{Happened, Polled, Stored};

/// The model of the flow: what it asks for, and what each branch was given.
#[derive(Clone, Debug, Default)]
struct Branches {
    /// The branch that waits at each position.
    waiting: BTreeMap<i32, usize>,
    next_position: i32,
    given: [Vec<String>; 2],
}

impl Branches {
    fn ask(&mut self, branch: usize) -> Ask {
        let position = self.next_position;
        self.next_position += 1;
        self.waiting.insert(position, branch);
        child(position, "redo", i32::try_from(branch).expect("0 or 1"))
    }

    fn begin(side_by_side: bool) -> (Self, Vec<Ask>) {
        let mut branches = Self::default();
        let order: &[usize] = if side_by_side { &[0, 0, 1, 1] } else { &[0, 1] };
        let asks = order.iter().map(|branch| branches.ask(*branch)).collect();
        (branches, asks)
    }

    /// Takes what `give / 0=a 2=b` gives, and asks for what comes next.
    fn take(&mut self, give: &str, side_by_side: bool) -> Vec<Ask> {
        let outcomes = give.split_whitespace().filter(|word| word.contains('='));
        let mut asks = Vec::new();
        for (position, output) in outcomes.filter_map(|word| word.split_once('=')) {
            let position = position.parse().expect("a position");
            let branch = self.waiting.remove(&position).expect("a branch waits for it");
            self.given[branch].push(output.to_owned());
            if !side_by_side && self.given[branch].len() == 1 {
                asks.push(self.ask(branch));
            }
        }
        asks
    }
}

/// Lets the flow answer until it is given nothing more.
fn settle(
    hand: &mut Hand,
    branches: &mut Branches,
    mut out: Vec<String>,
    attempt: i32,
    side_by_side: bool,
) {
    while let Some(give) = out.iter().find(|line| line.starts_with("give")).cloned() {
        if give.ends_with("of a replay") {
            assert_eq!(give.matches('=').count(), 1, "one at a time: {give}");
        }
        let asks = branches.take(&give, side_by_side);
        out = hand.polled("/", attempt, Polled { given: true, asks, end: None });
        assert!(!out.iter().any(|line| line.contains("stuck")), "{out:?}");
    }
}

fn run(ends: &[i32], restart_after: Option<usize>, side_by_side: bool) -> Branches {
    let mut hand = Hand::new();
    hand.submit("flow", &json!({}));
    let (mut branches, asks) = Branches::begin(side_by_side);
    hand.asks("/", asks);
    let mut attempt = 1;
    for (ended, position) in ends.iter().enumerate() {
        if restart_after == Some(ended) {
            hand.restart(true);
            attempt = 2;
            let (again, asks) = Branches::begin(side_by_side);
            branches = again;
            let out = hand.polled("/", 2, Polled { asks, ..Polled::default() });
            settle(&mut hand, &mut branches, out, attempt, side_by_side);
        }
        let path = format!("/{position}");
        let (attempt_of_leaf, reply) = (hand.row(&path).attempt, ok(&position.to_string()));
        let out = hand.say(&path, Happened::Ran { attempt: attempt_of_leaf, reply });
        settle(&mut hand, &mut branches, out, attempt, side_by_side);
    }
    let Stored { outcomes, .. } = hand.stored("/");
    let stored: Vec<_> = outcomes.iter().map(|(order, position, _)| (*order, *position)).collect();
    let expected: Vec<_> = (1..).zip(ends.iter().copied()).collect();
    assert_eq!(sorted(stored), expected);
    branches
}

fn sorted(mut all: Vec<(i64, i32)>) -> Vec<(i64, i32)> {
    all.sort_unstable();
    all
}

fn orders_of(positions: &[i32]) -> Vec<Vec<i32>> {
    if positions.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for first in positions {
        let rest: Vec<_> = positions.iter().copied().filter(|other| other != first).collect();
        orders.extend(orders_of(&rest).into_iter().map(|mut order| {
            order.insert(0, *first);
            order
        }));
    }
    orders
}

#[test]
fn all_24_orders_side_by_side_live_and_replayed() {
    let orders = orders_of(&[0, 1, 2, 3]);
    assert_eq!(orders.len(), 24);
    for ends in orders {
        let live = run(&ends, None, true);
        let of = |mine: [&str; 2]| {
            let mine = |end: &&i32| mine.contains(&end.to_string().as_str());
            ends.iter().filter(mine).map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(live.given, [of(["0", "1"]), of(["2", "3"])], "{ends:?}");
        for moment in 0..ends.len() {
            assert_eq!(run(&ends, Some(moment), true).given, live.given, "{ends:?} at {moment}");
        }
    }
}

#[test]
fn all_orders_of_two_chains_live_and_replayed() {
    // A child is at 2 or 3 by whose predecessor ended first, so these are all the orders.
    let legal = |ends: &Vec<i32>| {
        let at = |position| ends.iter().position(|end| *end == position).expect("it ends");
        let first = at(0).min(at(1));
        let second = at(0).max(at(1));
        first < at(2) && second < at(3)
    };
    let orders: Vec<_> = orders_of(&[0, 1, 2, 3]).into_iter().filter(legal).collect();
    assert_eq!(orders.len(), 6);
    for ends in orders {
        let live = run(&ends, None, false);
        for branch in &live.given {
            assert_eq!(branch.len(), 2, "{ends:?}");
        }
        for moment in 0..ends.len() {
            assert_eq!(run(&ends, Some(moment), false).given, live.given, "{ends:?} at {moment}");
        }
    }
}
