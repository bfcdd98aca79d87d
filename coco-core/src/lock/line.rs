//! Who waits for what, in the order of asking.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Key, LockRequest, WaitingRequest};
use crate::id::CommandId;

/// The requests that wait, by place.
#[derive(Debug, Default)]
pub(super) struct Line {
    requests: BTreeMap<i64, WaitingRequest>,
    by_key: HashMap<Key, BTreeSet<i64>>,
    by_owner: HashMap<CommandId, BTreeSet<i64>>,
    by_root: HashMap<CommandId, BTreeSet<i64>>,
    /// The last place that was ever given, as far as it is known.
    last: i64,
}

impl Line {
    /// An empty line in which the next place is behind `last`.
    pub(super) fn after(last: i64) -> Self {
        Self { last, ..Self::default() }
    }

    /// Adds a request that waits since before.
    pub(super) fn insert(&mut self, waiting: WaitingRequest) {
        let place = waiting.place;
        self.last = self.last.max(place);
        for lock in &waiting.request.locks {
            self.by_key.entry(lock.name()).or_default().insert(place);
        }
        self.by_owner.entry(waiting.request.owner).or_default().insert(place);
        self.by_root.entry(waiting.request.root()).or_default().insert(place);
        self.requests.insert(place, waiting);
    }

    /// Adds a request at the end, and gives its place.
    pub(super) fn join(&mut self, request: LockRequest) -> i64 {
        let place = self.last + 1;
        self.insert(WaitingRequest { place, request });
        place
    }

    /// Takes a request out.
    pub(super) fn leave(&mut self, place: i64) -> Option<WaitingRequest> {
        let waiting = self.requests.remove(&place)?;
        for lock in &waiting.request.locks {
            remove(&mut self.by_key, &lock.name(), place);
        }
        remove(&mut self.by_owner, &waiting.request.owner, place);
        remove(&mut self.by_root, &waiting.request.root(), place);
        Some(waiting)
    }

    /// The places of a command's requests, or of one of them.
    pub(super) fn places_of(&self, owner: CommandId, number: Option<i32>) -> Vec<i64> {
        let places = self.by_owner.get(&owner).into_iter().flatten().copied();
        let is_asked =
            |place: &i64| number.is_none_or(|n| self.requests[place].request.number == n);
        places.filter(is_asked).collect()
    }

    pub(super) fn get(&self, place: i64) -> Option<&WaitingRequest> {
        self.requests.get(&place)
    }

    /// Who waits for a key, in order.
    pub(super) fn on(&self, key: &Key) -> impl Iterator<Item = &WaitingRequest> {
        self.by_key.get(key).into_iter().flatten().map(|place| &self.requests[place])
    }

    /// Who waits in a tree, in order.
    pub(super) fn of_tree(&self, root: CommandId) -> impl Iterator<Item = &WaitingRequest> {
        self.by_root.get(&root).into_iter().flatten().map(|place| &self.requests[place])
    }

    /// All that wait, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &WaitingRequest> {
        self.requests.values()
    }
}

fn remove<K: std::hash::Hash + Eq>(places_by: &mut HashMap<K, BTreeSet<i64>>, key: &K, place: i64) {
    if let Some(places) = places_by.get_mut(key) {
        places.remove(&place);
        if places.is_empty() {
            places_by.remove(key);
        }
    }
}
