//! Tasks outside, as they have to be followed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::Ledger;
use crate::entity::{Progress, Task};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

/// The tasks of all commands, by their positions.
#[derive(Debug, Default)]
pub(super) struct TaskBook {
    all: BTreeMap<(CommandId, i32), Task>,
    /// Those of which the outside has said that they are over.
    over: HashSet<(CommandId, i32)>,
    /// Commands of which all tasks were cleared.
    cleared: HashSet<CommandId>,
}

impl Ledger {
    pub(in super::super) fn tasks_of(&self, id: CommandId) -> impl Iterator<Item = &Task> {
        self.tasks.all.range((id, 0)..=(id, i32::MAX)).map(|(_, task)| task)
    }

    pub(in super::super) fn check_has_task(&self, id: CommandId, task: &Arc<str>) {
        let is_stored = self.tasks_of(id).any(|stored| stored.task == *task);
        assert!(is_stored, "{id} may begin {task}, and it is not stored");
    }

    /// The tasks of a command that are not over.
    pub(in super::super) fn open_tasks(&self, id: CommandId) -> Vec<(i32, Arc<str>)> {
        let open = self.tasks_of(id).filter(|task| task.ended_at.is_none());
        open.map(|task| (task.position, Arc::clone(&task.task))).collect()
    }

    /// Whether a round has to wait for a task.
    pub(in super::super) fn has_kept_open_tasks(&self, id: CommandId) -> bool {
        self.tasks_of(id).any(|task| task.kept && task.ended_at.is_none())
    }

    pub(super) fn has_task(&mut self, task: &Task) {
        let id = task.command_id;
        assert_eq!(self.rows[&id].progress.status, CommandStatus::Active, "{task:?}");
        assert_eq!(usize::try_from(task.position), Ok(self.tasks_of(id).count()), "{task:?}");
        // One that was never kept, and is over, counts for nothing.
        let is_new = self
            .tasks_of(id)
            .all(|other| other.task != task.task || (!other.kept && other.ended_at.is_some()));
        assert!(is_new && task.ended_at.is_none(), "it has it already: {task:?}");
        self.tasks.all.insert((id, task.position), task.clone());
    }

    pub(super) fn task_kept(&mut self, id: CommandId, position: i32) {
        let task = self.tasks.all.get_mut(&(id, position)).expect("a task");
        assert!(!task.kept, "it is kept already: {task:?}");
        task.kept = true;
    }

    pub(super) fn task_ended(&mut self, id: CommandId, position: i32, failure: Option<&Arc<str>>) {
        assert!(self.tasks.over.contains(&(id, position)), "task {position} of {id} is not over");
        let task = self.tasks.all.get_mut(&(id, position)).expect("a task");
        assert_eq!(task.ended_at, None, "it is over already: {task:?}");
        task.ended_at = Some(crate::Timestamp::default());
        task.failure = failure.cloned();
        self.tasks_ended += 1;
    }

    /// The outside has said that a task is over.
    pub(in super::super) fn is_over(&mut self, id: CommandId, position: i32) {
        self.tasks.over.insert((id, position));
    }

    pub(in super::super) fn are_cleared(&mut self, id: CommandId) {
        self.tasks.cleared.insert(id);
    }

    /// The outcome of a command stands when its tasks are over, and it ends when they are cleared.
    pub(super) fn check_tasks(&self, id: CommandId, newer: &Progress) {
        use CommandStatus::{EndedSuccessfully, EndedWithFailure, Failed, Succeeded};
        let failure = newer.failure.as_deref().map(|text| super::read(Some(text)));
        let is_abandoned = failure.is_some_and(|failure| {
            failure.kind == FailureKind::Abandoned && failure.command == Some(id)
        });
        if is_abandoned {
            return;
        }
        let status = newer.status;
        if [Succeeded, Failed, EndedSuccessfully, EndedWithFailure].contains(&status) {
            assert_eq!(self.open_tasks(id), [], "{id} is {status}");
        }
        if [Succeeded, EndedSuccessfully].contains(&status) {
            let failed = self.tasks_of(id).find(|task| task.failure.is_some());
            assert_eq!(failed, None, "{id} is {status}");
        }
        if status.is_terminal() {
            let is_cleared = self.tasks.cleared.contains(&id);
            assert!(is_cleared || self.tasks_of(id).next().is_none(), "{id} is not cleared");
        }
    }

    /// Whether a command may have failed because of one of its tasks.
    pub(in super::super) fn is_of_task(&self, id: CommandId, failure: &Failure) -> bool {
        self.tasks_of(id).any(|task| {
            let of_task = task.failure.as_deref().map(|text| super::read(Some(text)));
            of_task.is_some_and(|of_task| of_task.message == failure.message)
        })
    }
}
