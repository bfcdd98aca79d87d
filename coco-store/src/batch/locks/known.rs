//! What has been read of the locks.

use std::collections::{BTreeMap, BTreeSet};

use coco_core::lock::{HeldLock, Lock, LockMode, LockRequest, WaitingRequest};
use coco_core::store::LockRows;
use coco_core::{CommandId, Timestamp};
use uuid::Uuid;

/// The part of the lock table that decides a batch.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// A holder may be there twice, a request once.
    pub(crate) rows: LockRows,
    /// The last rank in the line; none where nobody waits.
    pub(crate) last_rank: Option<i64>,
    /// Whether all is known that a cycle may go through.
    pub(crate) cycles: bool,
    /// Commands that have a row in the line which does not say its rank, or of which request it is.
    pub(crate) unreadable: BTreeSet<CommandId>,
}

/// A row of the line: one lock of a request.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) rank: i64,
    /// Which of the locks it is.
    pub(crate) position: i32,
    /// The request, with no locks.
    pub(crate) request: LockRequest,
    pub(crate) lock: Option<Lock>,
    /// Whether all of the row can be read.
    pub(crate) is_sound: bool,
}

impl Known {
    /// Adds rows of the line, all of each request.
    ///
    /// A request with a row that cannot be read keeps its rank, and is not granted: it waits for
    /// a lock that nobody lets go of. When its command asks again, it joins the line anew.
    pub(crate) fn add_waiters(&mut self, rows: Vec<Waiter>) {
        let known = self.rows.waiting.iter();
        let known: BTreeSet<_> = known.map(|it| (it.request.owner, it.request.number)).collect();
        let mut ranks: BTreeSet<_> = self.rows.waiting.iter().map(|it| it.rank).collect();
        let mut requests: BTreeMap<_, BTreeMap<_, Waiter>> = BTreeMap::new();
        for row in rows {
            let of = (row.request.owner, row.request.number);
            if !known.contains(&of) {
                let name = row.lock.as_ref().map(|lock| (lock.group.to_string(), lock.key.clone()));
                requests.entry(of).or_default().insert((row.position, name), row);
            }
        }
        for rows in requests.into_values() {
            let is_sound = rows.values().all(|row| row.is_sound);
            let mut rows = rows.into_values();
            let Some(Waiter { rank, mut request, lock, .. }) = rows.next() else { continue };
            if !ranks.insert(rank) {
                self.unreadable.insert(request.owner);
                continue;
            }
            request.locks.extend(lock.into_iter().chain(rows.filter_map(|row| row.lock)));
            if !is_sound {
                request.locks.push(self.lock_of_nobody(rank));
            }
            self.rows.waiting.push(WaitingRequest { rank, request });
        }
    }

    /// Says that somebody holds a key, in a way that cannot be read.
    pub(crate) fn add_unreadable_holder(
        &mut self,
        owner: Option<CommandId>,
        group: String,
        key: String,
    ) {
        let lock = Lock { group: group.into(), key, mode: LockMode::Exclusive };
        self.rows.held.push(HeldLock {
            owner: owner.unwrap_or(CommandId::from_uuid(Uuid::nil())),
            command_type: "".into(),
            ancestors: Vec::new(),
            lock,
            since: Timestamp::from_micros(0),
        });
    }

    fn lock_of_nobody(&mut self, rank: i64) -> Lock {
        let key = rank.to_string();
        self.add_unreadable_holder(None, OF_NOBODY.to_owned(), key.clone());
        Lock { group: OF_NOBODY.into(), key, mode: LockMode::Exclusive }
    }
}

/// The group of what is not stored: no text that is has a NUL in it.
pub(crate) const OF_NOBODY: &str = "\0";
