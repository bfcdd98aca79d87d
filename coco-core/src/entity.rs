//! The rows: what is stored of a command.

use std::borrow::Cow;
use std::sync::Arc;

use crate::id::CommandId;
use crate::lock::Lock;
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// The row of a command, in the table `command_entities`.
///
/// JSON stays text: a reader that does not know a command's type can still carry its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEntity {
    /// Its identity.
    pub command_id: CommandId,
    /// Its stored name.
    pub command_type: Cow<'static, str>,
    /// The command that asked for it; none for a root.
    pub parent_command_id: Option<CommandId>,
    /// The root of its tree; its own identity for a root.
    pub root_command_id: CommandId,
    /// Which request of its parent it answers, from 0; 0 for a root.
    pub position: i32,
    /// The parameters as submitted, as JSON. Never rewritten.
    pub command_parameters: Arc<str>,
    /// When it was submitted, or asked for by its parent.
    pub created_at: Timestamp,
    /// True when it has a callback.
    pub callback_enabled: bool,
    /// On a root: the key that it was submitted with. No other command has the same.
    pub submit_key: Option<Arc<str>>,
    /// On a root: the ended root that it was submitted again from.
    pub resubmit_of: Option<CommandId>,
    /// How it is retried, where its parent said so: a [`Retry`](crate::Retry) as JSON.
    pub retry: Option<Arc<str>>,
    /// What changes while it runs.
    pub progress: Progress,
}

/// The columns of a [`CommandEntity`] that change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where it stands.
    pub status: CommandStatus,
    /// Where it stood before it became stuck.
    pub stuck_from: Option<CommandStatus>,
    /// Why it is stuck: a [`Failure`](crate::Failure) as JSON.
    pub stuck_reason: Option<Arc<str>>,
    /// True when, and only when, `execute` returned `Ok`.
    pub executed: bool,
    /// True when its end hook was acknowledged.
    pub callback_notified: bool,
    /// How often `execute` was run.
    pub attempt: i32,
    /// How often its current end hook, or what is undone for it now, has failed.
    pub hook_attempt: i32,
    /// When its code first may have begun, where that was not when it was created.
    pub started_at: Option<Timestamp>,
    /// Until when it waits: for its start, for its next attempt, or for that of its end hook or
    /// undo.
    pub wake_at: Option<Timestamp>,
    /// Why it was cancelled: a [`Failure`](crate::Failure) as JSON.
    pub cancelled: Option<Arc<str>>,
    /// How far in the order of ends its callback has seen the ends of its children.
    pub seen: Option<i64>,
    /// What undoes it, once it has succeeded.
    pub undo: Option<Undo>,
    /// When its own `compensate` was through.
    pub compensated_at: Option<Timestamp>,
    /// Its fields as JSON, where a method changed them.
    pub state: Option<Arc<str>>,
    /// What `execute` returned, as JSON.
    pub return_value: Option<Arc<str>>,
    /// Why it failed: a [`Failure`](crate::Failure) as JSON.
    pub failure: Option<Arc<str>>,
    /// Its place in the order in which the commands and `once` results of its tree ended, from 1.
    pub end_order: Option<i64>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// On a root: how often an engine died since something in the tree ended, or was undone.
    pub deaths: i32,
    /// On a root: the `end_order` that the tree had reached when `deaths` was counted.
    pub deaths_end_order: i64,
}

impl CommandEntity {
    /// When its code first may have begun; none while it has not.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.progress.began_at(self.created_at)
    }
}

impl Progress {
    /// When the code of a command that was created then first may have begun.
    pub(crate) fn began_at(&self, created_at: Timestamp) -> Option<Timestamp> {
        (self.attempt > 0).then(|| self.started_at.unwrap_or(created_at))
    }

    /// The start of a command that is `status`.
    pub(crate) const fn new(status: CommandStatus) -> Self {
        Self {
            status,
            stuck_from: None,
            stuck_reason: None,
            executed: false,
            callback_notified: false,
            attempt: 0,
            hook_attempt: 0,
            started_at: None,
            wake_at: None,
            cancelled: None,
            seen: None,
            undo: None,
            compensated_at: None,
            state: None,
            return_value: None,
            failure: None,
            end_order: None,
            ended_at: None,
            deaths: 0,
            deaths_end_order: 0,
        }
    }
}

/// The result of one `once`, in the table `once_results`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceResult {
    /// The flow that asked.
    pub command_id: CommandId,
    /// The root of its tree.
    pub root_command_id: CommandId,
    /// Which request of the flow it answers.
    pub position: i32,
    /// The name that the flow gave it.
    pub name: Arc<str>,
    /// Its place in the order of ends of its tree.
    pub end_order: i64,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What it returned, as JSON.
    pub return_value: Option<Arc<str>>,
    /// Why it failed: a [`Failure`](crate::Failure) as JSON.
    pub failure: Option<Arc<str>>,
    /// The lock, where it is the answer to a request for one.
    pub lock: Option<Lock>,
}

/// A sleep of a flow, in the table `sleeps`. When it ends, its end is a [`OnceResult`] at the same
/// position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// The flow that sleeps.
    pub command_id: CommandId,
    /// The root of its tree.
    pub root_command_id: CommandId,
    /// Which request of the flow it answers.
    pub position: i32,
    /// How long the flow asked for, in microseconds.
    pub micros: i64,
    /// When it is over.
    pub wake_at: Timestamp,
}

/// An undo command that a command registered, in the table `compensations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compensation {
    /// The command that registered it.
    pub command_id: CommandId,
    /// The root of its tree.
    pub root_command_id: CommandId,
    /// Which request of a flow it answers; of a leaf, which one it is, from 0.
    pub position: i32,
    /// The stored name of the undo command.
    pub command_type: Cow<'static, str>,
    /// The parameters of the undo command, as JSON.
    pub command_parameters: Arc<str>,
    /// Its place in the order of ends of its tree: what is newer is undone first.
    pub end_order: i64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When the undo command was through.
    pub compensated_at: Option<Timestamp>,
}

/// What a command listens for, in the table `event_subscriptions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The command.
    pub command_id: CommandId,
    /// The root of its tree.
    pub root_command_id: CommandId,
    /// The keys of events: an [`EventKey`](crate::event::EventKey).
    pub key: Arc<str>,
    /// Since when.
    pub created_at: Timestamp,
}

/// An event that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which event it is.
    pub event_id: Arc<str>,
    /// What it is about.
    pub key: Arc<str>,
    /// What there is to say of it, as JSON.
    pub payload: Arc<str>,
    /// When it was published.
    pub published_at: Timestamp,
}

/// An event that waits in the inbox of a command, in the table `event_deliveries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Grows with each delivery to the same command.
    pub number: i64,
    /// The event.
    pub event: Published,
}

/// A task outside that a command has, in the table `external_tasks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The command.
    pub command_id: CommandId,
    /// The root of its tree.
    pub root_command_id: CommandId,
    /// Which one it is, from 0.
    pub position: i32,
    /// An [`ExternalTask`](crate::task::ExternalTask) as JSON.
    pub task: Arc<str>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Whether the code that has added it came to an end that is stored. Until then it is a
    /// placeholder: nobody knows whether it was begun.
    pub kept: bool,
    /// When it was found to be over.
    pub ended_at: Option<Timestamp>,
    /// Why it has failed, if it has: a [`Failure`](crate::Failure) as JSON.
    pub failure: Option<Arc<str>>,
}

/// What undoes a command that has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undo {
    /// Its own `compensate`.
    Own,
    /// What undoes its children, and the undo commands that it registered.
    Inner,
}

impl Undo {
    /// The text that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Inner => "inner",
        }
    }
}

impl std::str::FromStr for Undo {
    type Err = std::convert::Infallible;

    /// Text that this program does not know is the one that needs no method.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "own" { Self::Own } else { Self::Inner })
    }
}

/// What an operator did, in the table `audit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// What: `cancel`, `retry`, `abandon`, `resubmit` or `force_release`.
    pub action: Cow<'static, str>,
    /// To which command.
    pub command_id: CommandId,
    /// The root of its tree.
    pub root_command_id: CommandId,
    /// Where the command stood before.
    pub status: CommandStatus,
    /// Why, as the operator said.
    pub reason: Arc<str>,
    /// The new root, where it was submitted again.
    pub linked: Option<CommandId>,
}

/// All that is stored of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeRows {
    /// The root and its descendants, in no order.
    pub commands: Vec<CommandEntity>,
    /// The results of their `once` steps.
    pub once_results: Vec<OnceResult>,
    /// The sleeps of their flows, ended ones as well.
    pub sleeps: Vec<Sleep>,
    /// The undo commands that were registered in them, done ones as well.
    pub compensations: Vec<Compensation>,
    /// What its commands listen for.
    pub subscriptions: Vec<Subscription>,
    /// The tasks outside that its commands have, ended ones as well.
    pub tasks: Vec<Task>,
    /// Where a row of the tree cannot be read: one that cannot. Then any others may be missing.
    pub unreadable: Option<Unreadable>,
}

impl TreeRows {
    /// The root of the tree; none where there are no rows.
    pub fn root(&self) -> Option<CommandId> {
        let unreadable = self.unreadable.as_ref().map(|unreadable| unreadable.root);
        unreadable.or_else(|| self.commands.first().map(|row| row.root_command_id))
    }

    /// Whether the root has not ended, as far as its row can be read.
    pub(crate) fn is_open(&self, root: CommandId) -> bool {
        match self.commands.iter().find(|row| row.command_id == root) {
            Some(row) => !row.progress.status.is_terminal(),
            None => self.unreadable.is_some(),
        }
    }
}

/// A row that is stored, and in which a column holds what is not of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The root of its tree.
    pub root: CommandId,
    /// The command that it belongs to; the root, where the row does not say.
    pub command: CommandId,
    /// Which row and column it is, and what is wrong with it.
    pub reason: String,
}
