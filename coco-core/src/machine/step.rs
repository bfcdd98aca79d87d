//! What the machine asks to be stored.

use std::borrow::Cow;
use std::sync::Arc;

use crate::entity::{
    Audit, CommandEntity, Compensation, OnceResult, Progress, Published, Sleep, Subscription, Task,
};
use crate::id::CommandId;
use crate::lock::{Lock, LockRequest};
use crate::time::Timestamp;

/// Writes that a store applies together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The tree that it belongs to.
    pub root: CommandId,
    /// The command that it is about.
    pub command: CommandId,
    /// Locks that must be granted, or nothing of the step is stored but its rank in line.
    pub request: Option<Arc<LockRequest>>,
    /// What to write, in this order.
    pub writes: Vec<Write>,
}

impl Step {
    /// Whether it is refused when something is taken, a lock or a key, and then changes nothing.
    pub(crate) fn is_refusable(&self) -> bool {
        self.request.is_some() || self.submit_key().is_some()
    }

    /// The number of its lock request, or 0.
    pub(crate) fn request_number(&self) -> i32 {
        self.request.as_ref().map_or(0, |request| request.number)
    }

    /// The key of the root that it inserts: when another has it, nothing of the step is stored.
    pub fn submit_key(&self) -> Option<&Arc<str>> {
        self.writes.iter().find_map(|write| match write {
            Write::Insert(row) => row.submit_key.as_ref(),
            _ => None,
        })
    }
}

/// One write of a [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new command.
    Insert(Box<CommandEntity>),
    /// What has changed of a command: its [`Progress`], laid over what is stored as
    /// [`Progress::overlay`] says.
    Update(CommandId, Box<Progress>),
    /// The result of a `once`.
    Once(Box<OnceResult>),
    /// A flow sleeps.
    Sleep(Box<Sleep>),
    /// An undo command is registered.
    Register(Box<Compensation>),
    /// A command was undone by its own `compensate`: only `compensated_at` changes.
    Compensated(CommandId, Timestamp),
    /// The undo command that a command registered at this position is through: only
    /// `compensated_at` changes.
    Undone(CommandId, i32, Timestamp),
    /// Frees all the locks that a command holds, and takes its requests out of the line.
    Release(CommandId),
    /// Takes one request of a command out of the line, by its number; or all of them.
    LeaveLine(CommandId, Option<i32>),
    /// Frees one lock of a command, if it is still the one that is meant: in this mode, since this
    /// time.
    ReleaseOne {
        /// Who holds it.
        owner: CommandId,
        /// What it holds.
        lock: Lock,
        /// Since when.
        since: Timestamp,
    },
    /// Gives all the locks that a command holds to another, and takes its requests out of the
    /// line. What both hold is held once, in the
    /// stronger mode, since the earlier time.
    Pass {
        /// Who holds them.
        from: CommandId,
        /// Who is to hold them.
        to: CommandId,
        /// The stored name of `to`.
        command_type: Cow<'static, str>,
    },
    /// A command listens for events. One that does already changes nothing.
    Subscribe(Box<Subscription>),
    /// An event: it goes into the inbox of each command with a subscription that matches
    /// ([`subscriptions_for`](crate::event::subscriptions_for)), unless it was there before.
    Publish(Box<Published>),
    /// The events in the inbox of a command are handled up to this number: only that they were
    /// there is remembered.
    Handled(CommandId, i64),
    /// A command listens no more; its subscriptions and what is in its inbox are forgotten.
    Unsubscribe(CommandId),
    /// A command has a task outside.
    Task(Box<Task>),
    /// The code that has added the task at this position has come to its end: only `kept` changes.
    TaskKept(CommandId, i32),
    /// The task that a command has at this position is over: only `ended_at` and `failure` change.
    TaskEnded(CommandId, i32, Timestamp, Option<Arc<str>>),
    /// What an operator did.
    Audit(Box<Audit>),
}
