//! Tasks outside of a command in its rounds: asked at intervals, stopped when it fails, cleared when
//! its outcome stands.
//!
//! What has become of a task is stored as soon as it is known. While one is open its command neither
//! goes on nor fails: a task that runs beside the undo of what it works on would be no undo.

use std::sync::Arc;

use super::input::{Effect, OverTask, Refusal, RunKind};
use super::node::{Node, failure_json};
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::entity::Task;
use crate::id::CommandId;
use crate::status::CommandStatus;

/// The tasks of a command.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    all: Vec<TaskOf>,
    /// Whether they were told to stop.
    told_to_stop: bool,
    is_cleared: bool,
}

#[derive(Debug)]
struct TaskOf {
    position: i32,
    json: Arc<str>,
    is_over: bool,
}

impl Tasks {
    /// Takes one that is stored.
    pub(super) fn stored(&mut self, task: &Task) {
        let is_over = task.ended_at.is_some();
        self.all.push(TaskOf { position: task.position, json: Arc::clone(&task.task), is_over });
        self.all.sort_unstable_by_key(|task| task.position);
    }

    pub(super) fn has_open(&self) -> bool {
        self.all.iter().any(|task| !task.is_over)
    }

    /// Whether they have still to be cleared.
    pub(super) fn is_uncleared(&self) -> bool {
        !self.all.is_empty() && !self.is_cleared
    }

    pub(super) fn are_cleared(&mut self) {
        self.is_cleared = true;
    }

    fn open(&self) -> Vec<(i32, Arc<str>)> {
        let open = self.all.iter().filter(|task| !task.is_over);
        open.map(|task| (task.position, Arc::clone(&task.json))).collect()
    }

    /// All that are to be cleared.
    pub(super) fn to_clear(&self) -> Vec<Arc<str>> {
        self.all.iter().map(|task| Arc::clone(&task.json)).collect()
    }

    /// What to ask now; `stops`: they are to end.
    pub(super) fn ask(&mut self, stops: bool) -> RunKind {
        let stop = stops && !self.told_to_stop;
        self.told_to_stop |= stops;
        RunKind::Tasks { open: self.open(), stop }
    }
}

impl Tree {
    /// A command has a task, unless it has that one already.
    pub(super) fn adds_task(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        attempt: i32,
        ticket: u64,
        json: Arc<str>,
    ) {
        let root_command_id = self.root;
        let node = self.node(id);
        if !node.runs(attempt) {
            return turn.refuse(ticket, Refusal::AlreadyEnded(id));
        }
        let tasks = &mut node.rounds().tasks;
        let mut writes = Vec::new();
        if tasks.all.iter().all(|task| task.json != json) {
            let position = tasks.all.last().map_or(0, |last| last.position + 1);
            tasks.all.push(TaskOf { position, json: Arc::clone(&json), is_over: false });
            writes.push(Write::Task(Box::new(Task {
                command_id: id,
                root_command_id,
                position,
                task: json,
                created_at: turn.now,
                ended_at: None,
                failure: None,
            })));
        }
        self.emit(id, None, writes, vec![Effect::Accept { ticket }]);
    }

    /// The tasks of a command were asked, and these are over. Gives the command that may go on because
    /// of it.
    pub(super) fn tasks_asked(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        over: Vec<OverTask>,
    ) -> Option<CommandId> {
        let node = self.node(id);
        node.rounds.as_deref_mut()?.was_no_round();
        let some_are_over = !over.is_empty();
        let (mut writes, mut failed) = (Vec::new(), None);
        for OverTask { position, failure } in over {
            let tasks = &mut node.rounds().tasks;
            if let Some(task) = tasks.all.iter_mut().find(|task| task.position == position) {
                task.is_over = true;
                let json = failure.as_ref().map(failure_json);
                writes.push(Write::TaskEnded(id, position, turn.now, json));
                failed = failed.or(failure);
            }
        }
        let (has_open, has_executed) = (node.has_open_tasks(), node.progress.executed);
        let pace = node.spec.poll;
        node.rounds().tasks_were_asked(some_are_over, !has_open, pace);
        if some_are_over {
            self.emit(id, None, writes, Vec::new());
        }
        let node = &self.nodes[&id];
        let goes_on = node.progress.status == CommandStatus::Active && node.cancelled.is_none();
        match failed {
            Some(failure) if goes_on && has_executed => {
                return self.round_failed(turn, id, failure.of(id).fitting());
            }
            _ => self.arm(turn, id),
        }
        Some(id)
    }

    /// The tasks of a command that has failed are told to stop.
    pub(super) fn stop_tasks(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        if self.nodes[&id].stops_tasks() {
            self.node(id).rounds().is_due_now();
            self.next_round(turn, id);
        }
    }
}

impl Node {
    pub(super) fn has_open_tasks(&self) -> bool {
        self.rounds.as_deref().is_some_and(|rounds| rounds.tasks.has_open())
    }

    /// Whether all that it has begun is over.
    pub(super) fn is_drained(&self) -> bool {
        self.open_children == 0 && !self.has_open_tasks()
    }

    /// Whether it has failed, and waits until its tasks are over.
    pub(super) fn stops_tasks(&self) -> bool {
        self.progress.status.is_draining() && self.has_open_tasks()
    }

    /// Whether its tasks have still to be cleared.
    pub(super) fn has_uncleared_tasks(&self) -> bool {
        self.rounds.as_deref().is_some_and(|rounds| rounds.tasks.is_uncleared())
    }
}
