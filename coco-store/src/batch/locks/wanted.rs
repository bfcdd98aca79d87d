//! Of which keys it has to be known who holds them.

use std::collections::BTreeSet;

use coco_core::CommandId;
use coco_core::lock::{LockMode, WaitingRequest};

use super::known::OF_NOBODY;
use super::{Interest, interest::Key};

/// One key.
#[derive(Debug)]
pub(crate) struct WantedKey<'a> {
    pub(crate) group: &'a str,
    pub(crate) key: &'a str,
    /// Whether those count who share it.
    pub(crate) counts_all: bool,
    own: Option<&'a BTreeSet<CommandId>>,
}

impl WantedKey<'_> {
    /// Who counts though he shares it: those who ask, and their ancestors.
    pub(crate) fn own(&self) -> impl Iterator<Item = CommandId> {
        self.own.into_iter().flatten().copied()
    }
}

/// The keys that are asked for, and those that `waiting` waits for.
pub(crate) fn wanted<'a>(
    interest: &'a Interest<'_>,
    waiting: &'a [WaitingRequest],
) -> Vec<WantedKey<'a>> {
    let waited = waiting.iter().flat_map(|waiting| &waiting.request.locks);
    let waited = waited.filter(|lock| lock.group != OF_NOBODY);
    let waited = waited.map(|lock| (&*lock.group, &*lock.key));
    let asked = interest.asked.keys().filter(|(_, mode)| *mode == LockMode::Exclusive);
    let all: BTreeSet<Key<'a>> = waited.chain(asked.map(|(key, _)| *key)).collect();
    let shared = interest.asked.iter().filter(|((key, _), _)| !all.contains(key));
    let shared = shared.map(|(((group, key), _), own)| (*group, *key, Some(own)));
    let all = all.iter().map(|(group, key)| (*group, *key, None)).chain(shared);
    let wanted = all.map(|(group, key, own)| {
        let counts_all = own.is_none();
        WantedKey { group, key, counts_all, own }
    });
    wanted.collect()
}
