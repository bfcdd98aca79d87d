//! Cycles of waiting trees.
//!
//! A request waits for whoever is in its way. A command that is in the way lets go when all below
//! it has ended, and what it holds may then pass to its parent, and so on up: so in another tree
//! everything that waits there keeps it from letting go. In the same tree only what waits in the
//! branch between it and the nearest ancestor that both have does, since from there on the lock
//! is an ancestor's, and may be borrowed.
//!
//! Who asks may come to overtake one that is ahead of it: where that one waits for a lock in the
//! asker's own tree, and the lock passes up to an ancestor of the asker. So it is with any lock of
//! the one ahead, shared or not, and only the branch below that ancestor counts for it, as long as
//! the asker waits for it in no other way: a lock that its tree has already is not freed by that.
//!
//! The answer errs on the side of refusing: what keeps a command from letting go in the worst case
//! counts. Whether a lock will pass up or be freed is not known when it is asked for, nor which of
//! several locks of a request is the last to come.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::decide::InTheWay;
use super::table::LockTable;
use super::{HeldLock, Lock, LockMode, LockRequest, WaitsFor, WouldDeadlock};
use crate::id::CommandId;

/// The rank of the request that is asked about, which is not in line.
const ASKED: i64 = i64::MAX;

/// A request that another one waits for.
struct WaitsBehind {
    link: WaitsFor,
    /// Its own rank.
    rank: i64,
    /// Whether it is itself what is in the way, and not something else of its tree.
    is_ahead: bool,
}

impl LockTable {
    /// The cycle that would close if `asked` waited.
    pub(super) fn cycle(&self, asked: &LockRequest) -> Option<WouldDeadlock> {
        // Which request was reached from which, and over what.
        let mut reached: HashMap<i64, (i64, WaitsFor)> = HashMap::new();
        let mut next = VecDeque::from([ASKED]);
        // Those that keep it waiting in no other way than that they are ahead of it.
        let mut may_be_passed = HashSet::new();
        while let Some(rank) = next.pop_front() {
            let waiting = if rank == ASKED { asked } else { &self.line.get(rank)?.request };
            let is_passed = may_be_passed.contains(&rank);
            for WaitsBehind { link, rank: behind, is_ahead } in
                self.waits_for(waiting, rank, asked, is_passed)
            {
                if behind == ASKED {
                    return Some(path(&reached, rank, link));
                }
                let may_pass = rank == ASKED && is_ahead;
                if let Entry::Vacant(new) = reached.entry(behind) {
                    new.insert((rank, link));
                    next.push_back(behind);
                    may_be_passed.extend(may_pass.then_some(behind));
                } else if !may_pass && may_be_passed.remove(&behind) {
                    next.push_back(behind);
                }
            }
        }
        None
    }

    /// The requests that `waiting` waits for, each with the lock by which it does. `is_passed`: it
    /// is only ahead of `asked`.
    fn waits_for(
        &self,
        waiting: &LockRequest,
        rank: i64,
        asked: &LockRequest,
        is_passed: bool,
    ) -> Vec<WaitsBehind> {
        let mut found = Vec::new();
        // One of the same number that waits for other locks is replaced.
        let replaced = self.rank_of(asked);
        for lock in &waiting.locks {
            for in_the_way in self.all_in_the_way(waiting, lock, Some(rank)) {
                let (holder, ancestors) = match in_the_way {
                    InTheWay::Holder(held) => (held.owner, &held.ancestors),
                    InTheWay::Ahead(ahead) => (ahead.request.owner, &ahead.request.ancestors),
                };
                let root = ancestors.last().copied().unwrap_or(holder);
                // Who asks for nothing else may borrow it, exclusively or not, when it has passed up:
                // then it does not wait behind strangers any more.
                let asks_for_it = matches!(&asked.locks[..], [only] if only.is_of_key(lock));
                let is_exclusive = |held: &HeldLock| held.lock.mode == LockMode::Exclusive;
                let is_alone = matches!(in_the_way, InTheWay::Holder(held) if is_exclusive(held));
                let may_borrow = asks_for_it && is_alone;
                let is_held = matches!(in_the_way, InTheWay::Holder(_));
                let passes_up = may_borrow || is_passed && is_held;
                let branch = top_of_branch(holder, ancestors, |above| {
                    waiting.is_of(above) || passes_up && asked.is_of(above)
                });
                let mut ahead_at = None;
                if let InTheWay::Ahead(ahead) = in_the_way {
                    if Some(ahead.rank) == replaced {
                        continue;
                    }
                    // Once it has the lock, what is below it may borrow it.
                    if waiting.is_of(holder) {
                        let link = link(lock, holder, waiting);
                        found.push(WaitsBehind { link, rank: ahead.rank, is_ahead: false });
                        continue;
                    }
                    ahead_at = Some(ahead.rank);
                }
                let in_line = self.line.of_tree(root).map(|other| (other.rank, &other.request));
                let in_tree = in_line.chain((asked.root() == root).then_some((ASKED, asked)));
                let in_tree = in_tree.filter(|(rank, _)| Some(*rank) != replaced);
                let behind = in_tree.filter(|(_, other)| other.is_of(branch));
                found.extend(behind.map(|(rank, _)| {
                    let link = link(lock, holder, waiting);
                    WaitsBehind { link, rank, is_ahead: ahead_at == Some(rank) }
                }));
            }
        }
        found
    }
}

fn link(lock: &Lock, holder: CommandId, waiting: &LockRequest) -> WaitsFor {
    WaitsFor {
        command: waiting.owner,
        command_type: waiting.command_type.clone().into_owned(),
        group: lock.group.clone().into_owned(),
        key: lock.key.clone(),
        holder,
    }
}

/// The highest command of the holder's tree that must end before its lock is where it `may_stay`.
fn top_of_branch(
    holder: CommandId,
    ancestors: &[CommandId],
    may_stay: impl Fn(CommandId) -> bool,
) -> CommandId {
    let chain = std::iter::once(holder).chain(ancestors.iter().copied());
    chain.take_while(|command| !may_stay(*command)).last().unwrap_or(holder)
}

/// The way from the request that is asked about to `last`, and on over `link`.
fn path(reached: &HashMap<i64, (i64, WaitsFor)>, last: i64, link: WaitsFor) -> WouldDeadlock {
    let mut cycle = vec![link];
    let mut rank = last;
    while let Some((from, link)) = reached.get(&rank) {
        cycle.push(link.clone());
        rank = *from;
    }
    cycle.reverse();
    WouldDeadlock { cycle }
}
