//! A random scheduler drives the machine over a model of the runtime and a real store in memory.
//!
//! Trees of random scripts run side by side. What happens next is rolled: some code goes on, the
//! runtime hears of it, a part of the queue is committed, a hold is let go, something stuck is
//! tried again, a step is rejected, the engine stops or dies. Every step that is stored is checked
//! when it is applied; when all has ended, each outcome is compared with what its script makes of
//! the stored outcomes of its children.

mod dice;
mod ledger;
mod oracle;
mod runtime;
mod script;
mod task;

use std::thread;
use std::time::Instant;

use self::runtime::{Faults, Runtime};

/// Inputs of one run, after which it is left to end.
const RUN: usize = 20_000;
/// Runs with all faults: a million inputs, or a fifth of it where nothing is optimised.
const RUNS: u64 = if cfg!(debug_assertions) { 10 } else { 50 };
const THREADS: u64 = 2;

fn drive(seeds: std::ops::Range<u64>, run: usize, faults: Faults) {
    let began = Instant::now();
    let inputs_of = |seed| {
        let mut runtime = Runtime::new(seed, faults);
        while runtime.inputs < run {
            runtime.next();
        }
        runtime.drain();
        runtime.inputs
    };
    let inputs: usize = thread::scope(|scope| {
        let share = |thread: u64| seeds.clone().filter(move |seed| seed % THREADS == thread);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let seeds = share(thread);
                    move || seeds.map(inputs_of).sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no check fails")).sum()
    });
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{inputs} inputs in {seconds:.1} s");
}

#[test]
fn a_million_inputs_keep_every_promise() {
    drive(0..RUNS, RUN, Faults::ALL);
}

#[test]
fn without_faults_nothing_is_lost_or_stuck() {
    drive(1000..1002, RUN, Faults::NONE);
}

#[test]
fn death_after_death() {
    drive(2000..2006, 2_000, Faults { death: 40, ..Faults::NONE });
}

#[test]
fn rejection_after_rejection() {
    drive(3000..3006, 2_000, Faults { rejection: 8, ..Faults::NONE });
}
