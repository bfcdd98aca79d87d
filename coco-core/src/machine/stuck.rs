//! What cannot go on by itself, and how it goes on when an operator says so.

use super::input::{Address, Effect, Output, Refusal, Stored};
use super::load::read_failure;
use super::node::{Node, failure_json};
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

impl Tree {
    /// Parks a flow as stuck, with both sides named.
    pub(super) fn diverge(&mut self, turn: &mut Turn<'_>, id: CommandId, reason: String) {
        self.drop_flow(turn, id);
        self.park(id, Failure::new(FailureKind::Diverged, reason));
    }

    pub(super) fn park(&mut self, id: CommandId, reason: Failure) {
        let reason = reason.of(id).fitting();
        let node = self.node(id);
        node.progress.stuck_from = Some(node.progress.status);
        node.progress.stuck_reason = Some(failure_json(&reason));
        node.become_status(CommandStatus::Stuck);
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let at = Address { root: self.root, command: id };
        self.emit(id, None, vec![write], vec![Effect::Stuck { at, reason }]);
    }

    pub(super) fn retry(&mut self, turn: &mut Turn<'_>, id: CommandId, ticket: u64) {
        let at = Address { root: self.root, command: id };
        match self.nodes.get(&id).filter(|node| node.progress.status == CommandStatus::Stuck) {
            None => {
                let refusal = Refusal::NotStuck(id);
                turn.out.push(Output::Do(Effect::Refuse { ticket, refusal }));
            }
            // In its place in the order, so that what is read holds all that was given before.
            Some(node) if node.progress.stuck_from == Some(CommandStatus::Active) => {
                self.emit(id, None, Vec::new(), vec![Effect::Reload { at, ticket }]);
            }
            Some(_) => {
                let call = self.node(id).unpark();
                let node = &self.nodes[&id];
                let write = Write::Update(id, Box::new(node.progress.clone()));
                let mut effects = vec![Effect::Accept { ticket }, self.run_hook(node, id, call)];
                effects.push(self.standing());
                self.emit(id, None, vec![write], effects);
            }
        }
    }

    pub(super) fn replay(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        ticket: u64,
        stored: Stored,
    ) -> Option<CommandId> {
        let node = self.node(id);
        if node.progress.status != CommandStatus::Stuck {
            let refusal = Refusal::NotStuck(id);
            turn.out.push(Output::Do(Effect::Refuse { ticket, refusal }));
            return None;
        }
        node.unpark();
        node.progress.attempt += 1;
        node.flow.get_or_insert_default().restart(stored);
        let node = &self.nodes[&id];
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let mut effects = vec![Effect::Accept { ticket }, self.run(node, id)];
        effects.push(self.standing());
        self.emit(id, None, vec![write], effects);
        None
    }

    /// What those who wait for the tree are told once a command is not stuck any more: another one
    /// may still be.
    fn standing(&self) -> Effect {
        let stuck = |node: &Node| node.progress.status == CommandStatus::Stuck;
        let first = self.nodes.iter().filter(|(_, node)| stuck(node)).min_by_key(|(id, _)| **id);
        match first {
            None => Effect::Unstuck { root: self.root },
            Some((id, node)) => self.stuck(*id, node),
        }
    }

    pub(super) fn stuck(&self, command: CommandId, node: &Node) -> Effect {
        let reason = read_failure(node.progress.stuck_reason.as_deref().unwrap_or_default());
        Effect::Stuck { at: Address { root: self.root, command }, reason }
    }
}
