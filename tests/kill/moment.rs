//! When a process is killed: at random, reproducibly, over its whole life.

use std::time::Duration;

/// What each step of a move begins its line with.
pub(crate) const STEPS: [&str; 10] = [
    "going on",
    "measured",
    "recorded",
    "made room",
    "copied",
    "verified",
    "switched",
    "read",
    "set",
    "removed",
];
/// The steps after which little time is left to cancel.
pub(crate) const LAST_STEPS: [&str; 4] = ["verified", "switched", "read", "set"];
/// What each step of undoing a move begins its line with.
pub(crate) const STEPS_BACK: [&str; 5] =
    ["cancelled", "undone", "undone: the copy", "undone: the switch", "undone: the room"];
/// As many lines as a move prints.
pub(crate) const LINES: u32 = 56;
/// After as many lines a process that only undoes is killed.
pub(crate) const LINES_BACK: u64 = 12;
/// So many lines are printed only when something has ended since the start.
const LINES_OF_PROGRESS: u64 = 7;

/// When a process gets a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// So long after it was started.
    After(Duration),
    /// So long after it printed its n-th line.
    Lines(u64, Duration),
    /// So long after it printed a line that begins so.
    Step(&'static str, Duration),
}

impl Moment {
    /// How long after the start it is, if nothing need be printed before.
    pub(crate) const fn at_start(&self) -> Option<Duration> {
        match self {
            Self::After(time) | Self::Lines(0, time) => Some(*time),
            Self::Lines(..) | Self::Step(..) => None,
        }
    }

    /// How long it is after a line, the n-th that is printed, if it is about that one.
    pub(crate) fn after_line(&self, printed: u64, line: &str) -> Option<Duration> {
        match self {
            Self::Lines(n, time) if printed == *n => Some(*time),
            Self::Step(step, time) if line.starts_with(step) => Some(*time),
            _ => None,
        }
    }
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

    pub(crate) fn below(&mut self, end: u64) -> u64 {
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
            2 => self.line(lines_to_come.into()),
            _ => self.step(&STEPS),
        }
    }

    /// Just after one of the first lines.
    pub(crate) fn line(&mut self, end: u64) -> Moment {
        let line = self.below(end);
        Moment::Lines(line, self.micros(Duration::from_millis(5)))
    }

    /// Just after one of `steps`.
    pub(crate) fn step(&mut self, steps: &[&'static str]) -> Moment {
        let step = usize::try_from(self.number()).unwrap_or(usize::MAX) % steps.len();
        Moment::Step(steps[step], self.micros(Duration::from_millis(5)))
    }

    /// A moment when something has ended since the process was started. A kill without
    /// progress is followed by one of these, so that every move ends.
    pub(crate) fn moment_of_progress(&mut self) -> Moment {
        let line = LINES_OF_PROGRESS + self.below(u64::from(LINES) - LINES_OF_PROGRESS);
        Moment::Lines(line, self.micros(Duration::from_millis(5)))
    }
}
