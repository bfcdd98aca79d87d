//! A step that the store refused for its data: the failure takes the place of what was refused.

use std::collections::{HashMap, HashSet};

use super::node::failure_json;
use super::step::{Step, Write};
use super::tree::{Tree, Turn};
use crate::context::requests::Ended;
use crate::entity::{CommandEntity, Progress};
use crate::erased::{Hooks, Reply};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

/// What the rows of a reloaded tree do not tell.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// The command whose step was rejected.
    pub(super) rejected: Option<CommandId>,
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
        let mut lost = Lost { rejected: Some(step.command), running, finished: HashMap::new() };
        let failure =
            Failure::new(FailureKind::Rejected, format!("the store refused its data: {reason}"));
        let failure = failure.of(step.command).fitting();
        for write in step.writes {
            match write {
                Write::Insert(row) => self.insert_failed(turn, *row, &failure),
                Write::Once(mut once) => {
                    self.end_order += 1;
                    (once.end_order, once.return_value) = (self.end_order, None);
                    once.failure = Some(failure_json(&failure));
                    if let Some(flow) = self.flow(once.command_id) {
                        let ended = Ended { result: Err(failure.clone()), at: once.ended_at };
                        flow.store_once(once.end_order, once.position, &once.name, ended);
                    }
                    self.emit(once.command_id, None, vec![Write::Once(once)], Vec::new());
                }
                Write::Update(id, _) => {
                    lost.finished.insert(id, Reply::failed(failure.clone()));
                }
                Write::Release(_) => {}
            }
        }
        for write in skipped.into_iter().flat_map(|step| step.writes) {
            if let Write::Update(id, progress) = write
                && let Some(reply) = reply_of(*progress)
                && self.nodes.get(&id).is_some_and(|node| node.flow.is_none())
            {
                lost.finished.entry(id).or_insert(reply);
            }
        }
        lost
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
/// they are called.
fn reply_of(progress: Progress) -> Option<Reply> {
    let result = match (progress.executed, progress.return_value, progress.failure) {
        (true, Some(output), _) => Ok(output),
        (_, _, Some(json)) => Err(serde_json::from_str::<Failure>(&json).ok()?),
        _ => return None,
    };
    let refused = matches!(&result, Err(failure) if failure.kind == FailureKind::Refused);
    let hooks = Hooks { success: true, failure: true };
    Some(Reply { result, state: progress.state, refused, hooks })
}
