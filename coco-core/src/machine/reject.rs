//! A step that the store refused for its data: the failure takes the place of what was refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::input::Started;
use super::launch::launched_by;
use super::load::read_failure;
use super::node::{Node, failure_json};
use super::step::{Step, Write};
use super::tree::{Tree, Turn};
use crate::callback::CallbackKind;
use crate::context::requests::{AskedChild, Ended};
use crate::entity::{CommandEntity, Progress, Undo};
use crate::erased::{Hooks, Next, Reply};
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
    /// The tree has rested.
    pub(super) has_rested: bool,
    /// The engine that had the tree has it still: no code of it was interrupted.
    pub(super) engine_lives: bool,
}

/// What was to be stored after what was rejected.
pub(super) struct Skipped {
    pub(super) steps: Vec<Step>,
    /// What its code had started.
    pub(super) started: Started,
}

impl Tree {
    /// What its code has started.
    pub(super) fn started(&mut self) -> Started {
        let mut started = Started::default();
        for (id, node) in &mut self.nodes {
            let Some(rounds) = node.rounds.as_deref_mut() else { continue };
            started.children.extend(std::mem::take(&mut rounds.started));
            started.tasks.extend(rounds.tasks.added().map(|position| (*id, position)));
        }
        started
    }

    /// Stores the failure in place of what was rejected, and recovers from the skipped steps how
    /// leaves had ended.
    pub(super) fn replace_rejected(
        &mut self,
        turn: &mut Turn<'_>,
        step: Step,
        reason: &str,
        skipped: Skipped,
        running: HashSet<CommandId>,
    ) -> Lost {
        let failure =
            Failure::new(FailureKind::Rejected, format!("the store refused its data: {reason}"));
        let failure = failure.of(step.command).fitting();
        let rejected = Some((step.command, failure.clone()));
        let mut lost = Lost { rejected, running, engine_lives: true, ..Lost::default() };
        self.add_tasks_again(&skipped);
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
        let mut children = skipped.started.children.into_iter().collect();
        let mut again = Vec::new();
        for (writes, (id, progress)) in skipped.steps.iter().flat_map(updates) {
            let Some(node) = self.nodes.get_mut(&id).filter(|node| node.flow.is_none()) else {
                continue;
            };
            let launched = launched_by(writes);
            let is_first = !lost.finished.contains_key(&id);
            let [before, after] = [node.progress.status, progress.status];
            let waits = before == CommandStatus::Active && after == before;
            if node.rounds.is_some() && !(waits && progress.wake_at.is_some()) {
                let started = started_by(writes, id, &mut children);
                let handled = writes.iter().find_map(|write| match write {
                    Write::Handled(command, last) if *command == id => Some(*last),
                    _ => None,
                });
                // The last of its rounds is always ready, but it may launch something.
                let is_ready = progress.status != CommandStatus::Active
                    || node.spec.callback == CallbackKind::ConcurrentChildren;
                let next = Next { started, is_ready, handled, launched: Vec::new() };
                let launches = !launched.is_empty();
                node.round_was_lost(progress, next, launches, id, &mut lost);
                if is_first && lost.finished.contains_key(&id) {
                    again.push((id, launched));
                }
                continue;
            }
            if let Some(reply) = reply_of(progress) {
                // It ended too late, whatever became of the order that says so.
                if let (true, Some(failure)) = (progress.executed, &progress.failure) {
                    node.cancelled.get_or_insert_with(|| Arc::new(read_failure(failure)));
                }
                lost.finished.entry(id).or_insert(reply);
                if is_first {
                    again.push((id, launched));
                }
            } else if waits && progress.wake_at.is_some() && !lost.finished.contains_key(&id) {
                node.progress.clone_from(progress);
                let write = Write::Update(id, Box::new(progress.clone()));
                self.emit(id, None, vec![write], Vec::new());
            }
        }
        again.into_iter().for_each(|(id, rows)| self.launches_again(id, rows));
        lost
    }

    /// The tasks that were added by code that runs, or whose end is lost.
    fn add_tasks_again(&mut self, skipped: &Skipped) {
        let writes = skipped.steps.iter().flat_map(|step| &step.writes);
        let kept = writes.filter_map(|write| match write {
            Write::TaskKept(id, position) => Some((*id, *position)),
            _ => None,
        });
        for (id, position) in kept.chain(skipped.started.tasks.iter().copied()) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.rounds().tasks.is_added(position);
            }
        }
    }

    fn sleeps_at(&mut self, id: CommandId, position: i32) -> bool {
        self.flow(id).is_some_and(|flow| flow.sleeps.contains_key(&position))
    }

    /// A child whose row was rejected is stored as failed, without its parameters.
    fn insert_failed(&mut self, turn: &mut Turn<'_>, mut row: CommandEntity, failure: &Failure) {
        let Some(parent) = row.parent_command_id else { return };
        // What rounds have started is not started: they have failed.
        if self.nodes.get(&parent).is_none_or(|parent| parent.rounds.is_some()) {
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
        self.end_row(turn, &mut row, failure);
        self.emit(row.command_id, None, vec![Write::Insert(Box::new(row))], Vec::new());
        self.end_order
    }

    /// Makes the row of a child one that has failed before it was anything else.
    pub(super) fn end_row(&mut self, turn: &Turn<'_>, row: &mut CommandEntity, failure: &Failure) {
        self.end_order += 1;
        row.progress = Progress {
            callback_notified: true,
            failure: Some(failure_json(failure)),
            end_order: Some(self.end_order),
            ended_at: Some(turn.now),
            ..Progress::new(CommandStatus::EndedWithFailure)
        };
    }
}

/// The changes of commands in a step, each with all its writes.
fn updates(step: &Step) -> impl Iterator<Item = (&[Write], (CommandId, &Progress))> {
    step.writes.iter().filter_map(|write| match write {
        Write::Update(id, progress) => Some((&*step.writes, (*id, &**progress))),
        _ => None,
    })
}

/// The children that a step inserts beside a change of their parent.
fn started_by(
    writes: &[Write],
    parent: CommandId,
    started: &mut HashMap<CommandId, AskedChild>,
) -> Vec<(i32, AskedChild)> {
    let rows = writes.iter().filter_map(|write| match write {
        Write::Insert(row) if row.parent_command_id == Some(parent) => Some(row),
        _ => None,
    });
    rows.filter_map(|row| Some((row.position, started.remove(&row.command_id)?))).collect()
}

impl Node {
    /// What it had done is not stored: it is done again, as far as it is known.
    fn round_was_lost(
        &mut self,
        progress: &Progress,
        next: Next,
        launches: bool,
        id: CommandId,
        lost: &mut Lost,
    ) {
        let before = &self.progress;
        let is_same = (before.status, &before.state, &before.return_value, before.seen)
            == (progress.status, &progress.state, &progress.return_value, progress.seen);
        let has_tasks = self.rounds.as_deref().is_some_and(|rounds| rounds.tasks.has_added());
        if is_same && !next.has_orders() && !launches && !has_tasks {
            return;
        }
        let has_failed = !before.executed && progress.status == before.status;
        if has_failed && progress.status != CommandStatus::Active {
            let state = progress.state.clone();
            lost.finished.entry(id).or_insert(Reply { state, ..Reply::nothing() });
            return;
        }
        let failure = progress.failure.as_deref().map(read_failure);
        let Some(mut reply) = reply_of(progress) else { return };
        if let Some(failure) = failure {
            if matches!(failure.kind, FailureKind::Cancelled | FailureKind::TimedOut) {
                self.cancelled.get_or_insert_with(|| Arc::new(failure.clone()));
            }
            reply.result = Err(failure);
        }
        reply.next = Some(Box::new(next));
        lost.finished.entry(id).or_insert(reply);
    }
}

impl Reply {
    /// What a round says that answers nothing.
    fn nothing() -> Self {
        let (hooks, again) = (Hooks::UNKNOWN, Again::Never);
        let (state, refused, next) = (None, false, None);
        Self { result: Ok("null".into()), state, refused, hooks, again, next }
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
    let hooks = Hooks { compensate, ..Hooks::UNKNOWN };
    let again = Again::Never;
    let state = progress.state.clone();
    Some(Reply { result, state, refused, hooks, again, next: None })
}
