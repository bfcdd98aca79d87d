//! How a command ends: from what its code returned to its outcome at its parent.

use super::input::Effect;
use super::node::failure_json;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::requests::Ended;
use crate::erased::Reply;
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::LockScope;
use crate::status::CommandStatus;

impl Tree {
    /// `execute` is over, and for a flow every child is, unless it returned an error. Gives the
    /// parent, if the command has ended.
    pub(super) fn executed(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        reply: Reply,
        unseen: Option<Failure>,
    ) -> Option<CommandId> {
        let Reply { result, state, refused, hooks } = reply;
        let node = self.node(id);
        match result {
            // A run before this one may have half happened: then it fails like any other.
            Err(failure) if refused && node.progress.attempt <= 1 => {
                return self.end_refused(turn, id, failure);
            }
            Err(failure) => {
                node.failure_hook = hooks.failure;
                node.fail(CommandStatus::ExecutionFailed, failure);
                if node.open_children > 0 {
                    let write = Write::Update(id, Box::new(node.progress.clone()));
                    self.emit(id, None, vec![write], Vec::new());
                    return None;
                }
                return self.failed(turn, id);
            }
            Ok(output) => {
                node.progress.executed = true;
                node.progress.return_value = Some(output);
                node.progress.state = state;
            }
        }
        match unseen {
            Some(failure) => {
                node.fail(CommandStatus::Failed, failure);
                self.conclude(turn, id, hooks.failure)
            }
            None => {
                node.become_status(CommandStatus::Succeeded);
                self.conclude(turn, id, hooks.success)
            }
        }
    }

    /// It failed before, and now every child is terminal.
    pub(super) fn failed(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        let node = self.node(id);
        node.become_status(CommandStatus::Failed);
        let has_hook = node.failure_hook;
        self.conclude(turn, id, has_hook)
    }

    /// Its own outcome stands: runs its end hook, or ends it where it has none of its own.
    fn conclude(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        has_hook: bool,
    ) -> Option<CommandId> {
        if !has_hook {
            return self.end(turn, id);
        }
        let node = &self.nodes[&id];
        let mut writes = vec![Write::Update(id, Box::new(node.progress.clone()))];
        let over = node.progress.status == CommandStatus::Succeeded;
        if over && node.spec.scope == LockScope::Execution && node.may_hold {
            writes.push(Write::Release(id));
        }
        let effects = vec![self.run_hook(node, id, node.end_hook())];
        self.emit(id, None, writes, effects);
        None
    }

    /// Its end hook is through.
    pub(super) fn hooked(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        reply: Reply,
    ) -> Option<CommandId> {
        let node = self.node(id);
        if !matches!(node.progress.status, CommandStatus::Succeeded | CommandStatus::Failed) {
            return None;
        }
        match reply.result {
            Err(reason) => {
                self.park(id, reason);
                None
            }
            Ok(_) => {
                node.progress.state = reply.state.or(node.progress.state.take());
                self.end(turn, id)
            }
        }
    }

    /// It was refused before it did anything: no hook, nothing to undo.
    pub(super) fn end_refused(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        failure: Failure,
    ) -> Option<CommandId> {
        let node = self.node(id);
        node.progress.failure = Some(failure_json(&failure));
        node.failure = Some(failure);
        self.end(turn, id)
    }

    /// Makes it terminal and tells its parent, or whoever waits for the root.
    fn end(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        self.end_order += 1;
        let mut node = self.nodes.remove(&id)?;
        let succeeded = node.progress.status == CommandStatus::Succeeded;
        node.become_status(if succeeded {
            CommandStatus::EndedSuccessfully
        } else {
            CommandStatus::EndedWithFailure
        });
        node.progress.callback_notified = true;
        node.progress.end_order = Some(self.end_order);
        node.progress.ended_at = Some(turn.now);
        let result = match node.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(node.progress.return_value.clone().unwrap_or_else(|| "null".into())),
        };
        let mut writes = Vec::with_capacity(2);
        if node.may_hold {
            writes.push(Write::Release(id));
        }
        let (parent, position) = (node.parent, node.position);
        writes.insert(0, Write::Update(id, Box::new(node.progress)));
        let Some(parent) = parent else {
            self.emit(id, None, writes, vec![Effect::Ended { root: id, result }]);
            return None;
        };
        self.emit(id, None, writes, Vec::new());
        let ended = Ended { result, at: turn.now };
        let end_order = self.end_order;
        let parent_node = self.node(parent);
        parent_node.open_children -= 1;
        if let Some(flow) = &mut parent_node.flow {
            flow.ended(end_order, position, ended);
        }
        Some(parent)
    }
}
