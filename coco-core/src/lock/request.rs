//! Requests, what is granted, and why one is refused.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Lock, LockMode, LockWait};
use crate::id::CommandId;
use crate::time::Timestamp;

/// The locks that a command asks for at one time, all or none.
///
/// A request is known by its owner and number. To ask again changes nothing: what is granted stays
/// granted, and what waits in line keeps its rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// The command that asks.
    pub owner: CommandId,
    /// Which of its requests it is: 0 for what it needs to begin, and more for what it asks for
    /// while it runs.
    pub number: i32,
    /// Its stored name, for those who meet its locks.
    pub command_type: Cow<'static, str>,
    /// Its ancestors, its parent first; their locks do not stand in its way.
    pub ancestors: Vec<CommandId>,
    /// What it asks for, each key once.
    pub locks: Vec<Lock>,
    /// When it asks; what it is granted is held since then.
    pub at: Timestamp,
    /// Whether it waits in line for what it cannot have now.
    pub waits: bool,
    /// Until when it waits, where that has an end.
    pub until: Option<Timestamp>,
}

impl LockRequest {
    /// The root of the tree of the command.
    pub fn root(&self) -> CommandId {
        self.ancestors.last().copied().unwrap_or(self.owner)
    }

    /// What the command holds when the request is granted.
    pub fn granted(&self) -> impl Iterator<Item = HeldLock> {
        self.locks.iter().map(|lock| HeldLock {
            owner: self.owner,
            command_type: self.command_type.clone(),
            ancestors: self.ancestors.clone(),
            lock: lock.clone(),
            since: self.at,
        })
    }

    /// Whether it is this command, or one of its ancestors.
    pub(super) fn is_of(&self, command: CommandId) -> bool {
        command == self.owner || self.ancestors.contains(&command)
    }

    /// As its command says whether it waits.
    pub(crate) fn waiting(self, wait: LockWait) -> Self {
        let (waits, until) = match wait {
            LockWait::No => (false, None),
            LockWait::Yes => (true, None),
            LockWait::AtMost(longest) => (true, Some(self.at.after(longest))),
        };
        Self { waits, until, ..self }
    }
}

/// A request that waits in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRequest {
    /// Its rank in the line of all requests: who has a smaller one came first.
    pub rank: i64,
    /// What is asked for, and by whom.
    pub request: LockRequest,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The command that holds it.
    pub owner: CommandId,
    /// The stored name of that command.
    pub command_type: Cow<'static, str>,
    /// The ancestors of that command, its parent first.
    pub ancestors: Vec<CommandId>,
    /// What it holds.
    pub lock: Lock,
    /// Since when.
    pub since: Timestamp,
}

impl HeldLock {
    /// The root of the tree of the command.
    pub fn root(&self) -> CommandId {
        self.ancestors.last().copied().unwrap_or(self.owner)
    }

    /// The lock in the hands of `to`, an ancestor of its owner.
    pub(super) fn passed_to(&self, to: CommandId, command_type: Cow<'static, str>) -> Self {
        let above = self.ancestors.iter().skip_while(|ancestor| **ancestor != to).skip(1);
        Self { owner: to, command_type, ancestors: above.copied().collect(), ..self.clone() }
    }
}

/// A waiting request that has been granted by a commit: its command may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grant {
    /// The root of the tree of the command.
    pub root: CommandId,
    /// The command.
    pub command: CommandId,
    /// Which of its requests.
    pub number: i32,
}

/// Why a request for locks was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockRefusal {
    /// Another command is in the way.
    #[error(transparent)]
    Conflict(#[from] LockConflict),
    /// To wait for it would never end.
    #[error(transparent)]
    WouldDeadlock(#[from] WouldDeadlock),
}

/// Why a request was refused, and who is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{group} `{key}` {}, so it cannot be locked {} now", self.in_the_way(), self.mode.as_str())]
pub struct LockConflict {
    /// The kind of thing.
    pub group: String,
    /// Which one.
    pub key: String,
    /// The mode that was asked for.
    pub mode: LockMode,
    /// The command that is in the way.
    pub holder: CommandId,
    /// The stored name of that command.
    pub command_type: String,
    /// Since when it holds the lock, or waits for it.
    pub since: Timestamp,
    /// In which way it is in the way.
    #[serde(default)]
    pub reason: ConflictReason,
}

/// In which way a command is in the way of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConflictReason {
    /// It holds the lock.
    #[default]
    Held,
    /// It came first, and waits for the lock.
    Ahead,
    /// It shares the lock with the command that asks for it exclusively, or with an ancestor of
    /// that one: if both waited for each other to let go, neither would ever have it.
    Shared,
}

impl LockConflict {
    fn in_the_way(&self) -> String {
        let Self { command_type, holder, reason, .. } = self;
        match reason {
            ConflictReason::Held => format!("is locked by {command_type} `{holder}`"),
            ConflictReason::Ahead => format!("is waited for by {command_type} `{holder}`"),
            ConflictReason::Shared => {
                format!("is held shared here and also by {command_type} `{holder}`")
            }
        }
    }
}

/// Why a request does not wait: it would wait for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("to wait for it would never end: {}", self.chain())]
pub struct WouldDeadlock {
    /// Who waits for whom: the command that asks first, and each one's `holder` is the next one,
    /// or a command of the next one's tree; the last one waits for the first one's tree.
    pub cycle: Vec<WaitsFor>,
}

/// One command of a cycle, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitsFor {
    /// The command that waits.
    pub command: CommandId,
    /// Its stored name.
    pub command_type: String,
    /// The kind of thing that it waits for.
    pub group: String,
    /// Which one.
    pub key: String,
    /// Who is in its way there.
    pub holder: CommandId,
}

impl WouldDeadlock {
    fn chain(&self) -> String {
        let links = self.cycle.iter().map(|link| {
            let WaitsFor { command, command_type, group, key, holder } = link;
            format!("{command_type} `{command}` waits for {group} `{key}` of `{holder}`")
        });
        links.collect::<Vec<_>>().join(", ")
    }
}

/// Why a command that waited for a lock did not get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("it waited for {} longer than it may", self.names())]
pub struct LockTimedOut {
    /// What it waited for.
    pub locks: Vec<Lock>,
}

impl LockTimedOut {
    fn names(&self) -> String {
        let names = self.locks.iter().map(|lock| format!("{} `{}`", lock.group, lock.key));
        names.collect::<Vec<_>>().join(", ")
    }
}
