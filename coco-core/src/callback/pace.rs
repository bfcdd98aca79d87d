//! At what intervals a command is polled.

use std::time::Duration;

/// How long a command that has subscribed to events is not polled, unless it says otherwise: 5
/// minutes.
pub const EVENT_TIMEOUT: Duration = Duration::from_secs(300);

/// The pauses before the polls of a command, `poll(every = "1s", max = "10s")`: the first one, then
/// each time double the one before, up to the longest. When something has changed they begin again.
///
/// Whoever waits longer than its tree stays in memory, a minute, waits for the longest interval next.
///
/// Doubling up to a longest pause is what oVirt's poller did: 1, 2, 4, 8, 10, 10 … seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    every: Duration,
    max: Duration,
}

impl Pace {
    /// First after 1 second, at last every 10 seconds.
    pub const DEFAULT: Self = Self::new(Duration::from_secs(1), Duration::from_secs(10));

    /// The first pause, and the longest; one that is shorter than the first counts as that.
    pub const fn new(every: Duration, max: Duration) -> Self {
        let max = if max.as_nanos() < every.as_nanos() { every } else { max };
        Self { every, max }
    }

    /// The first pause.
    pub(crate) const fn first(&self) -> Duration {
        self.every
    }

    /// The longest pause.
    pub(crate) const fn longest(&self) -> Duration {
        self.max
    }

    /// The pause after one of `pause`.
    pub(crate) fn after(&self, pause: Duration) -> Duration {
        pause.saturating_mul(2).clamp(self.every, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = std::iter::successors(Some(Pace::DEFAULT.first()), |pause| {
            Some(Pace::DEFAULT.after(*pause))
        });
        let seconds: Vec<_> = pauses.take(7).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10, 10]);
    }

    #[test]
    fn the_longest_pause_is_no_shorter_than_the_first() {
        let pace = Pace::new(Duration::from_secs(5), Duration::from_secs(1));
        assert_eq!(pace.after(pace.first()), Duration::from_secs(5));
    }
}
