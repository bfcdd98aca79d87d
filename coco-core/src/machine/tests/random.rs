//! The machine under the simulator, in numbers.

use std::thread;
use std::time::Instant;

use crate::testing::simulator::{Faults, Report, Simulation};

/// Inputs of one long run, after which it is left to end.
const RUN: usize = 20_000;
/// Long runs with all faults: a million inputs, or a twelfth of it where nothing is optimised.
const RUNS: u64 = if cfg!(debug_assertions) { 4 } else { 50 };
/// Short runs of a few trees.
const SHORT_RUNS: u64 = if cfg!(debug_assertions) { 300 } else { 10_000 };
const THREADS: u64 = 2;

pub(super) fn drive(
    seeds: std::ops::Range<u64>,
    inputs: usize,
    of: impl Fn(u64) -> Simulation + Sync,
) -> Report {
    let began = Instant::now();
    let share = |thread: u64| {
        let mut sum = Report::default();
        for seed in seeds.clone().filter(|seed| seed % THREADS == thread) {
            sum += of(seed).run(inputs);
        }
        sum
    };
    let mut sum = Report::default();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
        threads.into_iter().for_each(|thread| sum += thread.join().expect("no check fails"));
    });
    eprintln!("{:.1} s for {sum:?}", began.elapsed().as_secs_f64());
    sum
}

#[test]
fn a_million_inputs_keep_every_promise() {
    let report = drive(0..RUNS, RUN, |seed| Simulation::new(seed).faults(Faults::ALL));
    let Report { deaths, stops, rejections, cancels, retries, abandons, .. } = report;
    assert!([deaths, stops, rejections, cancels, retries, abandons].iter().all(|some| *some > 0));
    let Report { duplicates, compensations, timeouts, stuck, rounds, .. } = report;
    assert!(
        [duplicates, compensations, timeouts, stuck, rounds].iter().all(|some| *some > 0),
        "{report:?}"
    );
}

#[test]
fn small_trees_of_many_seeds_keep_every_promise() {
    let faults = Faults { death: 60, stop: 120, rejection: 40, order: 25, divergence: 100 };
    drive(100_000..100_000 + SHORT_RUNS, 120, |seed| {
        let trees = usize::try_from(seed % 3 + 1).expect("a small number");
        Simulation::new(seed).trees(trees).faults(faults)
    });
}

#[test]
fn the_same_seed_gives_the_same_report() {
    for seed in 0..6 {
        let simulation = Simulation::new(seed).faults(Faults::ALL);
        assert_eq!(simulation.run(2_000), simulation.run(2_000), "seed {seed}");
    }
}

#[test]
fn a_tree_that_lies_still_while_it_is_polled_tells_the_same() {
    let seeds = if cfg!(debug_assertions) { 0..12 } else { 0..400 };
    for seed in seeds {
        let simulation = Simulation::new(seed).faults(Faults::ALL);
        let touched = simulation.touching_all().run(2_000);
        assert_eq!(simulation.run(2_000), touched, "seed {seed}");
    }
}

#[test]
fn without_faults_nothing_is_lost_or_stuck() {
    let report = drive(1000..1002, RUN / 2, Simulation::new);
    assert_eq!((report.deaths, report.rejections, report.convictions), (0, 0, 0));
}

#[test]
fn death_after_death() {
    let faults = Faults { death: 40, ..Faults::NONE };
    let report = drive(2000..2006, 2_000, |seed| Simulation::new(seed).faults(faults));
    assert!(report.convictions > 0, "{report:?}");
}

#[test]
fn rejection_after_rejection() {
    let faults = Faults { rejection: 8, ..Faults::NONE };
    drive(3000..3006, 2_000, |seed| Simulation::new(seed).faults(faults));
}

#[test]
fn order_after_order() {
    let faults = Faults { order: 6, divergence: 40, ..Faults::NONE };
    drive(4000..4006, 2_000, |seed| Simulation::new(seed).faults(faults));
}

/// The last round of a fan-out that launched a tree was lost, and came to no end when it was said
/// again.
#[test]
fn a_lost_last_round_that_launches_is_the_last_again() {
    let faults = Faults { rejection: 8, ..Faults::NONE };
    drive(6066..6067, 1500, |seed| Simulation::new(seed).faults(faults));
}
