//! Whether the engine waits for its store.
//!
//! Every loop that tries the store again keeps an [`Outage`] from its first failure until it is
//! through. While there is one, the store is away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::Clock;
use crate::time::Timestamp;

/// Whether an engine can use its store: [`Coordinator::store_state`](crate::Coordinator::store_state).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreState {
    /// As far as the engine has tried: one that has nothing to store does not try.
    Available,
    /// It cannot be written or read now. The engine tries again, with pauses that grow to some
    /// seconds, and goes on by itself. Nothing is lost meanwhile, and what is submitted waits.
    Unavailable {
        /// Since when.
        since: Timestamp,
        /// What the store said last.
        reason: String,
    },
}

/// What an engine waits for. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outages(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    clock: Clock,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    since: Timestamp,
    /// Why each of them goes on.
    reasons: BTreeMap<u64, String>,
}

impl Outages {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, open: Mutex::default() }))
    }

    pub(crate) fn state(&self) -> StoreState {
        let open = self.open();
        match open.reasons.last_key_value() {
            None => StoreState::Available,
            Some((_, reason)) => {
                StoreState::Unavailable { since: open.since, reason: reason.clone() }
            }
        }
    }

    /// Something is about to be done that may have to be tried again.
    pub(super) const fn watch(&self) -> Outage<'_> {
        Outage { outages: self, number: None }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, reason: String) -> u64 {
        let open = &mut *self.open();
        if open.reasons.is_empty() {
            open.since = self.0.clock.now();
            tracing::warn!(reason, "the store is unavailable; the engine waits for it");
        }
        open.next += 1;
        open.reasons.insert(open.next, reason);
        open.next
    }

    fn end(&self, number: u64) {
        let open = &mut *self.open();
        open.reasons.remove(&number);
        if open.reasons.is_empty() {
            tracing::info!(since = %open.since, "the engine waits for the store no longer");
        }
    }
}

/// One thing that is tried until it is done. Dropping it says that nobody waits for it any more.
pub(super) struct Outage<'o> {
    outages: &'o Outages,
    number: Option<u64>,
}

impl Outage<'_> {
    /// It failed, and is going to be tried again.
    pub(super) fn failed(&mut self, reason: String) {
        match self.number {
            None => self.number = Some(self.outages.begin(reason)),
            Some(number) => drop(self.outages.open().reasons.insert(number, reason)),
        }
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.outages.end(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(outages: &Outages) -> Option<String> {
        match outages.state() {
            StoreState::Available => None,
            StoreState::Unavailable { reason, .. } => Some(reason),
        }
    }

    #[test]
    fn the_store_is_away_until_nobody_waits_for_it() {
        let outages = Outages::default();
        let (mut write, mut read) = (outages.watch(), outages.watch());
        assert_eq!(reason(&outages), None);
        write.failed("full".to_owned());
        assert_eq!(reason(&outages).as_deref(), Some("full"));
        let begun = outages.state();
        read.failed("cut".to_owned());
        write.failed("still full".to_owned());
        drop(read);
        assert_eq!(reason(&outages).as_deref(), Some("still full"));
        let (StoreState::Unavailable { since, .. }, StoreState::Unavailable { since: then, .. }) =
            (outages.state(), begun)
        else {
            panic!("it is away");
        };
        assert_eq!(since, then);
        drop(write);
        assert_eq!(outages.state(), StoreState::Available);
    }
}
