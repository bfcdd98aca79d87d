//! What the model does when the machine says so.

use super::super::commands::spec_of;
use super::super::oracle::outcome;
use super::super::task::{Code, Mail, Task};
use super::Runtime;
use super::orders::Caller;
use crate::entity::CommandEntity;
use crate::erased::Call;
use crate::failure::FailureKind;
use crate::machine::{Address, Effect, Happened, Refusal, Run, RunKind, UndoRun, Undoing};
use crate::status::CommandStatus;
use crate::time::Timestamp;

impl Runtime {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Accept { ticket } => self.accepted(ticket),
            Effect::Refuse { ticket, refusal } => self.refused(ticket, &refusal),
            Effect::Run(run) => self.start(&run),
            Effect::Undo(run) => self.undo(*run),
            Effect::Give { command, outcomes, replay_is_over } => {
                if let Some(task) = self.tasks.get_mut(&command) {
                    task.tell(Mail::Give { outcomes, replay_is_over });
                }
            }
            Effect::Turn { at, attempt, position, given } => {
                self.happened(at, Happened::Turn { attempt, position, given });
            }
            Effect::LetRun { command, position } => {
                if let Some(task) = self.tasks.get_mut(&command) {
                    self.ledger.check_stored(task.at, &task.given());
                    task.tell(Mail::LetRun { position });
                }
            }
            Effect::Drop { command } => {
                let dropped = self.tasks.remove(&command);
                assert!(dropped.is_none_or(|task| task.is_flow()), "{command} is no flow");
            }
            Effect::Cancel { command } => {
                if let Some(task) = self.tasks.get_mut(&command) {
                    assert!(self.ledger.is_cancelled(command), "{command} is not cancelled");
                    task.cancel();
                }
            }
            Effect::WakeAt { at, when } => {
                self.alarms.insert((when, at.command), at.root);
            }
            Effect::Disarm { command, when } => drop(self.alarms.remove(&(when, command))),
            Effect::Reload { at, ticket } => self.reads.push((at, ticket)),
            Effect::Ended { root, result } => {
                assert_eq!(outcome(&self.ledger.rows[&root]), result.map_err(|f| *f), "of {root}");
                self.standing.remove(&root);
            }
            Effect::Stuck { at, reason } => {
                let expected = [
                    "of its own will",
                    "the hook",
                    "the store refused its data: by the dice",
                    "the engine died 3 times",
                ];
                let text = &reason.message;
                assert!(expected.iter().any(|may| text.starts_with(may)), "{at:?}: {reason}");
                self.standing.insert(at.root, at.command);
            }
            Effect::Unstuck { root } => drop(self.standing.remove(&root)),
            Effect::NoRoom { root } => drop(self.unadmitted.insert(root)),
            Effect::Rest { root, rest } => {
                self.happened(Address { root, command: root }, Happened::Rest { rest });
            }
            Effect::Rested { root } => {
                self.ledger.forgets(Some(root));
                self.resting.insert(root);
            }
            Effect::Held { root, hold } => self.holds.push((root, hold)),
        }
    }

    fn start(&mut self, run: &Run) {
        let id = run.at.command;
        if self.is_stopping && !matches!(run.kind, RunKind::Leaf) {
            return;
        }
        let row = &self.ledger.rows[&id];
        let status = row.progress.status;
        match &run.kind {
            RunKind::Hook(call) => {
                let expected = match call {
                    Call::EndSuccessfully(_) => CommandStatus::Succeeded,
                    _ => CommandStatus::Failed,
                };
                assert_eq!(status, expected, "a hook of {id}");
                if let Call::EndSuccessfully(_) | Call::EndWithFailure(_) = call {
                    let succeeds = matches!(call, Call::EndSuccessfully(_));
                    let before = *self.end_hooks.entry(id).or_insert(succeeds);
                    assert_eq!(before, succeeds, "{id} has both end hooks");
                }
            }
            RunKind::Tasks { open, stop } => self.check_asks(run.at, open, *stop),
            RunKind::Clear(tasks) => self.check_clears(id, tasks),
            RunKind::Inbox(round) => self.check_round(run, round),
            RunKind::Round(Call::Round(round)) => {
                self.check_round(run, round);
                self.check_patience(id, round);
                assert!(!self.ledger.has_kept_open_tasks(id), "{id} goes on");
            }
            RunKind::Round(call) => panic!("a round of {id} is {call:?}"),
            // A flow that is cancelled may be dropped in the batch that starts it.
            RunKind::Flow { .. } if self.ledger.is_cancelled(id) => {}
            RunKind::Leaf | RunKind::Flow { .. } => {
                assert_eq!((status, row.progress.attempt), (CommandStatus::Active, run.attempt));
                assert_eq!(run.fields, row.command_parameters);
            }
        }
        assert_eq!(run.parent.is_some(), row.parent_command_id.is_some());
        let is_hook =
            matches!(run.kind, RunKind::Hook(_) | RunKind::Clear(_) | RunKind::Tasks { .. });
        assert!(is_hook || !self.cancelled.contains(&id), "{id} runs, and was cancelled");
        if matches!(run.kind, RunKind::Leaf) {
            self.check_attempt(run);
        }
        assert!(self.ledger.ancestors(id).all(|id| self.ledger.is_open(id)));
        self.check_trial(run.at);
        let takes = match self.dice.below(8) {
            0 if !matches!(
                run.kind,
                RunKind::Flow { .. } | RunKind::Hook(_) | RunKind::Clear(_)
            ) =>
            {
                self.dice.below(15_000_000)
            }
            _ => 0,
        };
        let until = self.now.as_micros() + i64::try_from(takes).expect("a small number");
        let task = Task::new(run, Timestamp::from_micros(until));
        if let RunKind::Tasks { stop: true, .. } = &run.kind {
            self.told_to_stop.insert(id, run.at.root);
        }
        if let RunKind::Round(Call::Round(round)) = &run.kind {
            self.patience.from_store.remove(&id);
            self.round_begins(run.at, round);
        }
        let before = self.tasks.insert(id, task);
        assert!(before.is_none(), "{id} runs already: {before:?}");
        if !matches!(run.kind, RunKind::Hook(_) | RunKind::Clear(_)) {
            self.check_concurrency(run.name);
        }
    }

    /// A leaf runs once, unless it may run again.
    fn check_attempt(&mut self, run: &Run) {
        let id = run.at.command;
        let Some((life, attempt)) = self.started.insert(id, (self.life, run.attempt)) else {
            return;
        };
        assert!(run.attempt > attempt, "{id} has an attempt twice");
        let said = self.said.get(&id).filter(|(said, _)| *said == attempt);
        let has_failed = said.is_some_and(|(_, reply)| reply.result.is_err() && !reply.refused);
        let is_retry = has_failed && self.ledger.may_be_tried_again(id);
        assert!(is_retry || life < self.life, "{id} runs twice in one life");
        assert!(is_retry || spec_of(run.name).idempotent, "{id} is started again");
    }

    /// Those that run of a type with a limit keep to it.
    fn check_concurrency(&self, name: &str) {
        // A leaf that runs while its tree is read again has given its place back.
        let Some(most) = spec_of(name).concurrency.filter(|_| !self.had_rejections) else { return };
        let counts = |task: &&Task| {
            let takes_place = task.is_leaf() || task.is_flow() || task.is_round();
            takes_place
                && task.name == name
                && !task.is_over
                && !(task.is_flow() && self.ledger.is_cancelled(task.at.command))
                && !self.ledger.is_below_its_type(task.at.command)
                && self.ledger.rows[&task.at.command].progress.status == CommandStatus::Active
        };
        let between_rounds = |row: &&CommandEntity| {
            let id = row.command_id;
            let has_begun = self.started.get(&id).is_some_and(|(life, _)| *life == self.life);
            let is_between = row.progress.status == CommandStatus::Active && row.progress.executed;
            let is_here = has_begun && is_between && row.command_type == name;
            is_here && !self.tasks.contains_key(&id) && self.stays_in_rounds(row)
        };
        let running = self.tasks.values().filter(counts).count()
            + self.ledger.rows.values().filter(between_rounds).count();
        let most = usize::try_from(most.get()).expect("a small number");
        assert!(running <= most, "{running} of `{name}` run");
    }

    /// A suspect runs nothing before its trial.
    fn check_trial(&self, at: Address) {
        let waits = self.ledger.deaths(at.root) == 2;
        assert!(!waits || self.had_rejections, "{at:?} runs before its trial");
    }

    fn undo(&mut self, run: UndoRun) {
        if self.is_stopping {
            return;
        }
        let id = run.at.command;
        assert_eq!(self.ledger.rows[&id].progress.status, CommandStatus::Failed, "{id} undoes");
        self.check_trial(run.at);
        let before = self.tasks.insert(id, Task::undo(run));
        assert!(before.is_none(), "{id} runs already: {before:?}");
    }

    fn refused(&mut self, ticket: u64, refusal: &Refusal) {
        if let Refusal::Duplicate(taken) = refusal {
            assert!(self.ledger.rows[taken].submit_key.is_some(), "{taken} has no key");
            self.report.duplicates += 1;
        }
        if let (Some(Caller::Lock(at, lock)), Refusal::LockTimedOut(_)) =
            (self.callers.get(&ticket), refusal)
        {
            self.ledger.check_has_left(at.command, lock);
        }
        let is_lock = matches!(self.callers.get(&ticket), Some(Caller::Lock(..)));
        if is_lock && matches!(refusal, Refusal::AlreadyEnded(_)) {
            self.late.insert(ticket);
        }
        self.answer(ticket, false);
    }
}

impl super::super::ledger::Ledger {
    /// What was to be done for a command is done.
    pub(super) fn is_through(&mut self, id: crate::CommandId, code: &Code) {
        match code {
            Code::Undo(run) => drop(self.undone.insert(match &run.undoing {
                Undoing::Command(command) => (*command, None),
                Undoing::Entry { command, position, .. } => (*command, Some(*position)),
            })),
            Code::Hook(Call::Compensate(output)) => {
                let progress = &self.rows[&id].progress;
                let expected = progress.executed.then(|| progress.return_value.clone()).flatten();
                assert_eq!(*output, expected, "{id} is undone with another output");
                self.undone.insert((id, None));
            }
            Code::Hook(_) => drop(self.hooked.insert(id)),
            Code::Clear => self.are_cleared(id),
            Code::Leaf(_) | Code::Flow(_) | Code::Ask(..) => {}
        }
    }

    /// Whether a tree was parked because the engine died while it ran.
    pub(super) fn is_convicted(&self, root: crate::CommandId) -> bool {
        let reason = self.rows[&root].progress.stuck_reason.as_deref();
        reason
            .is_some_and(|text| super::super::ledger::read(Some(text)).kind == FailureKind::Crashed)
    }
}
