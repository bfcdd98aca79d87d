//! When a process is killed: at random, reproducibly, over its whole life.

use std::time::Duration;

/// What each step of a move begins its line with.
const STEPS: [&str; 9] = [
    "going on",
    "measured",
    "recorded",
    "made room",
    "copied",
    "verified",
    "switched",
    "read",
    "removed",
];
/// As many lines as a move prints.
const LINES: u64 = 55;
/// So many lines are printed only when something has ended since the start.
const LINES_OF_PROGRESS: u64 = 7;

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// So long after it was started.
    After(Duration),
    /// So long after it printed its n-th line.
    Lines(u64, Duration),
    /// So long after it printed a line that begins so.
    Step(&'static str, Duration),
}

/// Numbers and moments from a seed: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    fn micros(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).unwrap_or(1).max(1)))
    }

    /// Any moment of a process that runs for `life`.
    pub(crate) fn moment(&mut self, life: Duration) -> Moment {
        match self.below(4) {
            0 => Moment::After(self.micros(Duration::from_millis(30))),
            1 => Moment::After(self.micros(life)),
            2 => Moment::Lines(self.below(LINES), self.micros(Duration::from_millis(5))),
            _ => {
                let step = usize::try_from(self.number()).unwrap_or(usize::MAX) % STEPS.len();
                Moment::Step(STEPS[step], self.micros(Duration::from_millis(5)))
            }
        }
    }

    /// A moment when something has ended since the process was started. An engine takes a tree
    /// under which it dies again and again, and which gets nowhere, for the cause.
    pub(crate) fn moment_of_progress(&mut self) -> Moment {
        let lines = LINES_OF_PROGRESS + self.below(LINES - LINES_OF_PROGRESS);
        Moment::Lines(lines, self.micros(Duration::from_millis(5)))
    }
}
