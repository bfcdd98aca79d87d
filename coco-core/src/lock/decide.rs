//! The decision about one request. Every store makes it with this code, inside the commit.
//!
//! In the way of a request is, on any of its keys, in a mode that conflicts:
//!
//! - who **holds** it, but for the command itself and its ancestors: a command may take what its
//!   ancestors hold, and siblings exclude each other;
//! - who **waits** for it and came first, but for those who wait for the command or for an ancestor
//!   of it, there or on any other of their keys: they are granted all or none, so to wait behind
//!   them would be to wait for oneself. And but for those who are behind one that waits for such a
//!   command on that very key: when it leaves the line, they wait for the command themselves, or are
//!   granted. Who is behind one that does so on another key is waited behind, since it may come to be
//!   granted before, when that one has left the line.
//!
//! What its command has already, in a mode as strong, a request does not ask for: it is passed over,
//! and does not stand in line. What has nothing in its way is granted. What has is refused; or waits, where it says so. It
//! does not wait where that would never end: an exclusive request of who shares the lock with
//! others (two of them would wait for each other), and one that closes a cycle of waiting trees.

use std::borrow::Cow;

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
        self.decide_lacking(&self.lacking(request))
    }

    /// What becomes of a request for what its command does not have.
    pub(super) fn decide_lacking(&self, request: &LockRequest) -> Result<Answer, LockRefusal> {
        if request.locks.is_empty() {
            return Ok(Answer::Granted);
        }
        if let Some(same) = self.in_line_lacking(request) {
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
        let WaitingRequest { rank, request } = waiting;
        let of_lock = |lock| {
            let all = self.all_in_the_way(request, lock, Some(*rank));
            all.map(move |in_the_way| in_the_way.conflict(lock))
        };
        request.locks.iter().flat_map(of_lock).collect()
    }

    /// The request without the locks that its command has already.
    pub(super) fn lacking<'r>(&self, request: &'r LockRequest) -> Cow<'r, LockRequest> {
        let has = |lock: &Lock| {
            let held = self.held.of(&lock.name(), request.owner);
            held.is_some_and(|held| held.lock.mode >= lock.mode)
        };
        if !request.locks.iter().any(has) {
            return Cow::Borrowed(request);
        }
        let mut lacking = request.clone();
        lacking.locks.retain(|lock| !has(lock));
        Cow::Owned(lacking)
    }

    /// The first who is in the way of a request, in the order of its locks. `rank`: where it is
    /// in line, if it is.
    pub(super) fn in_the_way<'a>(
        &'a self,
        request: &'a LockRequest,
        rank: Option<i64>,
    ) -> Option<(&'a Lock, InTheWay<'a>)> {
        request.locks.iter().find_map(|lock| {
            let first = self.all_in_the_way(request, lock, rank).next();
            first.map(|in_the_way| (lock, in_the_way))
        })
    }

    /// All who are in the way of a request on one of its keys: who holds it, then who is ahead.
    pub(super) fn all_in_the_way<'a>(
        &'a self,
        request: &'a LockRequest,
        lock: &'a Lock,
        rank: Option<i64>,
    ) -> impl Iterator<Item = InTheWay<'a>> {
        let holders = self.held.in_the_way(lock, |owner| request.is_of(owner));
        let mut behind_own = Vec::new();
        let mut ahead = Vec::new();
        for other in self.line.on(&lock.name()) {
            let is_before = rank.is_none_or(|rank| other.rank < rank);
            let asked = &other.request;
            let wanted = asked.locks.iter().find(|wanted| wanted.is_of_key(lock));
            let Some(wanted) = wanted.filter(|_| is_before && asked.owner != request.owner) else {
                continue;
            };
            let is_behind = behind_own.iter().any(|(first, lock): &(&LockRequest, &Lock)| {
                conflict(lock.mode, wanted.mode) && !self.waits_for_own(first, asked)
            });
            if is_behind || self.wants_of_own(wanted, asked, request) {
                behind_own.push((asked, wanted));
            } else if conflict(wanted.mode, lock.mode) && !self.waits_for_own(asked, request) {
                ahead.push(other);
            }
        }
        holders.map(InTheWay::Holder).chain(ahead.into_iter().map(InTheWay::Ahead))
    }

    /// Whether `other` waits, on any of its keys, for the command of `request` or for an ancestor
    /// of it.
    fn waits_for_own(&self, other: &LockRequest, request: &LockRequest) -> bool {
        other.locks.iter().any(|wanted| self.wants_of_own(wanted, other, request))
    }

    /// The same of one of its keys.
    fn wants_of_own(&self, wanted: &Lock, other: &LockRequest, request: &LockRequest) -> bool {
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
