//! Locks, as they have to be: who was granted what, and who may let it go.

use std::collections::BTreeMap;

use super::super::commands::spec_of;
use super::Ledger;
use crate::id::CommandId;
use crate::lock::{HeldLock, LockMode, LockRequest, LockScope};
use crate::status::CommandStatus;

/// Who holds which keys.
#[derive(Debug, Default)]
pub(super) struct LockBook(BTreeMap<(CommandId, String), LockMode>);

impl LockBook {
    pub(super) fn granted(&mut self, request: &LockRequest) {
        for held in request.granted() {
            self.add(held.owner, held.lock.key, held.lock.mode);
        }
    }

    fn add(&mut self, owner: CommandId, key: String, mode: LockMode) {
        let held = self.0.entry((owner, key)).or_insert(mode);
        *held = mode.max(*held);
    }

    pub(super) fn release(&mut self, owner: CommandId) {
        self.0.retain(|(held_by, _), _| *held_by != owner);
    }

    pub(super) fn pass(&mut self, from: CommandId, to: CommandId) {
        let (passed, kept) =
            std::mem::take(&mut self.0).into_iter().partition(|((owner, _), _)| *owner == from);
        self.0 = kept;
        let passed: BTreeMap<_, _> = passed;
        for ((_, key), mode) in passed {
            self.add(to, key, mode);
        }
    }
}

impl Ledger {
    /// Locks are freed by what has ended, or has succeeded and can not be undone any more.
    pub(super) fn check_release(&self, owner: CommandId) {
        let row = &self.rows[&owner];
        match row.progress.status {
            CommandStatus::EndedWithFailure => {}
            CommandStatus::Succeeded | CommandStatus::EndedSuccessfully => {
                let is_root = row.parent_command_id.is_none();
                let kept = !is_root && self.could_be_undone(owner);
                let holds = self.locks.0.keys().any(|(held_by, _)| *held_by == owner);
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

    /// Checks who holds what.
    pub(in super::super) fn check_locks(&self, held: &[HeldLock]) {
        for one in held {
            let row = &self.rows[&one.owner];
            assert!(self.is_open(one.owner), "an ended command holds a lock: {one:?}");
            let is_over = row.progress.status == CommandStatus::Succeeded
                && spec_of(&row.command_type).scope != LockScope::Command;
            assert!(!is_over, "a command that has succeeded holds a lock: {one:?}");
            for other in held.iter().filter(|other| other.owner > one.owner) {
                let same = one.lock.key == other.lock.key;
                let exclusive = [one, other].iter().any(|h| h.lock.mode == LockMode::Exclusive);
                let related = self.ancestors(one.owner).any(|id| id == other.owner)
                    || self.ancestors(other.owner).any(|id| id == one.owner);
                assert!(!(same && exclusive) || related, "both hold: {one:?}, {other:?}");
            }
        }
        let mut held: Vec<_> =
            held.iter().map(|one| ((one.owner, one.lock.key.clone()), one.lock.mode)).collect();
        held.sort();
        assert!(held.into_iter().eq(self.locks.0.clone()), "other locks than were granted");
    }
}
