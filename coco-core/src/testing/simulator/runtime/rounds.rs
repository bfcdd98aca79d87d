//! What a round goes by, and what may come after it.

use super::super::commands::spec_of;
use super::super::ledger::read;
use super::super::oracle::outcome;
use super::Runtime;
use crate::callback::CallbackKind;
use crate::entity::CommandEntity;
use crate::erased::{Reply, Round};
use crate::id::CommandId;
use crate::machine::{Address, Run};
use crate::status::CommandStatus;

/// What is known of the rounds of one command in this life of the engine.
#[derive(Debug)]
pub(super) struct Rounds {
    root: CommandId,
    /// The end order of the last child that the last round was given.
    given: Option<i64>,
    /// How many children had ended when the last one began that was for no event.
    polled: usize,
    /// That round has returned what counts.
    has_returned: bool,
    /// It has answered that the work is done.
    pub(super) is_over: bool,
}

impl Runtime {
    /// A round goes by what is stored, and by nothing else.
    pub(super) fn check_round(&self, run: &Run, round: &Round) {
        let id = run.at.command;
        let CommandEntity { progress, command_parameters, .. } = &self.ledger.rows[&id];
        let callback = spec_of(run.name).callback;
        match &round.executed {
            Ok(output) => {
                assert_eq!((progress.status, progress.executed), (CommandStatus::Active, true));
                assert_eq!(progress.return_value.as_ref(), Some(output), "of {id}");
            }
            Err(failure) => {
                let has_failed = [CommandStatus::ExecutionFailed, CommandStatus::FailedRestarted];
                assert!(has_failed.contains(&progress.status), "{id} is {}", progress.status);
                assert!(!progress.executed && callback == CallbackKind::Custom, "{id} has rounds");
                assert_eq!(read(progress.failure.as_deref()), **failure);
            }
        }
        assert_eq!(run.fields, *progress.state.as_ref().unwrap_or(command_parameters), "of {id}");
        assert_eq!(run.attempt, progress.attempt);
        self.ledger.check_code_is_over(id);

        let children = self.ledger.children.get(&id).into_iter().flatten();
        let children: Vec<_> = children.map(|child| &self.ledger.rows[child]).collect();
        let last = children.iter().map(|child| child.position).max();
        assert_eq!(run.next_position, last.map_or(0, |last| last + 1), "of {id}");
        let mut ended: Vec<_> =
            children.iter().filter(|child| child.progress.status.is_terminal()).collect();
        ended.sort_unstable_by_key(|child| child.progress.end_order);
        let (given, seen) = round.outcomes.parts();
        if callback.waits_for_children() {
            assert_eq!((given.len(), ended.len()), (children.len(), children.len()), "{id} waits");
        }
        assert!(given.len() <= ended.len(), "{id} is given what is not stored");
        for (given, stored) in given.iter().zip(ended) {
            assert_eq!(given.id, stored.command_id);
            assert_eq!(Some(given.end_order), stored.progress.end_order);
            assert_eq!(given.result, outcome(stored), "of {id}");
        }
        let known = given.iter().filter(|child| Some(child.end_order) <= progress.seen);
        assert_eq!(seen, known.count(), "what {id} has seen before");

        if let Some(before) = self.rounds.get(&id) {
            assert!(!before.is_over, "{id} is called again, and was ready");
            // How much a round was given that went on meanwhile is not known where a tree is read.
            let is_known = callback.waits_for_children() || !self.had_rejections;
            let is_seen = !is_known || !before.has_returned || before.given <= progress.seen;
            assert!(is_seen, "{id} sees again what it has seen");
        }
    }

    /// A command that waits for an event is not polled, unless a child has ended.
    pub(super) fn check_patience(&self, id: CommandId, round: &Round) {
        let polled = self.rounds.get(&id).map_or(0, |rounds| rounds.polled);
        let until = self.patience.until.get(&id).map(|(_, until)| *until);
        let waits = until.is_some_and(|until| until > self.now) && round.executed.is_ok();
        let is_fresh = self.patience.from_store.contains(&id);
        let is_early = waits && !is_fresh && round.outcomes.parts().0.len() == polled;
        assert!(!is_early, "{id} is polled at {:?}, and waits until {until:?}", self.now);
    }

    /// Whether another round is to come, as far as it is stored, and nothing else is on its way.
    pub(super) fn stays_in_rounds(&self, row: &CommandEntity) -> bool {
        let (id, root) = (row.command_id, row.root_command_id);
        let goes_on = |rounds: &Rounds| rounds.has_returned && !rounds.is_over;
        let is_told = self.queue.iter().all(|(step, _)| step.root != root)
            && self.holds.iter().all(|(held, _)| *held != root)
            && self.inbox.iter().all(|(at, _)| at.root != root);
        is_told && self.rounds.get(&id).is_none_or(goes_on) && !self.ledger.is_cancelled(id)
    }

    pub(super) fn round_begins(&mut self, at: Address, round: &Round) {
        let ended = round.outcomes.parts().0;
        let given = ended.last().map(|child| child.end_order);
        let before = self.rounds.get(&at.command).map_or(0, |before| before.polled);
        let polled = if round.last_event.is_some() { before } else { ended.len() };
        let (has_returned, is_over) = (false, false);
        let rounds = Rounds { root: at.root, given, polled, has_returned, is_over };
        self.rounds.insert(at.command, rounds);
    }

    pub(super) fn round_has_said(&mut self, at: Address, reply: &Reply) {
        self.report.rounds += 1;
        let has_open_tasks = self.may_have_open_tasks(at.command);
        let progress = &self.ledger.rows[&at.command].progress;
        let rounds = self.rounds.get_mut(&at.command).expect("it has begun");
        rounds.has_returned = reply.result.is_ok();
        let is_ready = reply
            .next
            .as_ref()
            .is_some_and(|next| next.is_ready && (next.started.is_empty() || !progress.executed));
        // What is the last one may come again, where its tree is read.
        rounds.has_returned = reply.result.is_ok() && !is_ready;
        rounds.is_over =
            (is_ready && !has_open_tasks) || (!progress.executed && reply.result.is_err());
    }

    /// A tree is read again: its rounds may go on though they were over.
    pub(super) fn forget_rounds(&mut self, root: CommandId) {
        self.rounds.retain(|_, rounds| rounds.root != root || !rounds.is_over);
    }
}
