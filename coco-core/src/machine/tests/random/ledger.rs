//! What is stored, and what may be stored beside it.

use std::collections::{BTreeMap, HashMap};

use crate::entity::{CommandEntity, OnceResult, Progress};
use crate::id::CommandId;
use crate::lock::{HeldLock, LockMode};
use crate::machine::Address;
use crate::machine::step::{Step, Write};
use crate::status::CommandStatus;

/// The rows as they must be in the store, in order of their ids.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) rows: BTreeMap<CommandId, CommandEntity>,
    pub(super) onces: BTreeMap<(CommandId, i32), OnceResult>,
    pub(super) children: HashMap<CommandId, Vec<CommandId>>,
    end_orders: HashMap<CommandId, i64>,
    /// False when the engine before this one stopped cleanly.
    pub(super) counts_deaths: bool,
}

impl Ledger {
    /// Takes a step that the store has applied.
    pub(super) fn applied(&mut self, step: &Step) {
        for write in &step.writes {
            match write {
                Write::Insert(row) => self.insert(row),
                Write::Update(id, progress) => self.update(*id, progress),
                Write::Once(once) => {
                    assert!(self.is_open(once.command_id), "a result for an ended flow: {once:?}");
                    self.take_order(once.root_command_id, once.end_order);
                    let key = (once.command_id, once.position);
                    assert!(self.onces.insert(key, (**once).clone()).is_none(), "twice: {once:?}");
                }
                Write::Release(_) => {}
            }
        }
    }

    fn insert(&mut self, row: &CommandEntity) {
        let id = row.command_id;
        if let Some(parent) = row.parent_command_id {
            assert!(self.is_open(parent), "a child of an ended flow: {row:?}");
            self.children.entry(parent).or_default().push(id);
        }
        if let Some(order) = row.progress.end_order {
            self.take_order(row.root_command_id, order);
        }
        assert!(self.rows.insert(id, row.clone()).is_none(), "stored twice: {row:?}");
    }

    fn update(&mut self, id: CommandId, newer: &Progress) {
        use CommandStatus::{Active, EndedSuccessfully, ExecutionFailed};
        let row = &self.rows[&id];
        let (from, to, root) = (row.progress.status, newer.status, row.root_command_id);
        assert!(!from.is_terminal(), "{id} has ended and is written: {newer:?}");
        // Two ways in one write, where nothing has to happen in between.
        let both =
            [(Active, EndedSuccessfully), (ExecutionFailed, CommandStatus::EndedWithFailure)];
        let is_legal = from == to || from.to(to).is_ok() || both.contains(&(from, to));
        assert!(is_legal, "{id} goes from {from} to {to}");
        assert!(newer.attempt >= row.progress.attempt);
        if newer.deaths > row.progress.deaths {
            assert!(self.counts_deaths, "a death of {id} is counted after a clean stop");
        }
        if to.is_terminal() {
            let mut children = self.children.get(&id).into_iter().flatten();
            assert!(children.all(|child| !self.is_open(*child)), "{id} ends before its children");
            self.take_order(root, newer.end_order.expect("an order"));
            assert!(newer.callback_notified);
        }
        assert_eq!(newer.executed, newer.return_value.is_some());
        self.rows.get_mut(&id).expect("it is here").progress.overlay(newer);
    }

    fn take_order(&mut self, root: CommandId, order: i64) {
        let last = self.end_orders.entry(root).or_default();
        assert!(order > *last, "end order {order} comes after {last} in {root}");
        *last = order;
    }

    pub(super) fn is_open(&self, id: CommandId) -> bool {
        self.rows.get(&id).is_some_and(|row| !row.progress.status.is_terminal())
    }

    pub(super) fn ancestors(&self, id: CommandId) -> impl Iterator<Item = CommandId> {
        let parent = |id: &CommandId| self.rows.get(id)?.parent_command_id;
        std::iter::successors(parent(&id), parent)
    }

    /// Checks that these outcomes, which a flow was given, are stored.
    pub(super) fn check_stored(&self, flow: Address, positions: &[i32]) {
        for position in positions {
            let child = flow.command.child(flow.root, *position);
            let is_stored = match self.rows.get(&child) {
                Some(row) => row.progress.status.is_terminal(),
                None => self.onces.contains_key(&(flow.command, *position)),
            };
            assert!(is_stored, "a step runs, and {position} of {flow:?} is not stored");
        }
    }

    /// Checks who holds what.
    pub(super) fn check_locks(&self, held: &[HeldLock]) {
        for one in held {
            assert!(self.is_open(one.owner), "an ended command holds a lock: {one:?}");
            for other in held.iter().filter(|other| other.owner > one.owner) {
                let same = one.lock.key == other.lock.key;
                let exclusive = [one, other].iter().any(|h| h.lock.mode == LockMode::Exclusive);
                let related = self.ancestors(one.owner).any(|id| id == other.owner)
                    || self.ancestors(other.owner).any(|id| id == one.owner);
                assert!(!(same && exclusive) || related, "both hold: {one:?}, {other:?}");
            }
        }
    }
}
