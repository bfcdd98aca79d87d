//! What time it is for an engine.

#[cfg(any(test, feature = "testing"))]
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::time::Timestamp;

/// The system's clock may be set, so nothing is waited for longer without looking at it again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A clock: the system's, or in tests the one of tokio, which can be paused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    System,
    #[cfg(any(test, feature = "testing"))]
    Tokio { started: tokio::time::Instant, at: SystemTime },
}

impl Clock {
    /// The clock of tokio. It shows the same time to every engine of a test, so that it does not go
    /// back when the next one starts.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn tokio() -> Self {
        static FIRST: OnceLock<(tokio::time::Instant, SystemTime)> = OnceLock::new();
        let (started, at) = *FIRST.get_or_init(|| (tokio::time::Instant::now(), SystemTime::now()));
        Self::Tokio { started, at }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System => SystemTime::now().into(),
            #[cfg(any(test, feature = "testing"))]
            Self::Tokio { started, at } => (*at + started.elapsed()).into(),
        }
    }

    /// How long to wait, of `pause`, before the clock is looked at again.
    pub(crate) fn wait(&self, pause: Duration) -> Duration {
        match self {
            Self::System => pause.min(LOOK_AGAIN),
            #[cfg(any(test, feature = "testing"))]
            Self::Tokio { .. } => pause.min(LOOK_AGAIN * 60 * 24 * 365),
        }
    }
}
