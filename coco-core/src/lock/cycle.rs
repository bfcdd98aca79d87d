//! Cycles of waiting trees.
//!
//! A request waits for whoever is in its way. A command that is in the way lets go when all below
//! it has ended, and what it holds may then pass to its parent, and so on up: so in another tree
//! everything that waits there keeps it from letting go. In the same tree only what waits in the
//! branch between it and the nearest ancestor that both have does, since from there on the lock
//! is an ancestor's, and may be borrowed. The answer errs on the side of refusing: what keeps a
//! command from letting go in the worst case counts.

use std::collections::{HashMap, VecDeque};

use super::decide::InTheWay;
use super::table::LockTable;
use super::{HeldLock, Lock, LockMode, LockRequest, WaitsFor, WouldDeadlock};
use crate::id::CommandId;

/// The place of the request that is asked about, which is not in line.
const ASKED: i64 = i64::MAX;

impl LockTable {
    /// The cycle that would close if `asked` waited.
    pub(super) fn cycle(&self, asked: &LockRequest) -> Option<WouldDeadlock> {
        // Which request was reached from which, and over what.
        let mut reached: HashMap<i64, (i64, WaitsFor)> = HashMap::new();
        let mut next = VecDeque::from([ASKED]);
        while let Some(place) = next.pop_front() {
            let waiting = if place == ASKED { asked } else { &self.line.get(place)?.request };
            for (link, behind) in self.waits_for(waiting, place, asked) {
                if behind == ASKED {
                    return Some(path(&reached, place, link));
                }
                reached.entry(behind).or_insert_with(|| {
                    next.push_back(behind);
                    (place, link)
                });
            }
        }
        None
    }

    /// The requests that `waiting` waits for, each with the lock by which it does.
    fn waits_for(
        &self,
        waiting: &LockRequest,
        place: i64,
        asked: &LockRequest,
    ) -> Vec<(WaitsFor, i64)> {
        let mut found = Vec::new();
        // One of the same number that waits for other locks is replaced.
        let replaced = self.place_of(asked);
        for lock in &waiting.locks {
            for in_the_way in self.all_in_the_way(waiting, lock, Some(place)) {
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
                let may_borrow = asks_for_it && is_alone && asked.root() == root;
                let below = if may_borrow { asked } else { waiting };
                let branch = top_of_branch(holder, ancestors, below);
                if let InTheWay::Ahead(ahead) = in_the_way {
                    if Some(ahead.place) == replaced {
                        continue;
                    }
                    // Once it has the lock, what is below it may borrow it.
                    if waiting.is_of(holder) {
                        found.push((link(lock, holder, waiting), ahead.place));
                        continue;
                    }
                }
                let in_line = self.line.of_tree(root).map(|other| (other.place, &other.request));
                let in_tree = in_line.chain((asked.root() == root).then_some((ASKED, asked)));
                let in_tree = in_tree.filter(|(place, _)| Some(*place) != replaced);
                let behind = in_tree.filter(|(_, other)| other.is_of(branch));
                found.extend(behind.map(|(behind, _)| (link(lock, holder, waiting), behind)));
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

/// The highest command of the holder's tree that must end before the lock is free for `waiting`.
fn top_of_branch(holder: CommandId, ancestors: &[CommandId], waiting: &LockRequest) -> CommandId {
    let chain = std::iter::once(holder).chain(ancestors.iter().copied());
    chain.take_while(|command| !waiting.is_of(*command)).last().unwrap_or(holder)
}

/// The way from the request that is asked about to `last`, and on over `link`.
fn path(reached: &HashMap<i64, (i64, WaitsFor)>, last: i64, link: WaitsFor) -> WouldDeadlock {
    let mut cycle = vec![link];
    let mut place = last;
    while let Some((from, link)) = reached.get(&place) {
        cycle.push(link.clone());
        place = *from;
    }
    cycle.reverse();
    WouldDeadlock { cycle }
}
