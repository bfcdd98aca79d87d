//! Locks of a command that waits for them in line, and those that it asks for while it runs.
//!
//! The line is in the store, and so is the decision. A command that waits is `NotStarted` and gives
//! its place among its type to others; whoever lets go grants in the same commit, and the runtime
//! says [`Happened::HasLocks`](super::Happened). To ask again changes nothing, so a tree that is
//! loaded simply asks, whatever it holds or waits for. A run of a leaf that is begun again may ask
//! for less than the one that was interrupted: what of that it leaves alone is in line until it is
//! over, and then leaves it with the rest.

use std::sync::Arc;

use super::flow::Phase;
use super::input::{Address, Effect, Refusal};
use super::rounds::Rounds;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::{Lock, LockRefusal, LockTimedOut};
use crate::time::Timestamp;

/// The stored name of the end of a request for a lock.
const LOCK: &str = "lock";

/// A lock that a command asks for while it runs.
#[derive(Debug)]
pub(super) struct LateLock {
    pub(super) lock: Lock,
    /// Who waits for it; nobody where a flow asks.
    pub(super) ticket: Option<u64>,
    /// Where it waits in line, until when.
    pub(super) in_line: Option<Option<Timestamp>>,
    /// Whether a run asked for it that is no more. The one that is on asks again, if it wants it,
    /// and the answer to that is the one that counts.
    pub(super) is_of_before: bool,
}

impl Tree {
    /// The request of this number was granted at once.
    pub(super) fn has_lock(&mut self, turn: &mut Turn<'_>, id: CommandId, number: i32) -> bool {
        let Some(late) = self.node(id).late.remove(&number) else { return false };
        self.lock_ended(turn, id, number, late, Ok("null".into()));
        true
    }

    /// A command asks for a lock while it runs.
    pub(super) fn ask_lock(
        &mut self,
        turn: &Turn<'_>,
        id: CommandId,
        number: i32,
        lock: Lock,
        ticket: Option<u64>,
    ) {
        let ancestors = self.ancestors(id);
        let node = self.node(id);
        node.may_hold = true;
        let request = node.request(id, number, ancestors, vec![lock.clone()], turn.now);
        node.late.insert(number, LateLock { lock, ticket, in_line: None, is_of_before: false });
        let accept = ticket.map(|ticket| Effect::Accept { ticket }).into_iter().collect();
        self.emit(id, Some(Arc::new(request)), Vec::new(), accept);
    }

    /// A leaf asks for a lock while it runs.
    pub(super) fn leaf_asks_lock(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        attempt: i32,
        ticket: u64,
        lock: Lock,
    ) {
        let node = self.node(id);
        if node.flow.is_some() || !node.runs(attempt) {
            return turn.refuse(ticket, Refusal::AlreadyEnded(id));
        }
        node.locks_asked += 1;
        let number = node.locks_asked;
        self.ask_lock(turn, id, number, lock, Some(ticket));
    }

    /// A request for a lock that was asked for while the command ran is refused.
    pub(super) fn lock_refused(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        number: i32,
        refusal: LockRefusal,
    ) {
        let Some(late) = self.node(id).late.remove(&number) else { return };
        if let Some(ticket) = late.ticket {
            return turn.refuse(ticket, Refusal::Locks(refusal));
        }
        self.lock_ended(turn, id, number, late, Err(refusal_failure(&refusal).of(id)));
    }

    /// A request waits in line.
    pub(super) fn waits_in_line(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        number: i32,
        until: Option<Timestamp>,
    ) -> Option<CommandId> {
        let at = Address { root: self.root, command: id };
        if let Some(when) = until {
            turn.perform(Effect::WakeAt { at, when });
        }
        let node = self.node(id);
        if number > 0 {
            if let Some(late) = node.late.get_mut(&number) {
                late.in_line = Some(until);
            }
            return None;
        }
        node.asked_at = None;
        node.in_line = Some(until);
        let cancels = std::mem::take(&mut node.early_cancels);
        self.free_place(turn, id);
        self.cancel_late(turn, id, cancels);
        let is_cancelled = self.nodes.get(&id).is_some_and(|node| node.cancelled.is_some());
        if is_cancelled { self.stop_one(turn, id) } else { None }
    }

    /// A request that waited has been granted. Gives the command that may go on because of it.
    pub(super) fn has_locks(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        number: i32,
    ) -> Option<CommandId> {
        let node = self.node(id);
        if number == 0 {
            let until = node.in_line.take()?;
            node.has_locks = true;
            self.disarm(turn, id, until);
            self.start(turn, id);
            return None;
        }
        let waited = node.late.get(&number).and_then(|late| late.in_line)?;
        let late = node.late.remove(&number)?;
        self.disarm(turn, id, waited);
        match late.ticket {
            Some(ticket) => turn.perform(Effect::Accept { ticket }),
            None => self.lock_ended(turn, id, number, late, Ok("null".into())),
        }
        Some(id)
    }

    /// The requests that have waited until `when` wait no more. True when the command ends by that.
    pub(super) fn lines_are_over(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        when: Timestamp,
    ) -> bool {
        let node = self.node(id);
        let is_over = |until: Option<Timestamp>| until.is_some_and(|until| until <= when);
        let late: Vec<_> =
            node.late.extract_if(.., |_, late| late.in_line.is_some_and(is_over)).collect();
        let is_start_over = node.in_line.is_some_and(is_over);
        for (number, late) in late {
            let timed_out = LockTimedOut { locks: vec![late.lock.clone()] };
            let leave = Write::LeaveLine(id, Some(number));
            match late.ticket {
                Some(ticket) => {
                    let refusal = Refusal::LockTimedOut(timed_out).into();
                    self.emit(id, None, vec![leave], vec![Effect::Refuse { ticket, refusal }]);
                }
                None => {
                    self.emit(id, None, vec![leave], Vec::new());
                    let failure = Failure::from(&timed_out).of(id).fitting();
                    self.lock_ended(turn, id, number, late, Err(failure));
                }
            }
        }
        is_start_over
    }

    /// Why the start of a command that waited too long fails.
    pub(super) fn line_failure(&self, id: CommandId) -> Failure {
        let locks = self.nodes[&id].locks.locks().to_vec();
        Failure::from(&LockTimedOut { locks }).of(id).fitting()
    }

    /// The code of a command is over: what it still waits for, it does not want any more.
    pub(super) fn leave_lines(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = self.node(id);
        let (start, late) = (node.in_line.take(), std::mem::take(&mut node.late));
        if let Some(until) = start {
            self.disarm(turn, id, until);
        }
        if let Some(leave) = self.leave_lines_of_before(id) {
            self.emit(id, None, vec![leave], Vec::new());
        }
        for (number, late) in late {
            if let Some(ticket) = late.ticket {
                turn.refuse(ticket, Refusal::AlreadyEnded(id));
            }
            self.disarm(turn, id, late.in_line.flatten());
            self.emit(id, None, vec![Write::LeaveLine(id, Some(number))], Vec::new());
        }
    }

    /// Takes all late requests of a leaf out of the line, where its tree was loaded in the middle of
    /// a run: which of them there are only the store knows.
    pub(super) fn leave_lines_of_before(&mut self, id: CommandId) -> Option<Write> {
        let node = self.node(id);
        std::mem::take(&mut node.asked_before).then_some(Write::LeaveLine(id, None))
    }

    /// Takes back the alarm of a request that does not wait until then any more. An alarm is known
    /// by its command and its time alone: where something else of the command waits for that very
    /// time, it stays.
    pub(super) fn disarm(&self, turn: &mut Turn<'_>, id: CommandId, until: Option<Timestamp>) {
        let node = &self.nodes[&id];
        let lines = node.late.values().filter_map(|late| late.in_line).chain(node.in_line);
        let sleeps = node.flow.iter().flat_map(|flow| flow.sleeps.values().copied());
        let others =
            lines.flatten().chain(sleeps).chain(node.deadline()).chain(node.progress.wake_at);
        let others = others.chain(node.rounds.as_deref().and_then(Rounds::next));
        let others: Vec<_> = others.collect();
        if let Some(when) = until.filter(|when| !others.contains(when)) {
            turn.perform(Effect::Disarm { command: id, when });
        }
    }

    /// A request of a flow has its answer: stored, and given to the flow. A flow that does not run
    /// asks again when it does.
    fn lock_ended(
        &mut self,
        turn: &Turn<'_>,
        id: CommandId,
        number: i32,
        late: LateLock,
        result: Result<Arc<str>, Failure>,
    ) {
        let position = number - 1;
        let runs = |phase: &Phase| !matches!(phase, Phase::Returned(_) | Phase::Gone);
        if late.is_of_before || !self.flow(id).is_some_and(|flow| runs(&flow.phase)) {
            return;
        }
        self.once_ended(turn.now, id, position, LOCK.into(), Some(late.lock), result);
    }
}

/// The failure of a command whose locks were refused.
pub(super) fn refusal_failure(refusal: &LockRefusal) -> Failure {
    let failure: Failure = match refusal {
        LockRefusal::Conflict(conflict) => conflict.into(),
        LockRefusal::WouldDeadlock(cycle) => cycle.into(),
    };
    failure.fitting()
}
