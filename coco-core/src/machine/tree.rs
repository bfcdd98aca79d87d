//! One tree: its open commands, and what happens to them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Settings;
use super::flow::{Flow, Phase, Returned};
use super::input::{Address, Effect, FlowEnd, Happened, Output, Polled, Refusal};
use super::limits::Limits;
use super::locks::refusal_failure;
use super::node::Node;
use super::step::{Step, Write};
use crate::entity::CommandEntity;
use crate::erased::Reply;
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::LockRequest;
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// The time of an input, and where its outputs go.
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    pub(super) limits: &'a mut Limits,
    pub(super) left: &'a mut Vec<CommandId>,
    pub(super) rests: &'a mut u64,
    /// How many trees are idle.
    pub(super) idle: &'a mut usize,
    /// Whether trees that wait for a lock have to make room.
    pub(super) is_crowded: bool,
    /// Nothing that waits begins any more.
    pub(super) is_stopping: bool,
    pub(super) out: &'a mut Vec<Output>,
}

/// Whether anything in a tree goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// It waits for its trial.
    Trial,
    /// The crash limit was met.
    Frozen,
}

/// One tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: CommandId,
    /// The commands that are not terminal. Boxed, as the table of a tree of one has room for several.
    pub(super) nodes: FxHashMap<CommandId, Box<Node>>,
    /// The end order of what ended last.
    pub(super) end_order: i64,
    /// How many flows were given outcomes and have not answered.
    polls: usize,
    /// Steps that wait for those polls.
    pub(super) held: Vec<(Step, Vec<Effect>)>,
    /// Counts how often steps began to be held.
    hold: u64,
    is_announced: bool,
    /// Whether anything in it goes on.
    pub(super) gate: Gate,
    /// The number by which it has asked to rest, if nothing has happened since.
    pub(super) rest: Option<u64>,
    /// Whether it only waits to be polled.
    pub(super) is_idle: bool,
    /// What lost steps had launched, each with its command.
    pub(super) lost_launches: Vec<(CommandId, CommandEntity)>,
}

impl Tree {
    pub(super) fn empty(root: CommandId) -> Self {
        let (nodes, held) = (FxHashMap::default(), Vec::new());
        let (end_order, polls, hold, is_announced) = (0, 0, 0, false);
        let (gate, rest, is_idle, lost_launches) = (Gate::Open, None, false, Vec::new());
        Self {
            root,
            nodes,
            end_order,
            polls,
            held,
            hold,
            is_announced,
            gate,
            rest,
            is_idle,
            lost_launches,
        }
    }

    pub(super) fn handle(&mut self, turn: &mut Turn<'_>, command: CommandId, what: Happened) {
        self.wake(turn.idle);
        let mut next = match what {
            Happened::Flush { hold } => {
                if hold == self.hold {
                    self.flush(turn);
                }
                None
            }
            Happened::Retry { ticket } => {
                self.retry(turn, command, ticket);
                None
            }
            what if self.nodes.contains_key(&command) => self.happened(turn, command, what),
            what => {
                what.refuse_absent(Address { root: self.root, command }, turn);
                None
            }
        };
        while let Some(command) = next {
            next = self.advance(turn, command);
        }
    }

    /// Gives the command that may go on because of it.
    fn happened(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        what: Happened,
    ) -> Option<CommandId> {
        let node = self.node(id);
        match what {
            Happened::Granted { number: 0 } => {
                self.granted(turn, id);
                Some(id)
            }
            Happened::Granted { number } => self.has_lock(turn, id, number).then_some(id),
            Happened::Refused { ticket: Some(ticket), number: 0, refusal } => {
                self.not_granted(turn, id);
                self.free_place(turn, id);
                self.nodes.remove(&id);
                turn.refuse(ticket, Refusal::Locks(refusal));
                None
            }
            Happened::Duplicate { ticket, taken } => {
                self.not_granted(turn, id);
                self.free_place(turn, id);
                self.nodes.remove(&id);
                turn.refuse(ticket, Refusal::Duplicate(taken));
                None
            }
            Happened::Refused { ticket: None, number: 0, refusal } => {
                let failure = refusal_failure(&refusal).of(id);
                let failure = node.cancelled.as_deref().cloned().unwrap_or(failure);
                self.not_granted(turn, id);
                self.end_refused(turn, id, failure)
            }
            Happened::Refused { number, refusal, .. } => {
                self.lock_refused(turn, id, number, refusal);
                Some(id)
            }
            Happened::Queued { number, until, .. } => self.waits_in_line(turn, id, number, until),
            Happened::HasLocks { number } => self.has_locks(turn, id, number),
            Happened::AsksLock { attempt, ticket, lock } => {
                self.leaf_asks_lock(turn, id, attempt, ticket, lock);
                None
            }
            // What a run says that was given up is not heard, even where its attempt stands.
            Happened::Ran { attempt, reply } => {
                if node.flow.is_none() && node.runs(attempt) && !node.progress.executed {
                    self.executed(turn, id, reply, None)
                } else {
                    None
                }
            }
            Happened::Polled { attempt, polled } => {
                if node.runs(attempt) {
                    self.polled(turn, id, polled)
                } else {
                    None
                }
            }
            Happened::Turn { attempt, position, given } => {
                if node.runs(attempt) {
                    self.once_has_turn(turn, id, position, given);
                }
                None
            }
            Happened::Subscribes { attempt, ticket, key } => {
                self.subscribes(turn, id, attempt, ticket, key);
                None
            }
            Happened::AddsTask { attempt, ticket, task } => {
                self.adds_task(turn, id, attempt, ticket, task);
                None
            }
            Happened::TasksAsked(over) => self.tasks_asked(turn, id, over),
            Happened::HasEvents => {
                node.has_events();
                Some(id)
            }
            Happened::NoEvents => self.no_events(turn, id),
            Happened::RoundOver(reply) => self.round_over(turn, id, reply),
            Happened::Hooked(reply) => self.hooked(turn, id, reply),
            Happened::Replay { ticket, stored } => self.replay(turn, id, ticket, stored),
            Happened::Due(when) => self.due(turn, id, when.max(turn.now)),
            Happened::Place => {
                self.place(turn, id);
                None
            }
            Happened::Registers { attempt, ticket, entry } => {
                self.registers(turn, id, attempt, ticket, entry);
                None
            }
            Happened::Cancel { ticket, reason } => self.cancel(turn, id, ticket, reason),
            Happened::Abandon { ticket, reason } => self.abandon(turn, id, ticket, reason),
            Happened::Flush { .. } | Happened::Retry { .. } | Happened::Rest { .. } => None,
        }
    }

    fn polled(&mut self, turn: &mut Turn<'_>, id: CommandId, polled: Polled) -> Option<CommandId> {
        let flow = self.flow(id)?;
        match flow.phase {
            Phase::Starting => flow.phase = Phase::Waiting,
            Phase::Polling if polled.given => {
                flow.phase = Phase::Waiting;
                self.polls -= 1;
            }
            Phase::Waiting | Phase::Polling => {}
            Phase::Returned(_) | Phase::Gone => return None,
        }
        for ask in polled.asks {
            if let Err(reason) = self.asked(turn, id, ask) {
                self.diverge(turn, id, reason);
                return None;
            }
        }
        if !matches!(polled.end, Some(FlowEnd::Diverged(_))) {
            self.ask_new(turn, id);
        }
        match polled.end {
            None => {}
            Some(FlowEnd::Diverged(reason)) => {
                self.diverge(turn, id, reason);
                return None;
            }
            Some(FlowEnd::Returned { reply, unseen }) => {
                let flow = self.flow(id)?;
                if let Err(reason) = flow.check_returned() {
                    self.diverge(turn, id, reason);
                    return None;
                }
                let unseen = unseen.or_else(|| flow.first_unanswered_failure());
                let returned = Phase::Returned(Box::new(Returned { reply: *reply, unseen }));
                if matches!(std::mem::replace(&mut flow.phase, returned), Phase::Polling) {
                    self.polls -= 1;
                }
            }
        }
        Some(id)
    }

    /// Moves a command whose children, outcomes or run have changed. Gives its parent, if it has
    /// ended.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        if self.gate != Gate::Open {
            return None;
        }
        let node = self.nodes.get_mut(&id)?;
        let drained = node.is_drained();
        if drained && node.progress.status.is_draining() && !node.waits_though_failed() {
            return self.failed(turn, id);
        }
        if Self::is_stopped(node) {
            let failure = Failure::clone(node.cancelled.as_ref()?);
            return self.executed(turn, id, Reply::failed(failure), None);
        }
        let node = self.nodes.get_mut(&id)?;
        if node.is_in_rounds() {
            return self.advance_rounds(turn, id);
        }
        let flow = node.flow.as_mut()?;
        match std::mem::take(&mut flow.phase) {
            Phase::Returned(returned) if drained || returned.reply.result.is_err() => {
                flow.phase = Phase::Gone;
                let unseen = returned.unseen.or_else(|| flow.first_undelivered_failure());
                self.executed(turn, id, returned.reply, unseen)
            }
            phase => {
                flow.phase = phase;
                self.give(turn, id);
                None
            }
        }
    }

    /// Gives a waiting flow what has ended.
    fn give(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let Some(flow) = self.flow(id) else { return };
        match flow.take_outcomes() {
            Ok(outcomes) if outcomes.is_empty() => {}
            Ok(outcomes) => {
                flow.phase = Phase::Polling;
                let replay_is_over = !flow.is_replaying();
                self.polls += 1;
                turn.out.push(Output::Do(Effect::Give { command: id, outcomes, replay_is_over }));
            }
            Err(reason) => self.diverge(turn, id, reason),
        }
    }

    pub(super) fn drop_flow(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let Some(flow) = self.flow(id) else { return };
        let before = std::mem::replace(&mut flow.phase, Phase::Gone);
        if matches!(before, Phase::Polling) {
            self.polls -= 1;
        }
        turn.perform(Effect::Drop { command: id });
    }

    /// Drops all flows; what their children have to tell waits in the store. An end hook that
    /// runs is no flow any more.
    pub(super) fn stop(&mut self, turn: &mut Turn<'_>) {
        let runs = |node: &Node| node.progress.status == CommandStatus::Active;
        let flows = self.nodes.iter().filter(|(_, node)| node.flow.is_some() && runs(node));
        let mut flows: Vec<_> = flows.map(|(id, _)| *id).collect();
        flows.sort_unstable();
        for id in flows {
            self.drop_flow(turn, id);
        }
        self.flush(turn);
    }

    pub(super) fn emit(
        &mut self,
        command: CommandId,
        request: Option<Arc<LockRequest>>,
        writes: Vec<Write>,
        effects: Vec<Effect>,
    ) {
        self.held.push((Step { root: self.root, command, request, writes }, effects));
    }

    /// Lets go of the held steps when no poll is awaited. True when nothing of the tree is left.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>) -> bool {
        if self.polls == 0 {
            self.flush(turn);
            self.ask_to_rest(turn);
        } else if !self.held.is_empty() && !self.is_announced {
            self.is_announced = true;
            self.hold += 1;
            let (root, hold) = (self.root, self.hold);
            turn.out.push(Output::Do(Effect::Held { root, hold }));
        }
        self.nodes.is_empty()
    }

    pub(super) fn flush(&mut self, turn: &mut Turn<'_>) {
        self.is_announced = false;
        // Nearly always nothing is held: a tree that waits keeps no room for it.
        let held = std::mem::take(&mut self.held);
        turn.out.extend(held.into_iter().map(|(step, effects)| Output::Store(step, effects)));
    }

    pub(super) fn flow(&mut self, id: CommandId) -> Option<&mut Flow> {
        self.nodes.get_mut(&id)?.flow.as_deref_mut()
    }

    /// A command that is known to be here.
    pub(super) fn node(&mut self, id: CommandId) -> &mut Node {
        self.nodes.get_mut(&id).expect("the command is open")
    }
}
