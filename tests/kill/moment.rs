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
pub(crate) const LINES: u32 = 55;
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

    /// Any moment of a process that has so much of a move before it, which takes `life` as a whole.
    pub(crate) fn moment(&mut self, life: Duration, lines_to_come: u32) -> Moment {
        match self.below(4) {
            0 => Moment::After(self.micros(Duration::from_millis(30))),
            1 => Moment::After(self.micros(life * lines_to_come / LINES)),
            2 => {
                let line = self.below(lines_to_come.into());
                Moment::Lines(line, self.micros(Duration::from_millis(5)))
            }
            _ => {
                let step = usize::try_from(self.number()).unwrap_or(usize::MAX) % STEPS.len();
                Moment::Step(STEPS[step], self.micros(Duration::from_millis(5)))
            }
        }
    }

    /// A moment when something has ended since the process was started. A kill without
    /// progress is followed by one of these, so that every move ends.
    pub(crate) fn moment_of_progress(&mut self) -> Moment {
        let line = LINES_OF_PROGRESS + self.below(u64::from(LINES) - LINES_OF_PROGRESS);
        Moment::Lines(line, self.micros(Duration::from_millis(5)))
    }
}
