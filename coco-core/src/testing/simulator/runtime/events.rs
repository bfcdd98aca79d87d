//! Events: who publishes them, and how long a command that waits for one is not polled.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::super::commands::{at_once, spec_of};
use super::super::events;
use super::super::task::Task;
use super::Runtime;
use super::orders::Caller;
use crate::id::CommandId;
use crate::machine::step::{Step, Write};
use crate::machine::{Address, Effect, Happened, Input};
use crate::status::CommandStatus;
use crate::store::Store;
use crate::time::Timestamp;

/// Events that one round hears.
pub(in super::super) const MOST_EVENTS: usize = 3;

/// How long commands wait for events.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Until when they are not polled, each with its root.
    pub(super) until: HashMap<CommandId, (CommandId, Timestamp)>,
    /// Those that have come from the store and were not polled since.
    pub(super) from_store: HashSet<CommandId>,
}

impl Runtime {
    /// Some events are published.
    pub(super) fn publish(&mut self) {
        let some = if self.dice.one_in(4) { 6 } else { 1 };
        for _ in 0..some {
            let event = events::next(&mut self.dice, &mut self.published, self.now);
            let ticket = self.ticket(Caller::Publish(event.event_id.clone()));
            let id = CommandId::from_uuid(Uuid::from_u128(u128::MAX - u128::from(ticket)));
            let writes = vec![Write::Publish(Box::new(event))];
            let step = Step { root: id, command: id, request: None, writes };
            self.queue.push_back((step, vec![Effect::Accept { ticket }]));
        }
    }

    /// A round reads the inbox of its command.
    pub(super) fn read_inbox(&mut self, at: Address) {
        let inbox = at_once(self.store.inbox(at.command, MOST_EVENTS)).expect("it reads");
        self.ledger.check_inbox(at.command, &inbox);
        let task = self.tasks.get_mut(&at.command).expect("it runs");
        match task.reads(inbox) {
            Some(round) => self.round_begins(at, &round),
            None => self.inbox.push_back((at, Happened::NoEvents)),
        }
    }

    /// Notes how long a command waits for an event.
    pub(super) fn note_patience(&mut self, input: &Input) {
        match input {
            Input::Load(load) => {
                self.patience.until.retain(|_, (root, _)| *root != load.root);
                let listen = load.subscriptions.iter().map(|row| row.command_id);
                let of_tree = |task: &&Task| task.at.root == load.root;
                let running = self.tasks.values().filter(of_tree).map(|task| task.at.command);
                self.patience.from_store.extend(listen.chain(running));
            }
            Input::Of { at, what: Happened::Subscribes { .. } } => {
                let is_known = self.patience.until.contains_key(&at.command);
                if !is_known && !self.ledger.listens(at.command) {
                    self.waits_for_event(*at);
                }
            }
            // A round is to see that tasks are over.
            Input::Of { at, what: Happened::TasksAsked(over) } if !over.is_empty() => {
                self.patience.from_store.insert(at.command);
            }
            Input::Of { at, what: Happened::RoundOver(reply) } => {
                let has_heard = reply.next.as_ref().is_some_and(|next| next.handled.is_some());
                if has_heard && reply.result.is_ok() {
                    self.waits_for_event(*at);
                }
            }
            _ => {}
        }
    }

    fn waits_for_event(&mut self, Address { root, command }: Address) {
        let Some(row) = self.ledger.rows.get(&command) else { return };
        let until = self.now.after(spec_of(&row.command_type).event_timeout);
        self.patience.until.insert(command, (root, until));
    }

    /// Nothing goes on: what is in an inbox is for somebody who does not hear it now.
    pub(super) fn check_inboxes(&self) {
        for id in self.ledger.have_events() {
            let row = &self.ledger.rows[&id];
            let (root, progress) = (row.root_command_id, &row.progress);
            let goes_on = progress.status == CommandStatus::Active
                && progress.executed
                && !self.ledger.is_cancelled(id)
                && self.machine.has(root)
                && self.ledger.deaths(root) != 2
                && !self.ledger.is_convicted(root)
                && !self.had_rejections
                && !self.tasks.contains_key(&id)
                && spec_of(&row.command_type).concurrency.is_none()
                && self.rounds.get(&id).is_some_and(|rounds| !rounds.is_over);
            assert!(!goes_on, "{id} has events, and does not hear them");
        }
    }
}
