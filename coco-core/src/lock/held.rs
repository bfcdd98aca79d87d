//! Who holds what.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{HeldLock, Key, Lock, LockMode};
use crate::id::CommandId;

/// Locks that are held, by key and by owner.
#[derive(Debug, Default)]
pub(super) struct HeldLocks {
    by_key: HashMap<Key, Holders>,
    by_owner: HashMap<CommandId, Vec<Key>>,
}

/// Who holds one key. A shared request looks at the exclusive ones only, so many may share.
#[derive(Debug, Default)]
struct Holders {
    all: BTreeMap<CommandId, HeldLock>,
    exclusive: BTreeSet<CommandId>,
}

impl HeldLocks {
    /// Adds a lock that is held; a command that holds it already gets the stronger mode, since
    /// the earlier time.
    pub(super) fn insert(&mut self, held: HeldLock) {
        let (owner, mode) = (held.owner, held.lock.mode);
        let key = held.lock.name();
        let holders = self.by_key.entry(key.clone()).or_default();
        if mode == LockMode::Exclusive {
            holders.exclusive.insert(owner);
        }
        match holders.all.get_mut(&owner) {
            Some(own) => {
                own.lock.mode = own.lock.mode.max(mode);
                own.since = own.since.min(held.since);
            }
            None => {
                self.by_owner.entry(owner).or_default().push(key);
                holders.all.insert(owner, held);
            }
        }
    }

    /// Frees all that `owner` holds, and says which keys that were.
    pub(super) fn release(&mut self, owner: CommandId) -> Vec<Key> {
        let keys = self.by_owner.remove(&owner).unwrap_or_default();
        for key in &keys {
            self.remove(owner, key);
        }
        keys
    }

    /// Frees one key of `owner`.
    pub(super) fn release_one(&mut self, owner: CommandId, key: &Key) {
        if let Some(keys) = self.by_owner.get_mut(&owner) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
        self.remove(owner, key);
    }

    fn remove(&mut self, owner: CommandId, key: &Key) {
        if let Some(holders) = self.by_key.get_mut(key) {
            holders.all.remove(&owner);
            holders.exclusive.remove(&owner);
            if holders.all.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    /// Gives all that `from` holds to `to`, and says which keys that were. What both hold is held
    /// once, in the stronger mode, since the earlier time.
    #[expect(clippy::ptr_arg, reason = "a name of the program is cloned without a copy")]
    pub(super) fn pass(
        &mut self,
        from: CommandId,
        to: CommandId,
        command_type: &Cow<'static, str>,
    ) -> Vec<Key> {
        if from == to {
            return Vec::new();
        }
        for key in self.by_owner.get(&from).cloned().unwrap_or_default() {
            if let Some(held) = self.of(&key, from).cloned() {
                self.insert(held.passed_to(to, command_type.clone()));
            }
        }
        self.release(from)
    }

    /// What `owner` holds of a key.
    pub(super) fn of(&self, key: &Key, owner: CommandId) -> Option<&HeldLock> {
        self.by_key.get(key)?.all.get(&owner)
    }

    /// Whether `owner` holds anything.
    pub(super) fn holds_any(&self, owner: CommandId) -> bool {
        self.by_owner.contains_key(&owner)
    }

    /// All who hold a key.
    pub(super) fn all_of(&self, key: &Key) -> impl Iterator<Item = &HeldLock> {
        self.by_key.get(key).into_iter().flat_map(|holders| holders.all.values())
    }

    /// All that is held, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldLock> {
        self.by_key.values().flat_map(|holders| holders.all.values())
    }

    /// The locks of others than `may_share_with` that `lock` conflicts with.
    pub(super) fn in_the_way(
        &self,
        lock: &Lock,
        may_share_with: impl Fn(CommandId) -> bool,
    ) -> impl Iterator<Item = &HeldLock> {
        let holders = self.by_key.get(&lock.name());
        let of_mode = holders.into_iter().flat_map(move |holders| {
            let exclusive = holders.exclusive.iter().filter(move |_| lock.mode == LockMode::Shared);
            let all = holders.all.keys().filter(move |_| lock.mode == LockMode::Exclusive);
            exclusive.chain(all).filter_map(|owner| holders.all.get(owner))
        });
        of_mode.filter(move |held| !may_share_with(held.owner))
    }
}
