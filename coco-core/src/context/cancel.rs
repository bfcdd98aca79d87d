//! How code that runs is told that it is cancelled.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set once, when the command is cancelled.
#[derive(Debug, Default)]
pub(crate) struct CancelFlag {
    is_set: AtomicBool,
    set: Notify,
}

impl CancelFlag {
    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.set.notify_waiters();
    }

    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Waits until it is set.
    pub(super) async fn is_set_now(&self) {
        let set = self.set.notified();
        if !self.is_set() {
            set.await;
        }
    }
}
