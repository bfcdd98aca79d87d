//! How a command ends: from what its code returned to its outcome at its parent.

use std::sync::Arc;

use super::input::Effect;
use super::node::failure_json;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::callback::CallbackKind;
use crate::context::requests::Ended;
use crate::erased::Reply;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
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
        let node = &self.nodes[&id];
        if node.rounds.is_some() && reply.result.is_ok() && node.cancelled.is_none() {
            return self.begin_rounds(turn, id, reply);
        }
        self.ran(turn, id);
        if self.is_tried_again(turn, id, &reply) {
            return None;
        }
        let Reply { result, state, refused, hooks, next, .. } = reply;
        let node = self.node(id);
        // Where it was executed before, they are known.
        if !node.progress.executed {
            node.hooks = hooks;
        }
        let mut failed = None;
        match result {
            Ok(output) => {
                node.progress.executed = true;
                node.progress.return_value = Some(output);
                node.progress.state = state;
            }
            Err(failure) => failed = Some(failure),
        }
        if let Some(cancelled) = &node.cancelled {
            let mut cancelled = Failure::clone(cancelled);
            cancelled.chain.extend(failed.filter(|own| *own != cancelled).map(|own| own.message));
            failed = Some(cancelled);
        }
        match (failed, unseen) {
            // A run before this one may have half happened: then it fails like any other.
            (Some(failure), _) if refused && node.progress.attempt <= 1 => {
                self.end_refused(turn, id, failure)
            }
            (Some(failure), _) => {
                node.fail(CommandStatus::ExecutionFailed, failure);
                let is_custom = node.spec.callback == CallbackKind::Custom;
                let outlives = is_custom && node.hooks.failed_round;
                self.outlive_failure(turn, id, outlives);
                let node = self.node(id);
                if node.is_drained() && !node.waits_though_failed() {
                    return self.failed(turn, id);
                }
                let write = Write::Update(id, Box::new(node.progress.clone()));
                self.emit(id, None, vec![write], Vec::new());
                self.stop_tasks(turn, id);
                None
            }
            (None, Some(failure)) => {
                node.fail(CommandStatus::Failed, failure);
                self.conclude(turn, id)
            }
            (None, None) => {
                node.become_status(CommandStatus::Succeeded);
                let launched = next.map(|next| next.launched).unwrap_or_default();
                let (rows, effects) = self.launch(turn, id, launched);
                let next = self.conclude_with(turn, id, rows);
                if !effects.is_empty() {
                    self.emit(id, None, Vec::new(), effects);
                }
                next
            }
        }
    }

    /// Its code does not run any more.
    pub(super) fn ran(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        self.free_place(turn, id);
        self.leave_lines(turn, id);
        let node = self.node(id);
        node.progress.wake_at = None;
        node.take_last_said();
        if let Some(when) = self.nodes[&id].deadline() {
            turn.perform(Effect::Disarm { command: id, when });
        }
    }

    /// Whether a leaf that has failed waits for another attempt.
    fn is_tried_again(&mut self, turn: &mut Turn<'_>, id: CommandId, reply: &Reply) -> bool {
        let node = &self.nodes[&id];
        let (Err(failure), Some(retry), None) = (&reply.result, node.retry.0, &node.cancelled)
        else {
            return false;
        };
        let may_pass = matches!(failure.kind, FailureKind::Failed | FailureKind::Panicked);
        if !may_pass || reply.refused || node.flow.is_some() {
            return false;
        }
        let Some(pause) = retry.pause_after(node.progress.attempt, id, reply.again) else {
            return false;
        };
        let deadline = node.deadline();
        if let Some(rounds) = &mut self.node(id).rounds {
            rounds.tasks.leave();
        }
        self.wait_until(id, turn.now.after(pause));
        if let Some(when) = deadline {
            let at = super::Address { root: self.root, command: id };
            turn.perform(Effect::WakeAt { at, when });
        }
        true
    }

    /// It failed before, and now every child is terminal.
    pub(super) fn failed(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        self.node(id).become_status(CommandStatus::Failed);
        self.conclude(turn, id)
    }

    /// It was refused before it did anything: no hook, nothing to undo.
    pub(super) fn end_refused(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        failure: Failure,
    ) -> Option<CommandId> {
        self.ran(turn, id);
        let node = self.node(id);
        node.progress.failure = Some(failure_json(&failure));
        node.failure = Some(failure.into());
        self.end(turn, id, Vec::new())
    }

    /// Makes it terminal, after `writes`, and tells its parent, or whoever waits for the root.
    pub(super) fn end(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        mut writes: Vec<Write>,
    ) -> Option<CommandId> {
        self.end_order += 1;
        let locks = self.let_locks_go(id);
        let mut node = self.nodes.remove(&id)?;
        let succeeded = node.progress.status == CommandStatus::Succeeded;
        node.become_status(if succeeded {
            CommandStatus::EndedSuccessfully
        } else {
            CommandStatus::EndedWithFailure
        });
        node.progress.callback_notified = true;
        node.progress.wake_at = None;
        // It is stored since the command began, and stays.
        node.progress.started_at = None;
        node.progress.end_order = Some(self.end_order);
        node.progress.ended_at = Some(turn.now);
        let result = match node.failure.take() {
            Some(failure) => Err(Arc::unwrap_or_clone(failure)),
            None => Ok(node.output()),
        };
        let (parent, position, undo) = (node.parent, node.position, node.progress.undo);
        let listens = node.listens();
        let has_begun = node.progress.attempt > 0;
        writes.push(Write::Update(id, Box::new(node.progress)));
        writes.extend(locks);
        writes.extend(listens.then_some(Write::Unsubscribe(id)));
        let Some(parent) = parent else {
            let result = result.map_err(Box::new);
            self.emit(id, None, writes, vec![Effect::Ended { root: id, result }]);
            return None;
        };
        self.emit(id, None, writes, Vec::new());
        self.hand_over(parent, id, undo, node.done);
        let ended = Ended { result, at: turn.now };
        let end_order = self.end_order;
        let parent_node = self.node(parent);
        parent_node.open_children -= 1;
        parent_node.child_ended(id, position, end_order, ended, has_begun);
        Some(parent)
    }
}
