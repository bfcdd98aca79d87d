//! When the machine wants to be woken.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::CommandId;
use crate::machine::Address;
use crate::time::Timestamp;

/// Of so many alarms the engine is not woken for each alone.
const MANY: usize = 1_000;
/// It is woken so much later then, for all that are due by that time.
const TOGETHER: Duration = Duration::from_millis(10);

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

    /// How long to wait for the next one, or for those that are due with it.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        let ((when, _), _) = self.0.first_key_value()?;
        let together = if self.0.len() > MANY { TOGETHER } else { Duration::ZERO };
        Some(when.since(now) + together)
    }

    /// When the next one is that a command has: looked for among all.
    pub(super) fn next_of(&self, command: CommandId) -> Option<Timestamp> {
        self.0.keys().find(|(_, of)| *of == command).map(|(when, _)| *when)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_alarms_are_waited_for_together() {
        let id = |n: usize| CommandId::from_uuid(uuid::Uuid::from_u128(n as u128));
        let at = |n| Address { root: id(n), command: id(n) };
        let (now, second) = (Timestamp::from_micros(0), Duration::from_secs(1));
        let mut alarms = Alarms::default();
        (0..MANY).for_each(|n| alarms.set(at(n), now.after(second)));
        assert_eq!(alarms.pause(now), Some(second));
        alarms.set(at(MANY), now.after(2 * second));
        assert_eq!(alarms.pause(now), Some(second + TOGETHER));
        let due = std::iter::from_fn(|| alarms.pop(now.after(second + TOGETHER))).count();
        assert_eq!((due, alarms.pause(now)), (MANY, Some(2 * second)));
    }
}
