//! How something that failed is tried again: how often, and after which pause.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::CommandId;

/// No pause is longer: a year.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 86_400);

/// What a failure says about another attempt.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Again {
    /// As the command's retry says.
    #[default]
    AsDeclared,
    /// After this pause, if there is an attempt left.
    After(Duration),
    /// Never: it would fail again.
    Never,
}

/// How often something is tried, and how long the pause before the next attempt is: it doubles
/// from `backoff` up to `max_backoff`, a fifth more or less, so that what failed together is not
/// tried again together.
///
/// ```
/// use std::time::Duration;
/// use coco_core::Retry;
///
/// let patient = Retry::new(8).backoff(Duration::from_secs(2)).max_backoff(Duration::from_secs(60));
/// # assert_eq!(patient.attempts(), 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retry {
    attempts: u32,
    backoff: Duration,
    max_backoff: Duration,
}

impl Retry {
    /// At most `attempts` in all, the first one counted; 0 is 1. The first pause is 1 second, the
    /// longest 5 minutes.
    pub const fn new(attempts: u32) -> Self {
        let attempts = if attempts == 0 { 1 } else { attempts };
        Self { attempts, backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(300) }
    }

    /// With this first pause.
    #[must_use]
    pub const fn backoff(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self
    }

    /// With this longest pause.
    #[must_use]
    pub const fn max_backoff(mut self, max_backoff: Duration) -> Self {
        self.max_backoff = max_backoff;
        self
    }

    /// How many attempts there are in all.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The pause after `failed` attempts of `command`; none when there is to be no other. The
    /// same on every call: what differs between commands and attempts is their fifth.
    pub(crate) fn pause_after(
        &self,
        failed: i32,
        command: CommandId,
        again: Again,
    ) -> Option<Duration> {
        let failed = u32::try_from(failed).unwrap_or(0).max(1);
        if failed >= self.attempts {
            return None;
        }
        match again {
            Again::AsDeclared => {}
            Again::After(pause) => return Some(pause.min(LONGEST_PAUSE)),
            Again::Never => return None,
        }
        let doubled =
            self.backoff.saturating_mul(1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX));
        let pause = doubled.min(self.max_backoff).min(LONGEST_PAUSE);
        Some(pause / 5 * 4 + pause * 2 / 5 / 1024 * spread(failed, command))
    }
}

/// A number below 1024 that is another for every command and attempt: FNV-1a, folded.
fn spread(attempt: u32, command: CommandId) -> u32 {
    let bytes = command.as_uuid().as_bytes().iter().copied().chain(attempt.to_le_bytes());
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 22) ^ (hash & 0x3ff)
}

#[cfg(test)]
mod tests {
    use super::Again::AsDeclared;
    use super::*;

    fn command(n: u128) -> CommandId {
        CommandId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn the_pause_doubles_up_to_the_longest_and_ends_with_the_attempts() {
        let retry =
            Retry::new(6).backoff(Duration::from_secs(1)).max_backoff(Duration::from_secs(5));
        for (failed, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (5, 5.0)] {
            let pause = retry.pause_after(failed, command(7), AsDeclared).unwrap().as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&pause), "{failed}: {pause}");
        }
        assert_eq!(retry.pause_after(6, command(7), AsDeclared), None);
        assert_eq!(retry.pause_after(7, command(7), AsDeclared), None);
        assert_eq!(Retry::new(0).pause_after(1, command(7), AsDeclared), None);
    }

    #[test]
    fn a_failure_may_say_when_and_that_it_would_come_again() {
        let (retry, pause) = (Retry::new(2), Duration::from_secs(77));
        assert_eq!(retry.pause_after(1, command(1), Again::After(pause)), Some(pause));
        assert_eq!(retry.pause_after(2, command(1), Again::After(pause)), None);
        assert_eq!(retry.pause_after(1, command(1), Again::Never), None);
    }

    #[test]
    fn what_failed_together_is_not_tried_again_together() {
        let retry = Retry::new(2);
        let pauses: std::collections::HashSet<_> =
            (0..100).map(|n| retry.pause_after(1, command(n), AsDeclared)).collect();
        assert!(pauses.len() > 50, "{} pauses", pauses.len());
    }

    #[test]
    fn no_pause_overflows() {
        let retry = Retry::new(u32::MAX).backoff(Duration::MAX).max_backoff(Duration::MAX);
        assert!(
            retry.pause_after(i32::MAX, command(1), AsDeclared).unwrap() <= LONGEST_PAUSE * 6 / 5
        );
    }
}
