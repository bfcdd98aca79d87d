//! The model's commits, and the trees that it reads.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::commands::{at_once, load, requests_of};
use super::Runtime;
use crate::lock::{Grant, LockRefusal};
use crate::machine::step::{Step, Write};
use crate::machine::{Address, Effect, Forgotten, Happened, Input, Loaded, Started};
use crate::store::{Committed, Delivered, Outcome, Store};

/// A queued step, with the effects that wait for it.
pub(super) type Queued = (Step, Vec<Effect>);

/// A tree that is read again, and what happens to it meanwhile.
#[derive(Debug)]
pub(super) struct Reloading {
    step: Step,
    skipped: Vec<Step>,
    started: Started,
    pub(super) happened: Vec<(Address, Happened)>,
}

impl Runtime {
    pub(super) fn commit_some(&mut self) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let some = match self.dice.below(3) {
            0 => self.dice.below(self.queue.len()) + 1,
            _ => self.queue.len(),
        };
        let batch = self.queue.drain(..some).collect();
        self.commit(batch);
        true
    }

    pub(super) fn commit_all(&mut self) {
        while self.commit_some() {}
    }

    /// Commits, and does what follows. The one place that lets effects go.
    fn commit(&mut self, batch: Vec<Queued>) {
        let Committed { outcomes, granted, delivered } = self.apply(&batch);
        let (mut rejected, mut skipped) = (Vec::new(), Vec::new());
        for ((step, effects), outcome) in batch.into_iter().zip(outcomes) {
            let at = Address { root: step.root, command: step.command };
            match outcome {
                Outcome::Applied => {
                    if step.is_refusable() {
                        self.happened(at, Happened::Granted { number: step.request_number() });
                    }
                    effects.into_iter().for_each(|effect| self.perform(effect));
                }
                Outcome::Conflict(conflict) => self.locks_refused(&step, &effects, conflict.into()),
                Outcome::WouldDeadlock(cycle) => self.locks_refused(&step, &effects, cycle.into()),
                Outcome::Queued { until } => {
                    let number = step.request_number();
                    self.happened(at, Happened::Queued { number, until });
                }
                Outcome::Duplicate(taken) => {
                    assert_eq!(step.submit_key(), self.ledger.rows[&taken].submit_key.as_ref());
                    let ticket = effects.iter().find_map(ticket_of).expect("a submit");
                    self.happened(at, Happened::Duplicate { ticket, taken });
                }
                Outcome::Rejected(_) => rejected.push((step, effects)),
                Outcome::Skipped => skipped.push((step, effects)),
            }
        }
        for (step, effects) in rejected {
            let behind =
                skipped.extract_if(.., |(behind, _): &mut Queued| behind.root == step.root);
            let behind = behind.collect();
            self.rejected(step, &effects, behind);
        }
        for Grant { root, command, number } in granted {
            self.happened(Address { root, command }, Happened::HasLocks { number });
        }
        for Delivered { root, command, .. } in delivered {
            self.happened(Address { root, command }, Happened::HasEvents);
        }
        self.check_lines();
    }

    fn locks_refused(&mut self, step: &Step, effects: &[Effect], refusal: LockRefusal) {
        let at = Address { root: step.root, command: step.command };
        let ticket = effects.iter().find_map(ticket_of);
        self.happened(at, Happened::Refused { ticket, number: step.request_number(), refusal });
    }

    /// What the store makes of a batch of which it may reject one step.
    pub(super) fn apply(&mut self, batch: &[Queued]) -> Committed {
        self.report.commits += 1;
        let chosen = self.dice.below(batch.len());
        let rejected = self.dice.one_in(self.faults.rejection).then_some(chosen);
        let is_event = |write: &Write| matches!(write, Write::Publish(_));
        let may_be = |step: &Step| !step.writes.is_empty() && !step.writes.iter().any(is_event);
        let rejected = rejected.filter(|index| may_be(&batch[*index].0));
        self.had_rejections |= rejected.is_some();
        self.report.rejections += usize::from(rejected.is_some());
        let root = rejected.map(|index| batch[index].0.root);
        let is_offered = |(index, (step, _)): &(usize, &Queued)| {
            rejected.is_none_or(|rejected| *index < rejected || Some(step.root) != root)
        };
        let offered = batch.iter().enumerate().filter(is_offered);
        let steps: Arc<[Step]> = offered.map(|(_, (step, _))| step.clone()).collect();
        self.ledger.begins_commit(self.now);
        let Committed { outcomes: done, granted, delivered } =
            at_once(self.store.commit(&self.lease, steps)).expect("the lease is ours");
        let mut done = done.into_iter();
        let mut outcomes = Vec::with_capacity(batch.len());
        for pair in batch.iter().enumerate() {
            if is_offered(&pair) {
                let (step, outcome) = (&pair.1.0, done.next().expect("an outcome"));
                self.ledger.answered(step, &outcome);
                match &outcome {
                    Outcome::Applied => self.ledger.applied(step),
                    Outcome::Conflict(_) | Outcome::WouldDeadlock(_) | Outcome::Queued { .. } => {
                        assert!(step.request.is_some());
                    }
                    Outcome::Duplicate(_) => assert!(step.submit_key().is_some()),
                    Outcome::Rejected(_) | Outcome::Skipped => panic!("{outcome:?}: {step:?}"),
                }
                outcomes.push(outcome);
            } else if Some(pair.0) == rejected {
                outcomes.push(Outcome::Rejected("by the dice".to_owned()));
            } else {
                outcomes.push(Outcome::Skipped);
            }
        }
        self.ledger.delivered(&delivered, &self.store);
        self.ledger.granted(&granted);
        self.ledger.check_locks(&at_once(self.store.locks(None)).expect("it reads"));
        Committed { outcomes, granted, delivered }
    }

    fn rejected(&mut self, step: Step, effects: &[Effect], mut behind: Vec<Queued>) {
        let root = step.root;
        let Forgotten { held, started } = self.machine.forget(root);
        self.ledger.forgets(Some(root));
        let (lost, kept) = self.queue.drain(..).partition(|(step, _)| step.root == root);
        self.queue = kept;
        let waiting: VecDeque<_> = lost;
        behind.extend(waiting.into_iter().chain(held));
        let is_root = |write: &Write| matches!(write, Write::Insert(row) if row.command_id == root);
        if step.writes.iter().any(is_root) {
            self.skipped(step, effects);
        } else {
            self.refuse(effects);
            let (skipped, happened) = (Vec::new(), Vec::new());
            let reloading = Reloading { step, skipped, started, happened };
            self.reloading.insert(root, reloading);
        }
        for (step, effects) in behind {
            self.skipped(step, &effects);
        }
    }

    fn skipped(&mut self, step: Step, effects: &[Effect]) {
        self.refuse(effects);
        if let Some(reloading) = self.reloading.get_mut(&step.root) {
            reloading.skipped.push(step);
        }
    }

    fn refuse(&mut self, effects: &[Effect]) {
        for ticket in effects.iter().filter_map(ticket_of) {
            self.answer(ticket, false);
        }
    }

    /// A tree was read that something waits for.
    pub(super) fn read(&mut self) -> bool {
        if let Some((at, ticket)) = self.reads.pop() {
            let rows = at_once(self.store.tree(at.root)).expect("it reads").expect("a tree");
            let loaded = load(at.root, rows, Loaded::Start { crashed: false });
            let stored = requests_of(&loaded, at.command);
            self.happened(at, Happened::Replay { ticket, stored });
            return true;
        }
        let Some((root, reloading)) = self.reloading.pop_first() else { return false };
        let Reloading { step, skipped, started, happened } = reloading;
        self.tasks.retain(|_, task| task.at.root != root || !task.is_flow());
        let tasks = self.tasks.iter().filter(|(_, task)| task.at.root == root).map(|(id, _)| *id);
        let over = happened.iter().filter(|(_, what)| what.is_over()).map(|(at, _)| at.command);
        let running = tasks.chain(over).collect();
        let reason = "by the dice".to_owned();
        let rows = at_once(self.store.tree(root)).expect("it reads").expect("a tree");
        let cause = Loaded::Rejected { step, reason, skipped, started, running };
        self.tell(Input::Load(Box::new(load(root, rows, cause))));
        for (at, what) in happened {
            self.happened(at, what);
        }
        true
    }
}

fn ticket_of(effect: &Effect) -> Option<u64> {
    match effect {
        Effect::Accept { ticket } | Effect::Refuse { ticket, .. } => Some(*ticket),
        Effect::Reload { ticket, .. } => *ticket,
        _ => None,
    }
}
