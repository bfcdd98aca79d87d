//! The log of the locks, and what must hold of the intervals in it.

use std::collections::{BTreeMap, HashMap};

use super::Ledger;
use crate::id::CommandId;
use crate::lock::LockMode;

/// All that has happened to locks, in its order.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The number of the commit that is read.
    pub(super) commit: usize,
    entries: Vec<Entry>,
    /// In which commit commands have ended.
    pub(super) ends: HashMap<CommandId, usize>,
}

#[derive(Debug)]
struct Entry {
    commit: usize,
    owner: CommandId,
    key: String,
    event: Event,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// It is held from now on, in this mode.
    Granted(LockMode),
    Freed,
    /// The request of this number waits.
    Queued(i32),
    /// It does not any more.
    Left(i32),
}

impl Log {
    pub(super) fn add(&mut self, owner: CommandId, key: String, event: Event) {
        self.entries.push(Entry { commit: self.commit, owner, key, event });
    }
}

/// Who holds one key, since which commit.
type Holders = BTreeMap<CommandId, LockMode>;

impl Ledger {
    /// No two that conflict hold a key at once, nothing is held or waited for after the end of who
    /// does, and all is let go in the end.
    pub(in super::super) fn check_intervals(&self) {
        let log = &self.locks.log;
        let mut held: HashMap<&str, Holders> = HashMap::new();
        let mut waits: HashMap<(CommandId, i32, &str), usize> = HashMap::new();
        for entry in &log.entries {
            let Entry { commit, owner, key, event } = entry;
            let end = log.ends.get(owner).copied().expect("everything has ended");
            assert!(*commit <= end, "{owner} has ended in {end}: {entry:?}");
            let holders = held.entry(key).or_default();
            match event {
                Event::Granted(mode) => {
                    for (other, theirs) in &*holders {
                        let exclusive = [mode, theirs].contains(&&LockMode::Exclusive);
                        let related = self.is_of(*owner, *other) || self.is_of(*other, *owner);
                        assert!(!exclusive || related, "{other} holds it as well: {entry:?}");
                    }
                    holders.insert(*owner, *mode);
                }
                Event::Freed => {
                    assert!(holders.remove(owner).is_some(), "it does not hold it: {entry:?}");
                }
                Event::Queued(number) => {
                    let before = waits.insert((*owner, *number, key), *commit);
                    assert_eq!(before, None, "it waits twice: {entry:?}");
                }
                Event::Left(number) => {
                    let before = waits.remove(&(*owner, *number, &**key));
                    assert!(before.is_some(), "it does not wait: {entry:?}");
                }
            }
        }
        held.retain(|_, holders| !holders.is_empty());
        assert!(held.is_empty(), "locks are left: {held:?}");
        assert!(waits.is_empty(), "somebody waits for ever: {waits:?}");
    }
}
