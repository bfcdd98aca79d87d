//! What must hold between two inputs, of all that waits.

use std::collections::BTreeSet;

use super::super::commands::spec_of;
use super::super::task::Task;
use super::Runtime;
use crate::machine::Address;
use crate::status::CommandStatus;

impl Runtime {
    /// What runs and has a time-out is woken by it.
    pub(super) fn check_deadlines(&self) {
        if self.is_stopping {
            return;
        }
        let counts = |task: &&Task| {
            let is_active =
                self.ledger.rows[&task.at.command].progress.status == CommandStatus::Active;
            task.is_leaf() || task.is_flow() || (task.is_round() && is_active)
        };
        for task in self.tasks.values().filter(counts) {
            let id = task.at.command;
            let began_at = self.ledger.rows[&id].began_at();
            let Some((at, timeout)) = began_at.zip(spec_of(task.name).timeout) else {
                continue;
            };
            let deadline = at.after(timeout);
            let is_armed = self.alarms.contains_key(&(deadline, id)) || deadline <= self.now;
            assert!(is_armed || self.ledger.is_cancelled(id), "{id} is not timed out");
        }
    }

    /// What trees know of the line is so, and what waits until some time is woken then. Whoever is
    /// in line hears when it is granted.
    pub(super) fn check_lines(&self) {
        if self.is_stopping {
            return;
        }
        let has_steps = |root| self.queue.iter().any(|(step, _)| step.root == root);
        for (Address { root, command }, number, until) in self.machine.lines() {
            if has_steps(root) || self.reloading.contains_key(&root) {
                continue;
            }
            let is_in_line = self.ledger.is_in_line(command, number);
            assert!(is_in_line, "request {number} of {command} is not in line");
            let is_armed = until.is_none_or(|until| self.alarms.contains_key(&(until, command)));
            assert!(is_armed, "request {number} of {command} is not timed out");
        }
        for root in self.ledger.roots_in_line() {
            let is_here = self.machine.has(root)
                || has_steps(root)
                || self.resting.contains(&root)
                || self.unadmitted.contains(&root)
                || self.reloading.contains_key(&root);
            assert!(is_here, "nobody in {root} would hear of its locks");
        }
    }

    /// When nothing goes on, everybody knows what is stuck.
    pub(super) fn check_standing(&self) {
        let stuck = self.ledger.stuck_commands();
        let roots: BTreeSet<_> = stuck.iter().map(|at| at.root).collect();
        let told: BTreeSet<_> = self.standing.keys().copied().collect();
        let wrong: Vec<_> = told.symmetric_difference(&roots).collect();
        assert!(wrong.is_empty(), "stuck, or told to be, and not both: {wrong:?}");
        for (root, command) in &self.standing {
            let at = Address { root: *root, command: *command };
            assert!(stuck.contains(&at), "{at:?} is told to be stuck, and is not");
        }
    }
}
