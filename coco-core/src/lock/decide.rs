//! The decision about one request. Every store makes it with this code, inside the commit.
//!
//! In the way of a request is, on any of its keys, in a mode that conflicts:
//!
//! - who **holds** it, but for the command itself and its ancestors: a command may take what its
//!   ancestors hold, and siblings exclude each other;
//! - who **waits** for it and came first, but for those who wait for the command or for an ancestor
//!   of it: to wait behind them would be to wait for oneself.
//!
//! What has nothing in its way is granted. What has is refused; or waits, where it says so. It
//! does not wait where that would never end: an exclusive request of who shares the lock with
//! others (two of them would wait for each other), and one that closes a cycle of waiting trees.

use super::table::LockTable;
use super::{
    ConflictReason, HeldLock, Lock, LockConflict, LockMode, LockRefusal, LockRequest,
    WaitingRequest,
};
use crate::time::Timestamp;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of its locks are its command's.
    Granted,
    /// It waits in line, until then at most.
    Waits {
        /// When its time is out.
        until: Option<Timestamp>,
    },
}

/// Who is in the way of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum InTheWay<'a> {
    Holder(&'a HeldLock),
    Ahead(&'a WaitingRequest),
}

impl LockTable {
    /// What becomes of a request: the rule of this module's first lines.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&self, request: &LockRequest) -> Result<Answer, LockRefusal> {
        if self.holds_all(request) {
            return Ok(Answer::Granted);
        }
        let waiting = self.place_of(request).and_then(|place| self.line.get(place));
        if let Some(same) = waiting.filter(|waiting| waiting.request.locks == request.locks) {
            return Ok(Answer::Waits { until: same.request.until });
        }
        let Some((lock, in_the_way)) = self.in_the_way(request, None) else {
            return Ok(Answer::Granted);
        };
        if let Some(conflict) = self.vain_upgrade(request) {
            return Err(conflict.into());
        }
        if !request.waits {
            return Err(in_the_way.conflict(lock).into());
        }
        match self.cycle(request) {
            Some(cycle) => Err(cycle.into()),
            None => Ok(Answer::Waits { until: request.until }),
        }
    }

    /// All who are in the way of a request that waits, in the order of its locks: of each those who
    /// hold it, then those who came first.
    pub fn in_the_way_of(&self, waiting: &WaitingRequest) -> Vec<LockConflict> {
        let WaitingRequest { place, request } = waiting;
        let of_lock = |lock| {
            let all = self.all_in_the_way(request, lock, Some(*place));
            all.map(move |in_the_way| in_the_way.conflict(lock))
        };
        request.locks.iter().flat_map(of_lock).collect()
    }

    fn holds_all(&self, request: &LockRequest) -> bool {
        request.locks.iter().all(|lock| {
            let held = self.held.of(&lock.name(), request.owner);
            held.is_some_and(|held| held.lock.mode >= lock.mode)
        })
    }

    /// The first who is in the way of a request, in the order of its locks. `place`: where it is
    /// in line, if it is.
    pub(super) fn in_the_way<'a>(
        &'a self,
        request: &'a LockRequest,
        place: Option<i64>,
    ) -> Option<(&'a Lock, InTheWay<'a>)> {
        request.locks.iter().find_map(|lock| {
            let first = self.all_in_the_way(request, lock, place).next();
            first.map(|in_the_way| (lock, in_the_way))
        })
    }

    /// All who are in the way of a request on one of its keys: who holds it, then who is ahead.
    pub(super) fn all_in_the_way<'a>(
        &'a self,
        request: &'a LockRequest,
        lock: &'a Lock,
        place: Option<i64>,
    ) -> impl Iterator<Item = InTheWay<'a>> {
        let holders = self.held.in_the_way(lock, |owner| request.is_of(owner));
        let mut behind_own = Vec::new();
        let mut ahead = Vec::new();
        for other in self.line.on(&lock.name()) {
            let is_before = place.is_none_or(|place| other.place < place);
            let asked = &other.request;
            let wanted = asked.locks.iter().find(|wanted| wanted.is_of_key(lock));
            let Some(wanted) = wanted.filter(|_| is_before && asked.owner != request.owner) else {
                continue;
            };
            let is_behind = behind_own.iter().any(|(first, lock): &(&LockRequest, &Lock)| {
                conflict(lock.mode, wanted.mode) && !self.waits_for_own(first, lock, asked)
            });
            if is_behind || self.waits_for_own(asked, wanted, request) {
                behind_own.push((asked, wanted));
            } else if conflict(wanted.mode, lock.mode) {
                ahead.push(other);
            }
        }
        holders.map(InTheWay::Holder).chain(ahead.into_iter().map(InTheWay::Ahead))
    }

    /// Whether `other`, which wants `wanted`, waits for the command of `request`, or for an
    /// ancestor of it.
    fn waits_for_own(&self, other: &LockRequest, wanted: &Lock, request: &LockRequest) -> bool {
        let mut own = self.own(request, wanted);
        own.any(|held| conflict(held.lock.mode, wanted.mode) && !other.is_of(held.owner))
    }

    /// What the command itself and its ancestors hold of a key.
    fn own<'a>(
        &'a self,
        request: &'a LockRequest,
        lock: &'a Lock,
    ) -> impl Iterator<Item = &'a HeldLock> {
        let key = lock.name();
        let own = std::iter::once(&request.owner).chain(&request.ancestors);
        own.filter_map(move |owner| self.held.of(&key, *owner))
    }

    /// Who shares a lock that is asked for exclusively by one who shares it as well.
    fn vain_upgrade(&self, request: &LockRequest) -> Option<LockConflict> {
        let exclusive = request.locks.iter().filter(|lock| lock.mode == LockMode::Exclusive);
        exclusive.into_iter().find_map(|lock| {
            let own = self.own(request, lock).map(|held| held.lock.mode).max();
            let mut others = self.held.in_the_way(lock, |owner| request.is_of(owner));
            let other = others.next().filter(|_| own == Some(LockMode::Shared))?;
            let conflict = InTheWay::Holder(other).conflict(lock);
            Some(LockConflict { reason: ConflictReason::Shared, ..conflict })
        })
    }
}

fn conflict(one: LockMode, other: LockMode) -> bool {
    one == LockMode::Exclusive || other == LockMode::Exclusive
}

impl InTheWay<'_> {
    /// What is said about it to who asks for `lock`.
    pub(super) fn conflict(&self, lock: &Lock) -> LockConflict {
        let (holder, command_type, since, reason) = match self {
            Self::Holder(held) => {
                (held.owner, &held.command_type, held.since, ConflictReason::Held)
            }
            Self::Ahead(WaitingRequest { request, .. }) => {
                (request.owner, &request.command_type, request.at, ConflictReason::Ahead)
            }
        };
        LockConflict {
            group: lock.group.clone().into_owned(),
            key: lock.key.clone(),
            mode: lock.mode,
            holder,
            command_type: command_type.clone().into_owned(),
            since,
            reason,
        }
    }
}
