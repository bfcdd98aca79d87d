//! Tasks outside of a command in its rounds: asked at intervals, stopped when it fails, cleared when
//! its outcome stands.
//!
//! What has become of a task is stored as soon as it is known. While one is open its command neither
//! goes on nor fails: a task that runs beside the undo of what it works on would be no undo.
//!
//! Its row is there before the work begins, and is a placeholder until the code that has added it
//! comes to its end: then it is kept, in the same step. Of a placeholder nobody knows whether it was
//! begun. So after a crash the code comes again before its placeholders are asked; one that it does
//! not add again is followed like the others, but where the outside does not know it, nothing has
//! failed.
//!
//! ```text
//! cx.task ──► Added ── end of the round, or of execute ──► Kept
//!             │   ▲
//!   code lost ▼   │ cx.task again
//!             Left
//! ```

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
    /// The code that has added those that are open may have been interrupted.
    pub(super) was_interrupted: bool,
}

#[derive(Debug)]
struct TaskOf {
    position: i32,
    json: Arc<str>,
    is_over: bool,
    standing: Standing,
}

/// Whether the code that has added a task has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It runs.
    Added,
    /// It was interrupted, or has failed and is tried again.
    Left,
    /// It has.
    Kept,
}

impl TaskOf {
    fn added(&mut self) {
        if self.standing == Standing::Left {
            self.standing = Standing::Added;
        }
    }

    /// Whether adding these fields again means this one. A placeholder that is over may never have
    /// been begun: it stands for nothing any more.
    fn is(&self, json: &str) -> bool {
        *self.json == *json && (self.standing == Standing::Kept || !self.is_over)
    }
}

impl Tasks {
    /// Takes one that is stored.
    pub(super) fn stored(&mut self, task: &Task) {
        self.all.push(TaskOf {
            position: task.position,
            json: Arc::clone(&task.task),
            is_over: task.ended_at.is_some(),
            standing: if task.kept { Standing::Kept } else { Standing::Left },
        });
        self.all.sort_unstable_by_key(|task| task.position);
    }

    /// Adds one, unless it is there. Gives the position of a new one.
    fn add(&mut self, json: &Arc<str>) -> Option<i32> {
        if let Some(task) = self.all.iter_mut().find(|task| task.is(json)) {
            task.added();
            return None;
        }
        let position = self.all.last().map_or(0, |last| last.position + 1);
        let (json, standing) = (Arc::clone(json), Standing::Added);
        self.all.push(TaskOf { position, json, is_over: false, standing });
        Some(position)
    }

    /// The one at this position, if it is there, was added by code that runs, or whose end is lost.
    pub(super) fn is_added(&mut self, position: i32) {
        let task = self.all.iter_mut().find(|task| task.position == position);
        task.into_iter().for_each(TaskOf::added);
    }

    /// The positions of those that were added by code that runs.
    pub(super) fn added(&self) -> impl Iterator<Item = i32> {
        let added = self.all.iter().filter(|task| task.standing == Standing::Added);
        added.map(|task| task.position)
    }

    pub(super) fn has_added(&self) -> bool {
        self.added().next().is_some()
    }

    /// Whether there never was one.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && !self.was_interrupted
    }

    /// The code that has added some has come to its end. Gives their positions.
    pub(super) fn keep(&mut self) -> Vec<i32> {
        let kept = self.added().collect();
        self.become_of_added(Standing::Kept);
        kept
    }

    /// The code that has added some is tried again.
    pub(super) fn leave(&mut self) {
        self.become_of_added(Standing::Left);
    }

    fn become_of_added(&mut self, standing: Standing) {
        let added = self.all.iter_mut().filter(|task| task.standing == Standing::Added);
        added.for_each(|task| task.standing = standing);
    }

    /// Whether they are not asked before a round that was interrupted has come again. While one that
    /// is kept is open, none of these was.
    pub(super) fn wait_for_round(&self) -> bool {
        let is_kept = |task: &TaskOf| !task.is_over && task.standing == Standing::Kept;
        self.was_interrupted && !self.all.iter().any(is_kept)
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
        let row = node.rounds().tasks.add(&json).map(|position| {
            Write::Task(Box::new(Task {
                command_id: id,
                root_command_id,
                position,
                task: json,
                created_at: turn.now,
                kept: false,
                ended_at: None,
                failure: None,
            }))
        });
        self.emit(id, None, row.into_iter().collect(), vec![Effect::Accept { ticket }]);
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
        for OverTask { position, failure, is_known } in over {
            let tasks = &mut node.rounds().tasks;
            if let Some(task) = tasks.all.iter_mut().find(|task| task.position == position) {
                task.is_over = true;
                let is_kept = task.standing == Standing::Kept;
                let failure = failure.filter(|_| is_known || is_kept);
                let json = failure.as_ref().map(failure_json);
                writes.push(Write::TaskEnded(id, position, turn.now, json));
                failed = failed.or(failure);
            }
        }
        let (has_open, has_executed) = (node.has_open_tasks(), node.progress.executed);
        let pace = node.spec.poll;
        node.rounds().tasks_were_asked(some_are_over, !has_open, pace);
        let goes_on = node.progress.status == CommandStatus::Active && node.cancelled.is_none();
        match failed {
            // One step: a restart in between would go on.
            Some(failure) if goes_on && has_executed => {
                return self.failed_by(turn, id, failure.of(id).fitting(), writes);
            }
            _ if some_are_over => self.emit(id, None, writes, Vec::new()),
            _ => {}
        }
        self.arm(turn, id);
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
