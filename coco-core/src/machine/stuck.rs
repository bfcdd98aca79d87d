//! What cannot go on by itself, and how it goes on, or ends, when an operator says so.

use std::sync::Arc;

use super::input::{Address, Effect, Refusal, Stored};
use super::load::read_failure;
use super::node::{Node, failure_json};
use super::step::Write;
use super::tree::{Gate, Tree, Turn};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

impl Tree {
    /// Parks a flow as stuck, with both sides named.
    pub(super) fn diverge(&mut self, turn: &mut Turn<'_>, id: CommandId, reason: String) {
        self.drop_flow(turn, id);
        self.park(turn, id, Failure::new(FailureKind::Diverged, reason));
    }

    pub(super) fn park(&mut self, turn: &mut Turn<'_>, id: CommandId, reason: Failure) {
        self.free_place(turn, id);
        let reason = reason.of(id).fitting();
        let node = self.node(id);
        node.progress.stuck_reason = Some(failure_json(&reason));
        if node.progress.status != CommandStatus::Stuck {
            node.progress.stuck_from = Some(node.progress.status);
            node.progress.wake_at = None;
            node.become_status(CommandStatus::Stuck);
        }
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let at = Address { root: self.root, command: id };
        self.emit(id, None, vec![write], vec![Effect::Stuck { at, reason: reason.into() }]);
    }

    /// Lets all that is stuck in a command go on: itself, and what is below it.
    pub(super) fn retry(&mut self, turn: &mut Turn<'_>, id: CommandId, ticket: u64) {
        if self.gate == Gate::Frozen && id != self.root {
            return turn.refuse(ticket, Refusal::NotStuck(id));
        }
        if self.gate == Gate::Frozen {
            let audit = self.audit(turn, id, "retry", "".into());
            return self.thaw(turn, vec![audit], ticket);
        }
        let is_stuck = |one: &CommandId| self.nodes[one].progress.status == CommandStatus::Stuck;
        let stuck: Vec<_> = self.children_first().into_iter().filter(is_stuck).collect();
        let stuck: Vec<_> = stuck.into_iter().filter(|one| self.is_below(*one, id)).collect();
        let Some((last, others)) = stuck.split_last() else {
            return turn.refuse(ticket, Refusal::NotStuck(id));
        };
        for one in others {
            self.retry_one(turn, *one, None);
        }
        self.retry_one(turn, *last, Some(ticket));
    }

    fn retry_one(&mut self, turn: &mut Turn<'_>, id: CommandId, ticket: Option<u64>) {
        let at = Address { root: self.root, command: id };
        let is_open = self.gate == Gate::Open;
        if is_open && self.nodes[&id].progress.stuck_from == Some(CommandStatus::Active) {
            self.node(id).is_read = true;
            // In its place in the order, so that what is read holds all that was given before.
            return self.emit(id, None, Vec::new(), vec![Effect::Reload { at, ticket }]);
        }
        let audit = self.audit(turn, id, "retry", "".into());
        self.node(id).unpark();
        let write = Write::Update(id, Box::new(self.nodes[&id].progress.clone()));
        let accept = ticket.map(|ticket| Effect::Accept { ticket });
        let effects = accept.into_iter().chain([self.standing()]).collect();
        self.emit(id, None, vec![write, audit], effects);
        if is_open {
            self.proceed(turn, id, Vec::new());
        }
    }

    pub(super) fn replay(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        ticket: Option<u64>,
        stored: Stored,
    ) -> Option<CommandId> {
        self.node(id).is_read = false;
        // It may have gone on, ended its run and be stuck elsewhere since it was read.
        if self.nodes[&id].progress.stuck_from != Some(CommandStatus::Active) {
            if let Some(ticket) = ticket {
                turn.refuse(ticket, Refusal::NotStuck(id));
            }
            return None;
        }
        let audit = self.audit(turn, id, "retry", "".into());
        let at = Address { root: self.root, command: id };
        let has_place = self.has_place(turn, id);
        let node = self.node(id);
        node.unpark();
        if has_place {
            node.progress.attempt += 1;
        } else {
            node.progress.wake_at = Some(turn.now);
        }
        node.late.values_mut().for_each(|late| late.is_of_before = true);
        let flow = node.flow.get_or_insert_default();
        flow.restart(stored);
        let sleeps = flow.sleeps.values().map(|when| Effect::WakeAt { at, when: *when });
        let mut effects: Vec<_> = sleeps.collect();
        let node = &self.nodes[&id];
        let write = Write::Update(id, Box::new(node.progress.clone()));
        effects.extend(ticket.map(|ticket| Effect::Accept { ticket }));
        if has_place {
            self.run(node, id, &mut effects);
        } else {
            effects.extend(node.deadline().map(|when| Effect::WakeAt { at, when }));
        }
        effects.push(self.standing());
        self.emit(id, None, vec![write, audit], effects);
        None
    }

    /// Ends what is stuck as it is: no hook, no undo, its locks are freed.
    pub(super) fn abandon(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        ticket: u64,
        reason: Arc<str>,
    ) -> Option<CommandId> {
        let node = &self.nodes[&id];
        if node.progress.status != CommandStatus::Stuck {
            turn.refuse(ticket, Refusal::NotStuck(id));
            return None;
        }
        if node.open_children > 0 {
            let open = node.open_children;
            turn.refuse(ticket, Refusal::OpenChildren { command: id, open });
            return None;
        }
        let stuck = read_failure(node.progress.stuck_reason.as_deref().unwrap_or_default());
        let mut failure =
            Failure::new(FailureKind::Abandoned, format!("it was abandoned: {reason}"));
        failure.chain.push(stuck.message);
        let audit = self.audit(turn, id, "abandon", reason);
        let node = self.node(id);
        node.progress.stuck_from = None;
        node.progress.stuck_reason = None;
        node.progress.undo = None;
        let failure = failure.of(id).fitting();
        node.progress.failure = Some(failure_json(&failure));
        node.failure = Some(failure.into());
        node.done.clear();
        let parent = self.end(turn, id, vec![audit]);
        let effects = vec![Effect::Accept { ticket }, self.standing()];
        self.emit(id, None, Vec::new(), effects);
        parent
    }

    /// Says what of the tree is stuck.
    pub(super) fn tell_stuck(&self, turn: &mut Turn<'_>) {
        for id in self.children_first() {
            let node = &self.nodes[&id];
            if node.progress.status == CommandStatus::Stuck {
                turn.perform(self.stuck(id, node));
            }
        }
    }

    /// What those who wait for the tree are told once a command is not stuck any more: another one
    /// may still be.
    pub(super) fn standing(&self) -> Effect {
        let stuck = |node: &Node| node.progress.status == CommandStatus::Stuck;
        let first = self.nodes.iter().filter(|(_, node)| stuck(node)).min_by_key(|(id, _)| **id);
        match first {
            None => Effect::Unstuck { root: self.root },
            Some((id, node)) => self.stuck(*id, node),
        }
    }

    pub(super) fn stuck(&self, command: CommandId, node: &Node) -> Effect {
        let reason = read_failure(node.progress.stuck_reason.as_deref().unwrap_or_default());
        Effect::Stuck { at: Address { root: self.root, command }, reason: reason.into() }
    }
}
