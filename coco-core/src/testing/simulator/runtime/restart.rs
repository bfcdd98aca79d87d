//! Deaths and stops of the engine, and what the next one reads.

use std::collections::BTreeSet;

use super::super::commands::{at_once, load};
use super::Runtime;
use crate::id::CommandId;
use crate::machine::{Input, Loaded};
use crate::status::CommandStatus;
use crate::store::Store;

impl Runtime {
    /// The engine dies: before the commit of what waits, after it, or with a part of it stored.
    pub(super) fn die(&mut self) {
        if self.dice.one_in(2) && !self.queue.is_empty() {
            let some = self.dice.below(self.queue.len()) + 1;
            let batch: Vec<_> = self.queue.drain(..some).collect();
            self.apply(&batch);
        }
        self.check_trials();
        self.report.deaths += 1;
        self.restart(true);
    }

    /// The trees that are on trial, as it is stored.
    fn on_trial(&self) -> BTreeSet<CommandId> {
        let roots = self.ledger.rows.values().filter(|row| row.parent_command_id.is_none());
        let on_trial = roots.filter(|row| {
            let is_open = !row.progress.status.is_terminal();
            is_open
                && self.ledger.deaths(row.command_id) == 3
                && !self.ledger.is_convicted(row.command_id)
        });
        on_trial.map(|row| row.command_id).collect()
    }

    /// One tree at most is on trial, but for those that the last death has convicted.
    fn check_trials(&self) {
        let on_trial = self.on_trial();
        let now: Vec<_> = on_trial.difference(&self.condemned).collect();
        assert!(now.len() <= 1 || self.had_rejections, "on trial together: {now:?}");
    }

    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.alarms.clear();
        self.tell(Input::Stop);
        let waiting = self.waiting();
        self.reads.clear();
        loop {
            while self.hear() || self.run_code() || self.commit_some() || self.read() {}
            let waits = self.dice.one_in(2) && (self.ring() || self.pass_time());
            if !waits {
                break;
            }
        }
        self.check_waiting(&waiting);
        let flows = self.tasks.values().filter(|task| !task.is_leaf() && !task.is_round()).count();
        assert_eq!(flows, 0, "flows and hooks run though the engine stops");
        self.is_stopping = false;
        self.report.stops += 1;
        self.restart(false);
    }

    /// The commands that wait for a time or a place, and have not begun.
    fn waiting(&self) -> Vec<CommandId> {
        let in_flight = |id| self.queue.iter().any(|(step, _)| step.command == id);
        let rows = self.ledger.rows.values();
        let waits = rows.filter(|row| {
            let waits = row.progress.status == CommandStatus::NotStarted;
            waits
                && !in_flight(row.command_id)
                && !self.reloading.contains_key(&row.root_command_id)
        });
        waits.map(|row| row.command_id).collect()
    }

    fn check_waiting(&self, waited: &[CommandId]) {
        for id in waited {
            let progress = &self.ledger.rows[id].progress;
            let has_begun = progress.attempt > 0;
            assert!(!has_begun || self.had_rejections, "{id} begins though the engine stops");
        }
    }

    fn restart(&mut self, crashed: bool) {
        self.life += 1;
        self.had_rejections = false;
        self.ledger.counts_deaths = crashed;
        self.ledger.begun.clear();
        self.ledger.forgets(None);
        self.machine = super::machine(self.plan);
        self.queue.clear();
        self.tasks.clear();
        self.alarms.clear();
        self.inbox.clear();
        self.reloading.clear();
        self.reads.clear();
        self.unadmitted.clear();
        self.resting.clear();
        self.holds.clear();
        self.standing.clear();
        self.callers.clear();
        self.late.clear();
        self.rounds.clear();
        self.told_to_stop.clear();
        self.patience = super::events::Patience::default();
        if self.dice.one_in(2) {
            let downtime = std::time::Duration::from_micros(self.dice.roll() % 6_000_000);
            self.now = self.now.after(downtime);
        }
        self.lease = at_once(self.store.acquire()).expect("a lease");
        let open = self.ledger.rows.keys().copied().filter(|id| self.ledger.is_open(*id));
        self.cancelled = open.filter(|id| self.ledger.is_cancelled(*id)).collect();
        let before = self.convicted().count();
        self.condemned = if crashed { self.on_trial() } else { BTreeSet::new() };
        for rows in at_once(self.store.open_trees(None, None, usize::MAX)).expect("it reads") {
            let root = rows.commands[0].root_command_id;
            self.tell(Input::Load(Box::new(load(root, rows, Loaded::Start { crashed }))));
        }
        if !crashed {
            self.commit_all();
            assert_eq!(self.convicted().count(), before, "a clean stop convicts");
        }
    }

    fn convicted(&self) -> impl Iterator<Item = CommandId> {
        let rows = self.ledger.rows.values().filter(|row| row.parent_command_id.is_none());
        rows.map(|row| row.command_id).filter(|root| self.ledger.is_convicted(*root))
    }
}
