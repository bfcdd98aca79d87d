//! When the machine wants to be woken.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::CommandId;
use crate::machine::Address;
use crate::time::Timestamp;

/// For each so many alarms the engine is woken a millisecond later than the first is due, for all
/// that are due by then: to be woken is what costs most where many are polled.
const ALARMS_A_MILLISECOND: usize = 200;
/// It is never woken later than that.
const LATEST: Duration = Duration::from_millis(50);

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
        Some(when.after(self.lateness()).since(now))
    }

    /// How much later than it is due the engine is woken for the next one.
    fn lateness(&self) -> Duration {
        let millis = u64::try_from(self.0.len() / ALARMS_A_MILLISECOND).unwrap_or(u64::MAX);
        Duration::from_millis(millis).min(LATEST)
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

    /// So many alarms, a second from now.
    fn alarms(count: usize, now: Timestamp) -> Alarms {
        let mut alarms = Alarms::default();
        for n in 0..count {
            let id = CommandId::from_uuid(uuid::Uuid::from_u128(n as u128));
            alarms.set(Address { root: id, command: id }, now.after(SECOND));
        }
        alarms
    }

    const NOW: Timestamp = Timestamp::from_micros(0);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn many_alarms_are_waited_for_together() {
        for (count, millis) in [(1, 0), (199, 0), (200, 1), (2_000, 10), (20_000, 50)] {
            let mut alarms = alarms(count, NOW);
            let late = Duration::from_millis(millis);
            assert_eq!(alarms.pause(NOW), Some(SECOND + late), "{count}");
            let due = std::iter::from_fn(|| alarms.pop(NOW.after(SECOND + late))).count();
            assert_eq!((due, alarms.pause(NOW)), (count, None));
        }
    }

    #[test]
    fn an_engine_that_has_much_to_do_puts_no_alarm_off() {
        let alarms = alarms(2_000, NOW);
        let pause = |millis| alarms.pause(NOW.after(SECOND + Duration::from_millis(millis)));
        assert_eq!(pause(4), Some(Duration::from_millis(6)));
        assert_eq!(pause(11), Some(Duration::ZERO));
    }
}
