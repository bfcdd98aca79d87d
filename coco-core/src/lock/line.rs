//! Who waits for what, in the order of asking.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Key, LockRequest, WaitingRequest};
use crate::id::CommandId;

/// The requests that wait, by rank.
#[derive(Debug, Default)]
pub(super) struct Line {
    requests: BTreeMap<i64, WaitingRequest>,
    by_key: HashMap<Key, BTreeSet<i64>>,
    by_owner: HashMap<CommandId, BTreeSet<i64>>,
    by_root: HashMap<CommandId, BTreeSet<i64>>,
    /// The last rank that was ever given, as far as it is known.
    last: i64,
}

impl Line {
    /// An empty line in which the next rank is behind `last`.
    pub(super) fn after(last: i64) -> Self {
        Self { last, ..Self::default() }
    }

    /// Adds a request that waits since before.
    pub(super) fn insert(&mut self, waiting: WaitingRequest) {
        let rank = waiting.rank;
        self.last = self.last.max(rank);
        for lock in &waiting.request.locks {
            self.by_key.entry(lock.name()).or_default().insert(rank);
        }
        self.by_owner.entry(waiting.request.owner).or_default().insert(rank);
        self.by_root.entry(waiting.request.root()).or_default().insert(rank);
        self.requests.insert(rank, waiting);
    }

    /// Adds a request at the end, and gives its rank.
    pub(super) fn join(&mut self, request: LockRequest) -> i64 {
        let rank = self.last + 1;
        self.insert(WaitingRequest { rank, request });
        rank
    }

    /// Takes a request out.
    pub(super) fn leave(&mut self, rank: i64) -> Option<WaitingRequest> {
        let waiting = self.requests.remove(&rank)?;
        for lock in &waiting.request.locks {
            remove(&mut self.by_key, &lock.name(), rank);
        }
        remove(&mut self.by_owner, &waiting.request.owner, rank);
        remove(&mut self.by_root, &waiting.request.root(), rank);
        Some(waiting)
    }

    /// The ranks of a command's requests, or of one of them.
    pub(super) fn ranks_of(&self, owner: CommandId, number: Option<i32>) -> Vec<i64> {
        let ranks = self.by_owner.get(&owner).into_iter().flatten().copied();
        let is_asked = |rank: &i64| number.is_none_or(|n| self.requests[rank].request.number == n);
        ranks.filter(is_asked).collect()
    }

    pub(super) fn get(&self, rank: i64) -> Option<&WaitingRequest> {
        self.requests.get(&rank)
    }

    /// Who waits for a key, in order.
    pub(super) fn on(&self, key: &Key) -> impl Iterator<Item = &WaitingRequest> {
        self.by_key.get(key).into_iter().flatten().map(|rank| &self.requests[rank])
    }

    /// Who waits in a tree, in order.
    pub(super) fn of_tree(&self, root: CommandId) -> impl Iterator<Item = &WaitingRequest> {
        self.by_root.get(&root).into_iter().flatten().map(|rank| &self.requests[rank])
    }

    /// All that wait, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &WaitingRequest> {
        self.requests.values()
    }
}

fn remove<K: std::hash::Hash + Eq>(ranks_by: &mut HashMap<K, BTreeSet<i64>>, key: &K, rank: i64) {
    if let Some(ranks) = ranks_by.get_mut(key) {
        ranks.remove(&rank);
        if ranks.is_empty() {
            ranks_by.remove(key);
        }
    }
}
