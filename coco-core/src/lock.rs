//! Locks: what a command says about them, who holds what, who waits, and the one decision between
//! them.
//!
//! A lock is a group and a key, as `disk` and `7`, in a mode, owned by a command. Any number of
//! commands may hold it [`Shared`], or one [`Exclusive`]. What a command asks for at one time it gets
//! all or none of, in the commit that lets it begin; from then on it holds it, over any crash, until
//! the commit that changes its state frees it. Nothing is taken again after a restart, because
//! nothing was lost.
//!
//! # What a command says
//!
//! | | |
//! |---|---|
//! | `#[lock(exclusive)]`, `#[lock(shared)]` on a field | The field is a [`LockKey`], or an `Option`, `Vec` or `BTreeSet` of them. With `group = "…"` it may be of any type with `Display`. |
//! | `#[command(lock = Execution)]`, `lock = Command` | How long: the picture below. |
//! | `#[command(wait)]`, `wait = "30s"` | It waits in line for what it cannot have now; without, it is refused with a [`LockConflict`] that names who is in the way. |
//! | [`Execute::apply_lock_properties`](crate::Execute::apply_lock_properties) | Changes all of that, by the fields of the command. |
//! | [`cx.lock(key, mode)`](crate::Context::lock) | One lock more, which became known late: by the same rules, kept as long as the others. |
//! | [`cx.held(key)`](crate::Context::held) | A [`Held`] value, which says by its type that the lock is held: for the arguments of your own functions. |
//!
//! # How long
//!
//! ```text
//!                        asked         begins                      outcome      through
//!                          │ waits in    │ validate, execute,         │ undo,      │
//!                          │ line        │ children, callback         │ end hook   │
//!
//! Execution, succeeds      ┈┈┈┈┈┈┈┈┈┈┈┈┈┈━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┥
//! Execution, fails         ┈┈┈┈┈┈┈┈┈┈┈┈┈┈━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┥
//! Command, either way      ┈┈┈┈┈┈┈┈┈┈┈┈┈┈━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┥
//! stuck, quarantined       ┈┈┈┈┈┈┈┈┈┈┈┈┈┈━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ … until an operator acts
//! None, validate refused   no lock is kept
//! ```
//!
//! Where one of a flow's children has succeeded and may still have to be undone, it does not free
//! its locks: they pass to its parent, and so on up, and go with the command that ends the matter.
//!
//! ```text
//! MoveDisk   ━━ holds disk 7 ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┥ frees disk 7 and pool a
//!                 │                        ▲ and now pool a      │
//! CopyLayer       └─ takes pool a ━━━━━━━━━┛ (it could be undone)│
//! SwitchDisk                                   takes disk 7 ━━━━━┥ (borrowed: its parent holds it)
//! ```
//!
//! # Who is in the way
//!
//! On each key, where one of both modes is exclusive: whoever holds it, but for the command itself
//! and **its ancestors**, whose locks it may borrow; siblings exclude each other. And whoever waits
//! for it and came first, so that those who share do not starve one who needs it alone; but for
//! those who wait, on any of their keys, for the command itself or for one of its ancestors, since
//! to wait behind them would be to wait for oneself. What a command has already it does not ask for.
//!
//! # Waiting
//!
//! The line is stored, one for all keys, in the order of asking. Who lets go lets in the next, in
//! the same commit; a command that waits is [`NotStarted`](crate::CommandStatus::NotStarted), is
//! held in memory only while there is room, and keeps its order over a restart. It leaves the line
//! when it is cancelled or its time is out ([`LockTimedOut`]). A request does not wait where that
//! would never end: one that would close a cycle of trees that wait for each other is refused as
//! [`WouldDeadlock`], which names the cycle; and so is, as a [`LockConflict`], an exclusive one of a
//! command that shares the lock with others. It is refused rather too often than too seldom: a tree
//! that is in the way counts as one that waits for all that is waited for in it, since whether a
//! lock will be freed, or pass up and be kept to the end of the root, is not known before.
//!
//! What a leaf asks for late is in line while that run of it goes on, and no longer. Where the engine
//! dies, it keeps its order for the next run to ask again, and leaves the line when that is over.
//! Who hears [`LockTimedOut`] has left the line; a lock that was granted at that very moment is the
//! command's all the same, until it lets go of all, and to ask for it again gives it at once.
//!
//! A command takes its place among its type (`concurrency = …`) before it asks, gives it back while
//! it is in line, and takes one again before it begins. Places are not looked at for cycles: a
//! command that has one of a few places, and waits late, or below itself, for what another of its
//! type locks, may wait for that one while it waits for the place. Give such a wait a time-out.
//!
//! [`Coordinator::locks`](crate::Coordinator::locks) lists holders and line,
//! [`Coordinator::why_waiting`](crate::Coordinator::why_waiting) says who is in the way of a
//! command, [`Coordinator::force_release`](crate::Coordinator::force_release) takes a lock away.
//!
//! # For stores
//!
//! A store keeps the rows and decides nothing: it builds a [`LockTable`] of them inside the commit,
//! lets the steps change it, and stores what has changed. So memory and every database answer
//! alike.

mod cycle;
mod decide;
mod held;
mod line;
mod proof;
mod properties;
mod request;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use self::decide::Answer;
pub use self::proof::{Exclusive, Held, Mode, Shared};
pub use self::properties::{LockProperties, LockWait};
pub use self::request::{
    ConflictReason, Grant, HeldLock, LockConflict, LockRefusal, LockRequest, LockTimedOut,
    WaitingRequest, WaitsFor, WouldDeadlock,
};
pub use self::table::LockTable;
use crate::storable::{NotStorable, storable_text};

/// Names a thing that can be locked. Derive it: `#[derive(LockKey)] #[lock_key(group = "disk")]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name a locked thing",
    label = "no lock key",
    note = "put `#[derive(LockKey)] #[lock_key(group = \"…\")]` on `{Self}`, or give the field a group: `#[lock(exclusive, group = \"…\")]`",
    note = "the type of a field with several keys is written out: `Option<K>`, `Vec<K>` or `BTreeSet<K>`"
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

/// Group and key.
type Key = (Cow<'static, str>, String);

impl Lock {
    /// The lock of `key`.
    pub fn of<K: LockKey>(key: &K, mode: LockMode) -> Self {
        Self { group: K::GROUP.into(), key: key.key(), mode }
    }

    pub(crate) fn name(&self) -> Key {
        (self.group.clone(), self.key.clone())
    }

    pub(crate) fn is_of_key(&self, other: &Self) -> bool {
        self.group == other.group && self.key == other.key
    }
}

/// Whether every store takes the keys of `locks`.
pub(crate) fn storable_keys(locks: &[Lock]) -> Result<(), NotStorable> {
    locks.iter().flat_map(|lock| [&*lock.group, &*lock.key]).try_for_each(storable_text)
}
