//! The user code that runs now, one task a command.

use std::collections::{HashMap, HashSet};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::drive::FlowMessage;
use crate::id::CommandId;

/// The tasks, by command.
#[derive(Debug, Default)]
pub(super) struct Tasks(HashMap<CommandId, Task>);

/// One task; dropping it drops the user code.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) root: CommandId,
    pub(super) attempt: i32,
    /// Where a flow hears of its outcomes; none for what is no flow.
    pub(super) messages: Option<UnboundedSender<FlowMessage>>,
    pub(super) join: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.join.abort();
    }
}

impl Tasks {
    pub(super) fn insert(&mut self, command: CommandId, task: Task) {
        self.0.insert(command, task);
    }

    /// Drops the code of a command.
    pub(super) fn drop_code(&mut self, command: CommandId) {
        self.0.remove(&command);
    }

    /// The code of this attempt is over by itself.
    pub(super) fn over(&mut self, command: CommandId, attempt: Option<i32>) {
        if self
            .0
            .get(&command)
            .is_some_and(|task| attempt.is_none_or(|attempt| task.attempt == attempt))
        {
            self.0.remove(&command);
        }
    }

    /// Tells a flow something. A flow that is over does not hear it, and need not.
    pub(super) fn tell(&self, command: CommandId, message: FlowMessage) {
        if let Some(messages) = self.0.get(&command).and_then(|task| task.messages.as_ref()) {
            let _ = messages.send(message);
        }
    }

    /// Drops the flows of a tree; gives its other commands that run.
    pub(super) fn drop_flows(&mut self, root: CommandId) -> HashSet<CommandId> {
        self.0.retain(|_, task| task.root != root || task.messages.is_none());
        self.0.iter().filter(|(_, task)| task.root == root).map(|(id, _)| *id).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
