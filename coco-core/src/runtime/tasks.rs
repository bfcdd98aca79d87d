//! The user code that runs now, one method a command.

use std::collections::HashSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::drive::FlowMessage;
use super::hands::Hands;
use crate::caught::caught;
use crate::context::CancelFlag;
use crate::id::CommandId;

/// The tasks, by command.
pub(super) struct Tasks {
    /// Those who run rounds.
    pub(super) hands: Hands,
    running: FxHashMap<CommandId, Task>,
    /// Code that was dropped: it goes on to its next await.
    ending: FxHashMap<CommandId, JoinHandle<()>>,
}

/// One task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) root: CommandId,
    pub(super) code: Code,
    pub(super) cancel: Arc<CancelFlag>,
    /// Where a flow hears of its outcomes; none for what is no flow.
    pub(super) messages: Option<UnboundedSender<FlowMessage>>,
    /// None for a round that a hand runs.
    pub(super) join: Option<JoinHandle<()>>,
}

/// Which code of a command runs. What dropped code still says is not about what runs since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// This attempt of a leaf.
    Leaf(i32),
    /// This attempt of a flow.
    Flow(i32),
    /// A round of its callback.
    Round,
    /// An end hook, or what undoes something.
    Hook,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { hands: Hands::new(), running: FxHashMap::default(), ending: FxHashMap::default() }
    }

    pub(super) fn insert(&mut self, command: CommandId, task: Task) {
        self.running.insert(command, task);
    }

    /// Tells the code of a command that it is cancelled.
    pub(super) fn cancel(&self, command: CommandId) {
        if let Some(task) = self.running.get(&command) {
            task.cancel.set();
        }
    }

    /// Drops the code of a command.
    pub(super) fn drop_code(&mut self, command: CommandId) {
        if let Some(task) = self.running.remove(&command) {
            let dropped = match task.join {
                Some(join) => {
                    join.abort();
                    Some(join)
                }
                None => self.hands.drop_code(command),
            };
            self.ending.retain(|_, join| !join.is_finished());
            self.ending.extend(dropped.map(|join| (command, join)));
        }
    }

    /// The dropped code of a command, if it may not have ended yet.
    pub(super) fn take_ending(&mut self, command: CommandId) -> Option<JoinHandle<()>> {
        self.ending.remove(&command)
    }

    /// This code is over by itself.
    pub(super) fn over(&mut self, command: CommandId, code: Code) {
        if self.running.get(&command).is_some_and(|task| task.code == code) {
            self.running.remove(&command);
        }
    }

    /// Tells a flow something. A flow that is over does not hear it, and need not.
    pub(super) fn tell(&self, command: CommandId, message: FlowMessage) {
        if let Some(messages) = self.running.get(&command).and_then(|task| task.messages.as_ref()) {
            let _ = messages.send(message);
        }
    }

    /// Drops the flows of a tree; gives its other commands that run.
    pub(super) fn drop_flows(&mut self, root: CommandId) -> HashSet<CommandId> {
        let of_tree = self.running.iter().filter(|(_, task)| task.root == root);
        let (flows, others): (Vec<_>, Vec<_>) =
            of_tree.partition(|(_, task)| task.messages.is_some());
        let flows: Vec<_> = flows.into_iter().map(|(id, _)| *id).collect();
        let others = others.into_iter().map(|(id, _)| *id).collect();
        flows.into_iter().for_each(|id| self.drop_code(id));
        others
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Drops all code.
    pub(super) fn clear(&mut self) {
        self.ending.extend(self.hands.clear());
        for (command, task) in self.running.drain() {
            if let Some(join) = task.join {
                join.abort();
                self.ending.insert(command, join);
            }
        }
    }

    /// Waits until all dropped code has ended.
    pub(super) async fn ended(&mut self) {
        for (_, join) in self.ending.drain() {
            // An error says that it was dropped, or how it panicked on the way.
            let ended = join.await;
            let _ = caught(|| drop(ended));
        }
    }
}
