//! Trees that contend for few keys: locks, lines, late requests, and all that can go wrong.

use super::random::drive;
use crate::testing::simulator::{Faults, Simulation};

/// Cases of sixty inputs and more, and then left to end.
const CASES: u64 = if cfg!(debug_assertions) { 200 } else { 2_000 };

#[test]
fn no_lock_is_held_by_two_left_behind_or_waited_for_in_vain() {
    let faults = Faults { death: 60, stop: 120, rejection: 40, order: 25, divergence: 100 };
    let report = drive(200_000..200_000 + CASES, 60, |seed| {
        let small = |some: u64| usize::try_from(some).expect("a small number");
        let (trees, keys) = (small(seed % 4 + 2), small(seed % 3 + 1));
        Simulation::new(seed).trees(trees).keys(keys).faults(faults)
    });
    let waits = [report.queued, report.grants, report.deadlocks, report.lock_timeouts];
    assert!(waits.iter().all(|some| *some > 0), "{report:?}");
}
