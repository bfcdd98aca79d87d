//! What a batch does to the locks: the rows of both tables that go, and those that come. Pure.

mod interest;
mod known;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coco_core::CommandId;
use coco_core::lock::{Answer, HeldLock, LockRefusal, LockRequest, LockTable, WaitingRequest};
use coco_core::store::{LockRows, Outcome, Write};

pub(crate) use self::interest::Interest;
pub(crate) use self::known::{Known, Waiter};
pub(crate) use self::wanted::wanted;

/// The lock table as the steps change it, beside what of it is stored.
///
/// All rows of a command that lets go of its locks are deleted before any are inserted; a lock that
/// is passed on is one of them, and inserted for its heir.
#[derive(Debug, Default)]
pub(crate) struct LockChanges<'k> {
    table: LockTable,
    last_rank: Option<i64>,
    knows_cycles: bool,
    unreadable: Option<&'k BTreeSet<CommandId>>,
    held: HashMap<CommandId, Vec<&'k HeldLock>>,
    waiting: BTreeMap<(CommandId, i32), &'k WaitingRequest>,
    released: BTreeSet<CommandId>,
    released_ones: BTreeSet<(CommandId, String, String)>,
    may_close_a_cycle: bool,
}

impl<'k> LockChanges<'k> {
    /// Nothing yet.
    pub(crate) fn new(known: &'k Known) -> Self {
        let LockRows { held, waiting } = &known.rows;
        let last_rank = known.last_rank.unwrap_or(0);
        let table = LockTable::new(held.iter().cloned(), waiting.iter().cloned(), last_rank);
        let mut held_by: HashMap<_, Vec<_>> = HashMap::new();
        for lock in held {
            held_by.entry(lock.owner).or_default().push(lock);
        }
        let waiting = waiting.iter().map(|it| ((it.request.owner, it.request.number), it));
        Self {
            table,
            last_rank: known.last_rank,
            knows_cycles: known.cycles,
            unreadable: Some(&known.unreadable),
            held: held_by,
            waiting: waiting.collect(),
            ..Self::default()
        }
    }

    /// Says that somebody has let go of a key in an earlier part of the batch.
    pub(crate) fn free(&mut self, group: &str, key: &str) {
        self.table.free(group, key);
    }

    /// Grants all that is asked for. Where it does not, that is what becomes of the step.
    pub(crate) fn ask(&mut self, request: &LockRequest) -> Result<(), Outcome> {
        let answer = self.table.decide(request);
        let may_wait =
            matches!(answer, Ok(Answer::Waits { .. }) | Err(LockRefusal::WouldDeadlock(_)));
        // Nobody waits for the start of a root, unless it is in line, or has something already.
        let may_be_waited_for = request.number != 0
            || !request.ancestors.is_empty()
            || self.table.rank_of(request).is_some()
            || self.table.holds_any(request.owner);
        let waits_already = self.table.in_line(request).is_some();
        self.may_close_a_cycle |= may_wait && may_be_waited_for && !waits_already;
        let answer = answer?;
        self.table.ask(request)?;
        match answer {
            Answer::Granted => Ok(()),
            Answer::Waits { until } => Err(Outcome::Queued { until }),
        }
    }

    /// Does what a write says about locks, if it does.
    pub(crate) fn apply(&mut self, write: &Write) {
        match write {
            Write::Release(owner) => {
                self.released.insert(*owner);
                self.table.release(*owner);
            }
            Write::Pass { from, to, command_type } if from != to => {
                self.released.insert(*from);
                self.table.pass(*from, *to, command_type);
            }
            Write::LeaveLine(owner, number) => self.table.leave_line(*owner, *number),
            Write::ReleaseOne { owner, lock, since } => {
                let name = || (*owner, lock.group.to_string(), lock.key.clone());
                let is_free = self.table.release_one(*owner, lock, *since);
                self.released_ones.extend(is_free.then(name));
            }
            _ => {}
        }
    }

    /// Grants what can be granted now, at the end of the batch.
    pub(crate) fn grant(&mut self) -> Vec<LockRequest> {
        self.table.grant()
    }

    /// The keys that somebody may have let go of, where nothing was granted since.
    pub(crate) fn freed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.table.freed()
    }

    /// Whether a request waits that may close a cycle which is not known.
    pub(crate) const fn lacks_cycles(&self) -> bool {
        self.may_close_a_cycle && !self.knows_cycles
    }

    /// The last rank in the line, if anybody may be in it.
    pub(crate) fn last_rank(&self) -> Option<i64> {
        let last = self.table.waiting().last().map(|waiting| waiting.rank);
        last.max(self.last_rank)
    }

    /// Whose stored locks are deleted, before any are inserted.
    pub(crate) fn released(&self) -> impl Iterator<Item = CommandId> {
        self.released.iter().copied()
    }

    /// The stored locks that are deleted one by one, before any are inserted.
    pub(crate) fn released_ones(&self) -> impl Iterator<Item = &(CommandId, String, String)> {
        self.released_ones.iter()
    }

    /// The locks to insert, or to merge with what is left, in no order.
    pub(crate) fn granted(&self) -> impl Iterator<Item = &HeldLock> {
        self.table.held().filter(|held| {
            let stored = self.held.get(&held.owner).is_some_and(|stored| stored.contains(held));
            let name = || (held.owner, held.lock.group.to_string(), held.lock.key.clone());
            !stored
                || self.released.contains(&held.owner)
                || !self.released_ones.is_empty() && self.released_ones.contains(&name())
        })
    }

    /// The requests that are stored as waiting, and wait no more; before any are inserted.
    ///
    /// Without a number: all of a command.
    pub(crate) fn left(&self) -> impl Iterator<Item = (CommandId, Option<i32>)> {
        let gone = self.waiting.values().filter(|waiting| !self.waits(waiting));
        let gone = gone.map(|waiting| (waiting.request.owner, Some(waiting.request.number)));
        let unreadable = self.unreadable.into_iter().flatten();
        let unreadable = unreadable.filter(|owner| self.released.contains(owner));
        gone.chain(unreadable.map(|owner| (*owner, None)))
    }

    /// The requests that wait, and are not stored.
    pub(crate) fn joined(&self) -> impl Iterator<Item = &WaitingRequest> {
        self.table.waiting().filter(|waiting| {
            let of = (waiting.request.owner, waiting.request.number);
            self.waiting.get(&of).is_none_or(|stored| stored.rank != waiting.rank)
        })
    }

    /// Whether a request still waits at its rank.
    fn waits(&self, waiting: &WaitingRequest) -> bool {
        self.table.rank_of(&waiting.request) == Some(waiting.rank)
    }
}
