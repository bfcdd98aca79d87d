//! Callers: who submits, who orders something, and what they are told.

use std::sync::Arc;

use uuid::Uuid;

use super::super::commands::{locks_of, spec_of, text};
use super::super::script;
use super::Runtime;
use crate::failure::FailureKind;
use crate::id::CommandId;
use crate::lock::Lock;
use crate::machine::{Address, Happened, Input, Submit};
use crate::status::CommandStatus;

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Caller {
    Submit(CommandId),
    Order(Address, Order),
    /// A leaf that registers an undo command.
    Leaf(Address),
    /// A leaf that asks for a lock.
    Lock(Address, Lock),
    /// A command that subscribes to events with this key.
    Subscribe(Address, Arc<str>),
    /// A command that has this task outside.
    Task(Address, Arc<str>),
    /// Who published this event.
    Publish(Arc<str>),
}

/// What somebody wants of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Cancel,
    Retry,
    Abandon,
}

impl Runtime {
    pub(super) fn submit(&mut self) {
        self.roots += 1;
        // Not in the order of time, as the keys of two programs may be.
        let time = u128::from(super::mix(self.roots ^ self.plan.seed << 20) >> 24) << 80;
        let id = CommandId::from_uuid(Uuid::from_u128(time | u128::from(self.roots)));
        let names = [
            "flow",
            "flow",
            "flow",
            "flow",
            "flow",
            "redo",
            "leaf",
            "single",
            "timed flow",
            "polled",
        ];
        let name = match self.dice.below(3) {
            0 => script::ROUNDS[self.dice.below(script::ROUNDS.len())],
            _ => names[self.dice.below(names.len())],
        };
        let mut parameters = script::parameters(&mut self.dice, name, 0, self.locking);
        parameters["root"] = self.roots.into();
        let (spec, locks, parameters) =
            (spec_of(name), locks_of(name, &parameters), text(&parameters));
        let key = self.dice.one_in(8).then(|| {
            self.keys += u64::from(!self.dice.one_in(4));
            Arc::from(format!("key {}", self.keys))
        });
        let start_at = self.dice.one_in(8).then(|| {
            let pause = std::time::Duration::from_micros(self.dice.roll() % 5_000_000);
            self.now.after(pause)
        });
        let ended = |row: &&crate::entity::CommandEntity| {
            row.parent_command_id.is_none() && row.progress.status.is_terminal()
        };
        let again = if self.dice.one_in(20) { self.ledger.rows.values().find(ended) } else { None };
        let again = again.map(|row| (row.command_id, row.progress.status));
        let ticket = self.ticket(Caller::Submit(id));
        let submit = Submit { id, ticket, spec, parameters, locks, key, start_at, again };
        self.tell(Input::Submit(submit));
    }

    pub(super) fn ticket(&mut self, caller: Caller) -> u64 {
        self.tickets += 1;
        self.callers.insert(self.tickets, caller);
        self.tickets
    }

    /// Somebody wants something of some command.
    pub(super) fn order(&mut self) {
        let stuck = self.ledger.stuck_commands();
        if !stuck.is_empty() && self.dice.one_in(2) {
            let at = stuck[self.dice.below(stuck.len())];
            let order = if self.dice.one_in(3) { Order::Abandon } else { Order::Retry };
            return self.order_at(at, order);
        }
        let open: Vec<_> = self.ledger.rows.values().rev().take(300).collect();
        if open.is_empty() {
            return;
        }
        let mut row = open[self.dice.below(open.len())];
        // Most commands have ended.
        for _ in 0..10 {
            if !row.progress.status.is_terminal() {
                break;
            }
            row = open[self.dice.below(open.len())];
        }
        let at = Address { root: row.root_command_id, command: row.command_id };
        let order = [Order::Cancel, Order::Cancel, Order::Retry, Order::Abandon];
        let order = order[self.dice.below(order.len())];
        self.order_at(at, order);
    }

    pub(super) fn order_at(&mut self, at: Address, order: Order) {
        let ticket = self.ticket(Caller::Order(at, order));
        let reason = Arc::from("by the dice");
        self.happened(
            at,
            match order {
                Order::Cancel => Happened::Cancel { ticket, reason },
                Order::Retry => Happened::Retry { ticket },
                Order::Abandon => Happened::Abandon { ticket, reason },
            },
        );
    }

    /// What was wanted is stored: checks that it is.
    pub(super) fn accepted(&mut self, ticket: u64) {
        match self.callers.get(&ticket) {
            Some(Caller::Submit(root)) => {
                assert!(self.ledger.rows.contains_key(root), "{root} is accepted, not stored");
            }
            Some(Caller::Order(at, order)) => {
                let (at, order) = (*at, *order);
                let action = match order {
                    Order::Cancel => "cancel",
                    Order::Retry => "retry",
                    Order::Abandon => "abandon",
                };
                let is_it = |audit: &&crate::entity::Audit| {
                    audit.action == action && audit.root_command_id == at.root
                };
                assert!(self.ledger.audits.iter().any(|audit| is_it(&audit)), "{action} {at:?}");
                let progress = &self.ledger.rows[&at.command].progress;
                match order {
                    Order::Cancel => {
                        let cancelled = self.ledger.is_cancelled(at.command);
                        assert!(cancelled, "the cancel of {at:?} is accepted, not stored");
                        self.report.cancels += 1;
                    }
                    Order::Retry => self.report.retries += 1,
                    Order::Abandon => {
                        assert_eq!(progress.status, CommandStatus::EndedWithFailure, "{at:?}");
                        let failure = super::super::ledger::read(progress.failure.as_deref());
                        assert_eq!(failure.kind, FailureKind::Abandoned, "{at:?}");
                        self.report.abandons += 1;
                    }
                }
            }
            Some(Caller::Leaf(at)) => {
                let id = at.command;
                let mut entries = self.ledger.entries.range((id, 0)..=(id, i32::MAX));
                assert!(entries.next().is_some(), "an undo command of {id} is not stored");
            }
            Some(Caller::Lock(at, lock)) => self.ledger.check_holds(at.command, lock),
            Some(Caller::Subscribe(at, key)) => self.ledger.check_listens(at.command, key),
            Some(Caller::Publish(event)) => self.ledger.check_published(event),
            Some(Caller::Task(at, task)) => self.ledger.check_has_task(at.command, task),
            None => {}
        }
        self.answer(ticket, true);
    }

    pub(super) fn answer(&mut self, ticket: u64, is_accepted: bool) {
        let caller = self.callers.remove(&ticket);
        if caller.is_none() && self.late.remove(&ticket) {
            return;
        }
        let caller = caller.unwrap_or_else(|| panic!("{ticket} is answered twice"));
        let (Caller::Leaf(at)
        | Caller::Lock(at, _)
        | Caller::Subscribe(at, _)
        | Caller::Task(at, _)) = caller
        else {
            return;
        };
        let is_lock = matches!(caller, Caller::Lock(..));
        let code = self.tasks.get_mut(&at.command);
        let is_heard = code.is_some_and(|task| task.answered(ticket, is_accepted, is_lock));
        if let (Caller::Task(at, task), true) = (caller, is_accepted && is_heard) {
            self.begin_task(at.command, &task);
        }
    }
}
