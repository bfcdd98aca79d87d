//! Tasks outside: who begins, asks, stops and clears them.

use std::sync::Arc;

use super::super::outside::Standing;
use super::Runtime;
use super::orders::Caller;
use crate::id::CommandId;
use crate::machine::{Address, Happened, OverTask};
use crate::status::CommandStatus;

impl Runtime {
    /// Who has a task hears that it is stored: mostly it begins it.
    pub(super) fn begin_task(&mut self, id: CommandId, task: &Arc<str>) {
        if !self.dice.one_in(12) {
            self.outside.begin(id, task, self.now, &mut self.dice);
        }
    }

    /// Tasks are asked how they stand. Who has failed has told them to stop before.
    pub(super) fn check_asks(&self, at: Address, open: &[(i32, Arc<str>)], stop: bool) {
        let id = at.command;
        let progress = &self.ledger.rows[&id].progress;
        let has_failed = progress.status.is_draining();
        assert!(has_failed || progress.status == CommandStatus::Active, "{id} asks its tasks");
        assert!(has_failed || progress.executed, "{id} asks its tasks");
        assert_eq!(open, self.ledger.open_tasks(id), "of {id}");
        assert!(!stop || has_failed, "{id} goes on, and stops its tasks");
        let is_told = stop || self.told_to_stop.contains_key(&id);
        assert!(!has_failed || is_told, "{id} has failed, and its tasks go on");
    }

    /// Tasks are cleared when the outcome of their command stands.
    pub(super) fn check_clears(&self, id: CommandId, tasks: &[Arc<str>]) {
        let status = self.ledger.rows[&id].progress.status;
        let stands = [CommandStatus::Succeeded, CommandStatus::Failed].contains(&status);
        assert!(stands, "{id} is {status}, and clears its tasks");
        let stored: Vec<_> = self.ledger.tasks_of(id).map(|task| Arc::clone(&task.task)).collect();
        assert_eq!(stored, tasks, "of {id}");
        let mut running = tasks.iter().filter(|task| self.outside.is_running(id, task, self.now));
        assert_eq!(running.next(), None, "{id} is {status}, and it runs");
    }

    /// Asks the tasks of a command.
    pub(super) fn ask_outside(&mut self, at: Address) {
        let id = at.command;
        let task = self.tasks.get_mut(&id).expect("it runs");
        let (open, stop) = task.asks_outside();
        let mut over = Vec::new();
        for (position, task) in open {
            if stop && !self.dice.one_in(10) {
                self.outside.stop(id, &task, self.now, &mut self.dice);
            }
            let has_answer = !self.dice.one_in(8);
            let (failure, is_known) = match self.outside.status(id, &task, self.now) {
                _ if !has_answer => continue,
                Standing::Running => continue,
                Standing::Over(failure) => (failure, true),
                Standing::Unknown(failure) => (Some(failure), false),
            };
            self.ledger.is_over(id, position);
            over.push(OverTask { position, failure, is_known });
        }
        self.inbox.push_back((at, Happened::TasksAsked(over)));
    }

    /// Whether tasks of a command may be open, also those that are not stored yet.
    pub(super) fn may_have_open_tasks(&self, id: CommandId) -> bool {
        let is_known = |task: &Arc<str>| self.ledger.tasks_of(id).any(|known| known.task == *task);
        let is_asked = |caller: &Caller| match caller {
            Caller::Task(at, task) => at.command == id && !is_known(task),
            _ => false,
        };
        !self.ledger.open_tasks(id).is_empty() || self.callers.values().any(is_asked)
    }
}
