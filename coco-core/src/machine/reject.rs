//! A step that the store refused for its data: the failure takes the place of what was refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::load::read_failure;
use super::node::failure_json;
use super::step::{Step, Write};
use super::tree::{Tree, Turn};
use crate::context::requests::Ended;
use crate::entity::{CommandEntity, Progress, Undo};
use crate::erased::{Hooks, Reply};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::retry::Again;
use crate::status::CommandStatus;

/// What the rows of a reloaded tree do not tell.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// The command whose step was rejected, and why.
    pub(super) rejected: Option<(CommandId, Failure)>,
    /// Commands whose code runs now.
    pub(super) running: HashSet<CommandId>,
    /// Commands whose code is over, with what their lost step said.
    pub(super) finished: HashMap<CommandId, Reply>,
}

impl Tree {
    /// Stores the failure in place of what was rejected, and recovers from the skipped steps how
    /// leaves had ended.
    pub(super) fn replace_rejected(
        &mut self,
        turn: &mut Turn<'_>,
        step: Step,
        reason: &str,
        skipped: Vec<Step>,
        running: HashSet<CommandId>,
    ) -> Lost {
        let failure =
            Failure::new(FailureKind::Rejected, format!("the store refused its data: {reason}"));
        let failure = failure.of(step.command).fitting();
        let rejected = Some((step.command, failure.clone()));
        let mut lost = Lost { rejected, running, finished: HashMap::new() };
        // A flow would ask for the same again.
        let asks_late = step.request.as_ref().is_some_and(|request| request.number > 0);
        if asks_late && self.flow(step.command).is_some() {
            lost.finished.insert(step.command, Reply::failed(failure.clone()));
        }
        for write in step.writes {
            match write {
                Write::Insert(row) => self.insert_failed(turn, *row, &failure),
                // A sleep that is over ends again.
                Write::Once(once) if self.sleeps_at(once.command_id, once.position) => {}
                Write::Once(mut once) => {
                    self.end_order += 1;
                    (once.end_order, once.return_value) = (self.end_order, None);
                    once.failure = Some(failure_json(&failure));
                    if let Some(flow) = self.flow(once.command_id) {
                        let ended = Ended { result: Err(failure.clone()), at: once.ended_at };
                        flow.store_once(&once, ended);
                    }
                    self.emit(once.command_id, None, vec![Write::Once(once)], Vec::new());
                }
                // The root's row may be in a step of another, for its deaths.
                Write::Update(id, _) if id == step.command => {
                    lost.finished.insert(id, Reply::failed(failure.clone()));
                }
                // A flow would ask for the same again.
                Write::Register(entry) if self.flow(entry.command_id).is_some() => {
                    lost.finished.insert(entry.command_id, Reply::failed(failure.clone()));
                }
                Write::Sleep(sleep) => {
                    lost.finished.insert(sleep.command_id, Reply::failed(failure.clone()));
                }
                _ => {}
            }
        }
        for write in skipped.into_iter().flat_map(|step| step.writes) {
            let Write::Update(id, progress) = write else { continue };
            let Some(node) = self.nodes.get_mut(&id).filter(|node| node.flow.is_none()) else {
                continue;
            };
            let [before, after] = [node.progress.status, progress.status];
            let waits = before == CommandStatus::Active && after == before;
            if let Some(reply) = reply_of(&progress) {
                // It ended too late, whatever became of the order that says so.
                if let (true, Some(failure)) = (progress.executed, &progress.failure) {
                    node.cancelled.get_or_insert_with(|| Arc::new(read_failure(failure)));
                }
                lost.finished.entry(id).or_insert(reply);
            } else if waits && progress.wake_at.is_some() && !lost.finished.contains_key(&id) {
                node.progress.clone_from(&progress);
                self.emit(id, None, vec![Write::Update(id, progress)], Vec::new());
            }
        }
        lost
    }

    fn sleeps_at(&mut self, id: CommandId, position: i32) -> bool {
        self.flow(id).is_some_and(|flow| flow.sleeps.contains_key(&position))
    }

    /// A child whose row was rejected is stored as failed, without its parameters.
    fn insert_failed(&mut self, turn: &mut Turn<'_>, mut row: CommandEntity, failure: &Failure) {
        let Some(parent) = row.parent_command_id else { return };
        if !self.nodes.contains_key(&parent) {
            return;
        }
        row.command_parameters = "null".into();
        let (position, name) = (row.position, row.command_type.clone());
        let end_order = self.insert_ended(turn, row, failure);
        if let Some(flow) = self.flow(parent) {
            let ended = Ended { result: Err(failure.clone()), at: turn.now };
            flow.store_child(end_order, position, name, ended);
        }
    }

    /// Stores a child that has failed before it was anything else: one write, so that no restart
    /// meets parameters that nobody can read. Gives its end order.
    pub(super) fn insert_ended(
        &mut self,
        turn: &Turn<'_>,
        mut row: CommandEntity,
        failure: &Failure,
    ) -> i64 {
        self.end_order += 1;
        row.progress = Progress {
            callback_notified: true,
            failure: Some(failure_json(failure)),
            end_order: Some(self.end_order),
            ended_at: Some(turn.now),
            ..Progress::new(CommandStatus::EndedWithFailure)
        };
        self.emit(row.command_id, None, vec![Write::Insert(Box::new(row))], Vec::new());
        self.end_order
    }
}

/// What a leaf had returned, from the step that was to store it. Its hooks are not known, so
/// they are called; but what undoes it is known once it has succeeded.
fn reply_of(progress: &Progress) -> Option<Reply> {
    let result = match (progress.executed, &progress.return_value, &progress.failure) {
        (true, Some(output), _) => Ok(Arc::clone(output)),
        (_, _, Some(json)) => Err(serde_json::from_str::<Failure>(json).ok()?),
        _ => return None,
    };
    let refused = matches!(&result, Err(failure) if failure.kind == FailureKind::Refused);
    let has_succeeded =
        matches!(progress.status, CommandStatus::Succeeded | CommandStatus::EndedSuccessfully);
    let compensate = !has_succeeded || progress.undo == Some(Undo::Own);
    let hooks = Hooks { compensate, success: true, failure: true };
    let again = Again::Never;
    Some(Reply { result, state: progress.state.clone(), refused, hooks, again })
}
