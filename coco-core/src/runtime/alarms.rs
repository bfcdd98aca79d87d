//! When the machine wants to be woken.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::CommandId;
use crate::machine::Address;
use crate::time::Timestamp;

/// Alarms, by time.
#[derive(Debug, Default)]
pub(super) struct Alarms(BTreeMap<(Timestamp, CommandId), CommandId>);

impl Alarms {
    pub(super) fn set(&mut self, at: Address, when: Timestamp) {
        self.0.insert((when, at.command), at.root);
    }

    pub(super) fn disarm(&mut self, command: CommandId, when: Timestamp) {
        self.0.remove(&(when, command));
    }

    /// The next one that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(Address, Timestamp)> {
        let first = self.0.first_entry().filter(|first| first.key().0 <= now)?;
        let ((when, command), root) = first.remove_entry();
        Some((Address { root, command }, when))
    }

    /// How long to wait for the next one.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        let ((when, _), _) = self.0.first_key_value()?;
        Some(when.since(now))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
