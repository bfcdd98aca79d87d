//! Locks, as they have to be: who was granted what, and who may let it go.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::commands::{json, locks_of, spec_of};
use super::Ledger;
use super::intervals::{Event, Log};
use super::line::Waiting;
use crate::id::CommandId;
use crate::lock::{Lock, LockMode, LockScope};
use crate::status::CommandStatus;
use crate::store::LockRows;
use crate::time::Timestamp;

/// Who holds which keys, and who waits for which.
#[derive(Debug, Default)]
pub(super) struct LockBook {
    pub(super) held: BTreeMap<(CommandId, String), LockMode>,
    /// In the order of asking.
    pub(super) line: Vec<Waiting>,
    pub(super) log: Log,
    pub(super) now: Timestamp,
    /// Until when requests waited that were in line, and when those were granted that were.
    pub(super) untils: HashMap<(CommandId, i32), Timestamp>,
    pub(super) granted_at: HashMap<(CommandId, i32), Timestamp>,
    /// Requests in line that nobody in memory knows of since their tree was read from the store.
    pub(super) unknown: HashSet<(CommandId, i32)>,
}

impl LockBook {
    pub(super) fn take(&mut self, owner: CommandId, lock: &Lock) {
        self.add(owner, lock.key.clone(), lock.mode);
    }

    fn add(&mut self, owner: CommandId, key: String, mode: LockMode) {
        let held = self.held.entry((owner, key.clone())).or_insert(mode);
        *held = mode.max(*held);
        self.log.add(owner, key, Event::Granted(*held));
    }

    pub(super) fn release(&mut self, owner: CommandId) {
        for ((_, key), _) in self.held.extract_if(.., |(held_by, _), _| *held_by == owner) {
            self.log.add(owner, key, Event::Freed);
        }
        self.leave_line(owner, None);
    }

    pub(super) fn pass(&mut self, from: CommandId, to: CommandId) {
        let passed = self.held.extract_if(.., |(owner, _), _| *owner == from);
        let passed: Vec<_> = passed.collect();
        for ((_, key), mode) in passed {
            self.log.add(from, key.clone(), Event::Freed);
            self.add(to, key, mode);
        }
        self.leave_line(from, None);
    }

    pub(super) fn leave_line(&mut self, owner: CommandId, number: Option<i32>) {
        let is_it = |waiting: &mut Waiting| {
            waiting.owner == owner && number.is_none_or(|number| waiting.number == number)
        };
        for left in self.line.extract_if(.., is_it) {
            for lock in left.locks {
                self.log.add(owner, lock.key, Event::Left(left.number));
            }
        }
    }

    pub(super) fn holds(&self, owner: CommandId, lock: &Lock) -> bool {
        self.held.get(&(owner, lock.key.clone())).is_some_and(|mode| *mode >= lock.mode)
    }
}

impl Ledger {
    /// A command begins: it holds all that it asked for.
    pub(super) fn check_start(&self, id: CommandId) {
        let row = &self.rows[&id];
        let locks = locks_of(&row.command_type, &json(&row.command_parameters));
        for lock in locks.locks() {
            assert!(self.locks.holds(id, lock), "{id} begins without its locks: {lock:?}");
        }
    }

    /// A command was told that a lock is its own.
    pub(in super::super) fn check_holds(&self, id: CommandId, lock: &Lock) {
        assert!(self.locks.holds(id, lock), "{id} is told that it holds {lock:?}");
    }

    /// Locks are freed by what has ended, or has succeeded and can not be undone any more.
    pub(super) fn check_release(&self, owner: CommandId) {
        let row = &self.rows[&owner];
        match row.progress.status {
            CommandStatus::EndedWithFailure => {}
            CommandStatus::Succeeded | CommandStatus::EndedSuccessfully => {
                let is_root = row.parent_command_id.is_none();
                let kept = !is_root && self.could_be_undone(owner);
                let holds = self.locks.held.keys().any(|(held_by, _)| *held_by == owner);
                assert!(!kept || !holds, "{owner} frees its locks, and could be undone");
            }
            status => panic!("{owner} frees its locks while it is {status}"),
        }
    }

    /// Locks are passed by what has succeeded to who may have to undo it.
    pub(super) fn check_pass(&self, from: CommandId, to: CommandId) {
        let row = &self.rows[&from];
        assert_eq!(row.parent_command_id, Some(to), "{from} passes its locks");
        let succeeded = [CommandStatus::Succeeded, CommandStatus::EndedSuccessfully];
        assert!(succeeded.contains(&row.progress.status), "{from} passes its locks: {row:?}");
        assert!(self.could_be_undone(from), "{from} passes its locks, and nothing undoes it");
    }

    /// Checks who holds what and who waits for what, after a commit.
    pub(in super::super) fn check_locks(&self, stored: &LockRows) {
        let held = &stored.held;
        for one in held {
            let row = &self.rows[&one.owner];
            assert!(self.is_open(one.owner), "an ended command holds a lock: {one:?}");
            let is_over = row.progress.status == CommandStatus::Succeeded
                && spec_of(&row.command_type).scope != LockScope::Command;
            assert!(!is_over, "a command that has succeeded holds a lock: {one:?}");
            for other in held.iter().filter(|other| other.owner > one.owner) {
                let same = one.lock.key == other.lock.key;
                let exclusive = [one, other].iter().any(|h| h.lock.mode == LockMode::Exclusive);
                let related =
                    self.is_of(one.owner, other.owner) || self.is_of(other.owner, one.owner);
                assert!(!(same && exclusive) || related, "both hold: {one:?}, {other:?}");
            }
        }
        let mut held: Vec<_> =
            held.iter().map(|one| ((one.owner, one.lock.key.clone()), one.lock.mode)).collect();
        held.sort();
        assert!(held.into_iter().eq(self.locks.held.clone()), "other locks than were granted");
        self.check_line(&stored.waiting);
    }

    /// Whether `id` is this command, or below it.
    pub(super) fn is_of(&self, id: CommandId, above: CommandId) -> bool {
        id == above || self.ancestors(id).any(|one| one == above)
    }
}
