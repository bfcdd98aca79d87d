//! What a batch does to the locks, as one deletion and one insertion. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coco_core::CommandId;
use coco_core::lock::{self, HeldLock, HeldLocks, LockConflict, LockMode, LockRequest};
use coco_core::store::{Step, Write};

/// The keys that the steps ask for, each once, and whether any asks for it exclusively: who holds
/// them decides the batch, and who shares them decides only about an exclusive request.
pub(crate) fn asked_keys<'a>(steps: &[&'a Step]) -> Vec<(&'a str, &'a str, bool)> {
    let requests = steps.iter().filter_map(|step| step.request.as_deref());
    let mut keys = BTreeMap::new();
    for lock in requests.flat_map(|request| &request.locks) {
        let exclusive = keys.entry((lock.group.as_ref(), lock.key.as_str())).or_insert(false);
        *exclusive |= lock.mode == LockMode::Exclusive;
    }
    keys.into_iter().map(|((group, key), exclusive)| (group, key, exclusive)).collect()
}

/// The commands that the steps pass locks from or to, each once: all that they hold counts.
pub(crate) fn passing(steps: &[&Step]) -> BTreeSet<CommandId> {
    let writes = steps.iter().flat_map(|step| &step.writes);
    let passes = writes.filter_map(|write| match write {
        Write::Pass { from, to, .. } => Some([*from, *to]),
        _ => None,
    });
    passes.flatten().collect()
}

/// What becomes of the locks: those of `released` are deleted, and `granted` is merged into what
/// is left. A lock that is passed on is deleted and granted, so passes need no order of their own.
#[derive(Debug, Default)]
pub(crate) struct LockChanges {
    released: BTreeSet<CommandId>,
    granted: HeldLocks,
    /// Who holds what now, as far as the requests of the batch can tell.
    held: HeldLocks,
    /// What the commands that pass locks hold in the store, until it is passed on or released.
    stored: HashMap<CommandId, Vec<HeldLock>>,
}

impl LockChanges {
    /// Nothing yet. `holders` holds the keys that are asked for; `passing` is all that the
    /// commands hold that pass locks from or to.
    pub(crate) fn new(holders: Vec<HeldLock>, passing: Vec<HeldLock>) -> Self {
        let mut changes = Self::default();
        for lock in holders {
            changes.held.insert(lock);
        }
        for lock in passing {
            changes.held.insert(lock.clone());
            changes.stored.entry(lock.owner).or_default().push(lock);
        }
        changes
    }

    /// Grants all that is asked for, or nothing.
    pub(crate) fn grant(&mut self, request: &LockRequest) -> Result<(), LockConflict> {
        lock::decide(&self.held, request)?;
        for lock in request.granted() {
            self.held.insert(lock.clone());
            self.granted.insert(lock);
        }
        Ok(())
    }

    /// Does what a write says about locks, if it does.
    pub(crate) fn apply(&mut self, write: &Write) {
        match write {
            Write::Release(owner) => {
                self.stored.remove(owner);
                self.released.insert(*owner);
                self.granted.release(*owner);
                self.held.release(*owner);
            }
            Write::Pass { from, to, command_type } if from != to => {
                if let Some(stored) = self.stored.remove(from) {
                    self.released.insert(*from);
                    stored.into_iter().for_each(|lock| self.granted.insert(lock));
                }
                self.granted.pass(*from, *to, command_type);
                self.held.pass(*from, *to, command_type);
            }
            _ => {}
        }
    }

    /// Whose stored locks are deleted, before any are inserted.
    pub(crate) fn released(&self) -> impl Iterator<Item = CommandId> {
        self.released.iter().copied()
    }

    /// The locks to insert, or to merge with what is left, in no order.
    pub(crate) fn granted(&self) -> impl Iterator<Item = &HeldLock> {
        self.granted.iter()
    }
}

#[cfg(test)]
mod tests;
