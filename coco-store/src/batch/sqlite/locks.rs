//! The statements about locks, and the rows that they bind.
//!
//! They find what [`LockTable`](coco_core::lock::LockTable) says that a decision depends on: who
//! holds the keys, and no more of a line than its head. Nothing is decided here.

use coco_core::lock::{HeldLock, Lock, WaitingRequest};
use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};

use super::rows::{Id, array, row};
use crate::ancestors;
use crate::batch::locks::{Interest, wanted};

/// Who holds these keys. Of one that is only asked for shared: who holds it exclusively or in a mode
/// that is not known, and of those who share it the ones who ask, and their ancestors. And all that
/// the commands of ?2 hold.
pub(crate) const READ_HOLDERS: &str = "\
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.ancestors, \
held.mode, held.since \
FROM jsonb_each(?1) AS asked CROSS JOIN command_locks AS held \
ON held.lock_group = asked.value ->> '$[0]' AND held.lock_key = asked.value ->> '$[1]' \
WHERE asked.value ->> '$[2]' OR held.mode <> 'shared' \
UNION ALL \
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.ancestors, \
held.mode, held.since \
FROM jsonb_each(?1) AS asked CROSS JOIN json_each(asked.value -> '$[3]') AS own \
CROSS JOIN command_locks AS held \
ON held.lock_group = asked.value ->> '$[0]' AND held.lock_key = asked.value ->> '$[1]' \
AND held.command_id = unhex(own.value) AND held.mode = 'shared' \
UNION ALL \
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.ancestors, \
held.mode, held.since \
FROM json_each(?2) AS owner CROSS JOIN command_locks AS held \
ON held.command_id = unhex(owner.value)";

/// What these commands hold.
pub(crate) const READ_HELD: &str = "\
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.ancestors, \
held.mode, held.since \
FROM json_each(?1) AS owner CROSS JOIN command_locks AS held \
ON held.command_id = unhex(owner.value)";

pub(crate) const READ_LINE: &str = include_str!("read_line.sql");

pub(crate) const READ_TREES: &str = include_str!("read_trees.sql");

pub(super) const DELETE_LOCKS: &str = "\
DELETE FROM command_locks WHERE command_id IN (SELECT unhex(value) FROM json_each(?1))";

pub(super) const DELETE_ONE_LOCK: &str = "\
DELETE FROM command_locks WHERE (lock_group, lock_key, command_id) IN ( \
SELECT value ->> '$[1]', value ->> '$[2]', unhex(value ->> '$[0]') FROM jsonb_each(?1))";

/// Without a number, all of the command.
pub(super) const DELETE_WAITERS: &str = "\
DELETE FROM lock_waiters WHERE rowid IN ( \
SELECT waiter.rowid FROM jsonb_each(?1) AS gone CROSS JOIN lock_waiters AS waiter \
ON waiter.command_id = unhex(gone.value ->> '$[0]') \
WHERE coalesce(gone.value ->> '$[1]', waiter.number) = waiter.number)";

pub(super) const INSERT_LOCKS: &str = "\
INSERT INTO command_locks (\
lock_group, lock_key, command_id, root_command_id, command_type, ancestors, mode, since) \
SELECT \
value ->> '$[0]', value ->> '$[1]', unhex(value ->> '$[2]'), unhex(value ->> '$[3]'), \
value ->> '$[4]', value ->> '$[5]', value ->> '$[6]', value ->> '$[7]' \
FROM jsonb_each(?1) WHERE true \
ON CONFLICT (lock_group, lock_key, command_id) \
DO UPDATE SET since = min(since, excluded.since), \
mode = CASE excluded.mode WHEN 'exclusive' THEN excluded.mode ELSE mode END";

pub(super) const INSERT_WAITERS: &str = "\
INSERT INTO lock_waiters (\
command_id, number, lock_group, lock_key, position, place, root_command_id, command_type, \
ancestors, mode, since, until) \
SELECT \
unhex(value ->> '$[0]'), value ->> '$[1]', value ->> '$[2]', value ->> '$[3]', value ->> '$[4]', \
value ->> '$[5]', unhex(value ->> '$[6]'), value ->> '$[7]', value ->> '$[8]', value ->> '$[9]', \
value ->> '$[10]', value ->> '$[11]' \
FROM jsonb_each(?1)";

/// What `READ_LINE` binds.
pub(crate) fn line(interest: &Interest<'_>) -> Result<[String; 3], serde_json::Error> {
    Ok([
        text(array(interest.touched.iter().copied().map(Id))?),
        text(array(interest.keys().into_iter())?),
        text(array(interest.roots.iter().copied().map(Id))?),
    ])
}

fn text(rows: Option<String>) -> String {
    rows.unwrap_or_else(|| "[]".to_owned())
}

/// What `READ_HOLDERS` binds, where there is anything to read: the keys that are asked for and
/// those that `waiting` waits for; and, where somebody waits, the roots that ask for their start.
pub(crate) fn holders(
    interest: &Interest<'_>,
    waiting: &[WaitingRequest],
    is_line: bool,
) -> Result<Option<[String; 2]>, serde_json::Error> {
    let wanted = wanted(interest, waiting);
    let keys = wanted.iter().map(|wanted| {
        (wanted.group, wanted.key, wanted.counts_all, wanted.own().map(Id).collect::<Vec<_>>())
    });
    let Some(keys) = array(keys)? else { return Ok(None) };
    let starting = interest.starting.iter().filter(|_| is_line).copied().map(Id);
    Ok(Some([keys, text(array(starting)?)]))
}

pub(super) struct Held<'a>(pub(super) &'a HeldLock);

impl Serialize for Held<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let held = self.0;
        row!(
            serializer,
            8,
            held.lock.group,
            held.lock.key,
            Id(held.owner),
            Id(held.root()),
            held.command_type,
            ancestors::text(&held.ancestors),
            held.lock.mode.as_str(),
            held.since,
        )
    }
}

/// One lock of a waiting request.
pub(super) struct Waiter<'a> {
    waiting: &'a WaitingRequest,
    position: usize,
    lock: &'a Lock,
}

impl<'a> Waiter<'a> {
    /// One for each of its locks.
    pub(super) fn of(waiting: &'a WaitingRequest) -> impl Iterator<Item = Self> {
        let locks = waiting.request.locks.iter().enumerate();
        locks.map(move |(position, lock)| Waiter { waiting, position, lock })
    }
}

impl Serialize for Waiter<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = &self.waiting.request;
        row!(
            serializer,
            12,
            Id(request.owner),
            request.number,
            self.lock.group,
            self.lock.key,
            self.position,
            self.waiting.rank,
            Id(request.root()),
            request.command_type,
            ancestors::text(&request.ancestors),
            self.lock.mode.as_str(),
            request.at,
            request.until,
        )
    }
}

#[cfg(test)]
mod tests;
