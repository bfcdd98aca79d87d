//! Locks: what a command declares, who holds what, and the one decision between them.
//!
//! A lock is a (group, key) pair in a mode, owned by a command. All the locks of a request are
//! granted or none. An exclusive lock conflicts with any other on its key, a shared one with an
//! exclusive one; **the locks of a command's own ancestors never stand in its way**, those of its
//! siblings do. Stores call [`decide`] inside the commit, so that memory and every database
//! answer alike.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::id::CommandId;
use crate::storable::{NotStorable, storable_text};
use crate::time::Timestamp;

/// Names a thing that can be locked. Derive it: `#[derive(LockKey)] #[lock_key(group = "disk")]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name a locked thing",
    label = "no lock key",
    note = "put `#[derive(LockKey)] #[lock_key(group = \"…\")]` on `{Self}`, or give the field a group: `#[lock(exclusive, group = \"…\")]`"
)]
pub trait LockKey {
    /// The kind of thing; keys of two groups never meet.
    const GROUP: &'static str;

    /// Which one of its kind.
    fn key(&self) -> String;
}

/// Whether others may hold the lock as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// Others may hold it shared.
    Shared,
    /// Nobody else may hold it, but for the command's own ancestors.
    Exclusive,
}

impl LockMode {
    /// The text that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

impl std::str::FromStr for LockMode {
    type Err = std::convert::Infallible;

    /// Text of a mode that this program does not know is the stronger one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "shared" { Self::Shared } else { Self::Exclusive })
    }
}

/// How long a command keeps its locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockScope {
    /// It takes none.
    #[default]
    None,
    /// Until the work has succeeded, or has failed and ended.
    Execution,
    /// Until the end hook is through.
    Command,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The kind of thing.
    pub group: Cow<'static, str>,
    /// Which one.
    pub key: String,
    /// Shared or exclusive.
    pub mode: LockMode,
}

/// Whether every store takes the keys of `locks`.
pub(crate) fn storable_keys(locks: &[Lock]) -> Result<(), NotStorable> {
    locks.iter().flat_map(|lock| [&*lock.group, &*lock.key]).try_for_each(storable_text)
}

/// The locks that a command asks for, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// The command that asks.
    pub owner: CommandId,
    /// Its stored name, for those who meet its locks.
    pub command_type: Cow<'static, str>,
    /// Its ancestors; their locks do not stand in its way.
    pub ancestors: Vec<CommandId>,
    /// What it asks for.
    pub locks: Vec<Lock>,
    /// When it asks; what it is granted is held since then.
    pub at: Timestamp,
}

impl LockRequest {
    /// What the command holds when the request is granted.
    pub fn granted(&self) -> impl Iterator<Item = HeldLock> {
        self.locks.iter().map(|lock| HeldLock {
            owner: self.owner,
            command_type: self.command_type.clone(),
            lock: lock.clone(),
            since: self.at,
        })
    }
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The command that holds it.
    pub owner: CommandId,
    /// The stored name of that command.
    pub command_type: Cow<'static, str>,
    /// What it holds.
    pub lock: Lock,
    /// Since when.
    pub since: Timestamp,
}

/// Why a request was refused, and by whose lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "{group} `{key}` is locked by {command_type} `{holder}`, so it cannot be locked {} now", self.mode.as_str()
)]
pub struct LockConflict {
    /// The kind of thing.
    pub group: String,
    /// Which one.
    pub key: String,
    /// The mode that was asked for.
    pub mode: LockMode,
    /// The command that holds it.
    pub holder: CommandId,
    /// The stored name of the holder.
    pub command_type: String,
    /// Since when it is held.
    pub since: Timestamp,
}

/// Who holds what, by key: the part of the lock table that a decision needs.
#[derive(Debug, Default)]
pub struct HeldLocks {
    by_key: HashMap<Key, Holders>,
    by_owner: HashMap<CommandId, Vec<Key>>,
}

/// Group and key.
type Key = (Cow<'static, str>, String);

/// Who holds one key. A shared request looks at the exclusive ones only, so many may share.
#[derive(Debug, Default)]
struct Holders {
    all: BTreeMap<CommandId, HeldLock>,
    exclusive: BTreeSet<CommandId>,
}

impl HeldLocks {
    /// Adds a lock that is held; a command that holds it already gets the stronger mode, since
    /// the earlier time.
    pub fn insert(&mut self, held: HeldLock) {
        let (owner, mode) = (held.owner, held.lock.mode);
        let key = (held.lock.group.clone(), held.lock.key.clone());
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

    /// Frees all that `owner` holds.
    pub fn release(&mut self, owner: CommandId) {
        for key in self.by_owner.remove(&owner).into_iter().flatten() {
            if let Some(holders) = self.by_key.get_mut(&key) {
                holders.all.remove(&owner);
                holders.exclusive.remove(&owner);
                if holders.all.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    /// Gives all that `from` holds to `to`: what both hold is held once, in the stronger mode,
    /// since the earlier time.
    #[expect(clippy::ptr_arg, reason = "a name of the program is cloned without a copy")]
    pub fn pass(&mut self, from: CommandId, to: CommandId, command_type: &Cow<'static, str>) {
        if from == to {
            return;
        }
        for key in self.by_owner.get(&from).cloned().unwrap_or_default() {
            let held = self.by_key.get(&key).and_then(|holders| holders.all.get(&from));
            if let Some(held) = held.cloned() {
                self.insert(HeldLock { owner: to, command_type: command_type.clone(), ..held });
            }
        }
        self.release(from);
    }

    /// All that is held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &HeldLock> {
        self.by_key.values().flat_map(|holders| holders.all.values())
    }

    /// The first lock of another than `may_share_with` that `lock` conflicts with.
    fn in_the_way(
        &self,
        lock: &Lock,
        may_share_with: impl Fn(CommandId) -> bool,
    ) -> Option<&HeldLock> {
        let holders = self.by_key.get(&(lock.group.clone(), lock.key.clone()))?;
        let is_other = |owner: &&CommandId| !may_share_with(**owner);
        let owner = match lock.mode {
            LockMode::Shared => holders.exclusive.iter().find(is_other),
            LockMode::Exclusive => holders.all.keys().find(is_other),
        };
        holders.all.get(owner?)
    }
}

/// Whether `request` can be granted beside what is `held`: the rule of this module's first lines.
///
/// # Errors
/// The first conflict, in the order of the request.
pub fn decide(held: &HeldLocks, request: &LockRequest) -> Result<(), LockConflict> {
    let may_share_with =
        |owner: CommandId| owner == request.owner || request.ancestors.contains(&owner);
    for lock in &request.locks {
        let in_the_way = held.in_the_way(lock, may_share_with);
        if let Some(other) = in_the_way {
            return Err(LockConflict {
                group: lock.group.clone().into_owned(),
                key: lock.key.clone(),
                mode: lock.mode,
                holder: other.owner,
                command_type: other.command_type.clone().into_owned(),
                since: other.since,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockMode::{Exclusive, Shared};

    fn id(n: u128) -> CommandId {
        CommandId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn lock(key: &str, mode: LockMode) -> Lock {
        Lock { group: "disk".into(), key: key.to_owned(), mode }
    }

    fn held(owner: u128, key: &str, mode: LockMode) -> HeldLock {
        let since = Timestamp::from_micros(7);
        HeldLock {
            owner: id(owner),
            command_type: "move_disk".into(),
            lock: lock(key, mode),
            since,
        }
    }

    fn request(owner: u128, ancestors: &[u128], locks: Vec<Lock>) -> LockRequest {
        let ancestors = ancestors.iter().copied().map(id).collect();
        let at = Timestamp::from_micros(8);
        LockRequest { owner: id(owner), command_type: "copy".into(), ancestors, locks, at }
    }

    #[test]
    fn mode_by_mode_by_relation() {
        let (stranger, sibling, ancestor) = (9, 8, 1);
        for (theirs, mine, conflict) in [
            (Shared, Shared, false),
            (Shared, Exclusive, true),
            (Exclusive, Shared, true),
            (Exclusive, Exclusive, true),
        ] {
            for (holder, may) in
                [(stranger, !conflict), (sibling, !conflict), (ancestor, true), (2, true)]
            {
                let mut table = HeldLocks::default();
                table.insert(held(holder, "a", theirs));
                let decided = decide(&table, &request(2, &[1], vec![lock("a", mine)]));
                assert_eq!(decided.is_ok(), may, "{theirs:?} held by {holder}, {mine:?} asked");
            }
        }
    }

    #[test]
    fn all_or_none_and_the_conflict_names_the_holder() {
        let mut table = HeldLocks::default();
        table.insert(held(9, "b", Exclusive));
        let conflict =
            decide(&table, &request(2, &[], vec![lock("a", Exclusive), lock("b", Shared)]))
                .unwrap_err();
        assert_eq!(
            (conflict.key.as_str(), conflict.holder, conflict.since.as_micros()),
            ("b", id(9), 7)
        );
        assert_eq!(
            conflict.to_string(),
            format!(
                "disk `b` is locked by move_disk `{}`, so it cannot be locked shared now",
                id(9)
            )
        );
        table.release(id(9));
        assert_eq!(decide(&table, &request(2, &[], vec![lock("b", Shared)])), Ok(()));
    }

    #[test]
    fn passed_locks_merge_with_those_of_the_new_owner() {
        let mut table = HeldLocks::default();
        table.insert(held(9, "a", Exclusive));
        table.insert(held(9, "b", Shared));
        table.insert(HeldLock { since: Timestamp::from_micros(3), ..held(1, "a", Shared) });
        table.pass(id(9), id(1), &"parent".into());
        let mut all: Vec<_> = table.iter().cloned().collect();
        all.sort_by(|a, b| a.lock.key.cmp(&b.lock.key));
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().all(|held| held.owner == id(1)));
        assert_eq!((all[0].lock.mode, all[0].since.as_micros()), (Exclusive, 3));
        assert_eq!((all[1].lock.mode, &*all[1].command_type), (Shared, "parent"));
        table.pass(id(1), id(1), &"parent".into());
        assert_eq!(table.iter().count(), 2, "passed to whom they belong");
        table.release(id(1));
        assert_eq!(table.iter().count(), 0);
    }

    #[test]
    fn one_command_holds_a_key_once_in_its_stronger_mode() {
        let mut table = HeldLocks::default();
        table.insert(held(9, "a", Shared));
        table.insert(held(9, "a", Exclusive));
        assert_eq!(table.iter().map(|held| held.lock.mode).collect::<Vec<_>>(), [Exclusive]);
    }
}
