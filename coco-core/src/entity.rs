//! The rows: what is stored of a command.

use std::borrow::Cow;
use std::sync::Arc;

use crate::id::CommandId;
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
    /// On a root: how often an engine died since something in the tree ended.
    pub deaths: i32,
    /// On a root: the `end_order` that the tree had reached when `deaths` was counted.
    pub deaths_end_order: i64,
}

impl Progress {
    /// The start of a command that is `status`.
    pub(crate) const fn new(status: CommandStatus) -> Self {
        Self {
            status,
            stuck_from: None,
            stuck_reason: None,
            executed: false,
            callback_notified: false,
            attempt: 0,
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
}

/// All that is stored of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeRows {
    /// The root and its descendants, in no order.
    pub commands: Vec<CommandEntity>,
    /// The results of their `once` steps.
    pub once_results: Vec<OnceResult>,
}
