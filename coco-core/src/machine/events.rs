//! Events for a command: it says what it listens for, and hears what is in its inbox.
//!
//! The inbox is in the store, and so is the decision who an event is for. The machine knows only
//! that there may be something: then the next round reads the inbox, and what it has heard is stored
//! with what it has changed. So a storm of events waits in the store, and not here.

use std::sync::Arc;

use super::input::{Effect, Refusal};
use super::node::Node;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::entity::Subscription;
use crate::id::CommandId;

impl Tree {
    /// A command listens for events.
    pub(super) fn subscribes(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        attempt: i32,
        ticket: u64,
        key: Arc<str>,
    ) {
        let root = self.root;
        let node = self.node(id);
        if !node.runs(attempt) {
            return turn.refuse(ticket, Refusal::AlreadyEnded(id));
        }
        let until = turn.now.after(node.spec.event_timeout);
        node.rounds().listen(until);
        let row = Subscription { command_id: id, root_command_id: root, key, created_at: turn.now };
        let write = Write::Subscribe(Box::new(row));
        self.emit(id, None, vec![write], vec![Effect::Accept { ticket }]);
    }

    /// There was nothing in its inbox. Gives the command that may go on because of it.
    pub(super) fn no_events(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        self.node(id).rounds.as_deref_mut()?.was_no_round();
        self.arm(turn, id);
        Some(id)
    }
}

impl Node {
    /// Events are in its inbox.
    pub(super) fn has_events(&mut self) {
        if let Some(rounds) = &mut self.rounds {
            rounds.has_events();
        }
    }

    /// It listened before it came from the store: there may be something in its inbox.
    pub(super) fn listened(&mut self) {
        if let Some(rounds) = &mut self.rounds {
            rounds.listened();
        }
    }

    /// Whether it listens for events.
    pub(super) fn listens(&self) -> bool {
        self.rounds.as_deref().is_some_and(|rounds| rounds.listens())
    }
}
