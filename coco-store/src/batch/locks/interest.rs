//! What a batch may do to the locks, and so what has to be known of them to decide it.

use std::collections::{BTreeMap, BTreeSet};

use coco_core::CommandId;
use coco_core::lock::LockMode;
use coco_core::store::{Step, Write};

/// Group and key.
pub(crate) type Key<'a> = (&'a str, &'a str);

/// The commands, trees and keys that the steps of a batch name.
#[derive(Debug, Default)]
pub(crate) struct Interest<'a> {
    /// The keys that are asked for, in each mode, with those who ask and their ancestors.
    pub(crate) asked: BTreeMap<(Key<'a>, LockMode), BTreeSet<CommandId>>,
    /// The commands that may let go of a lock, get one, or leave the line.
    pub(crate) touched: BTreeSet<CommandId>,
    /// The roots that ask for their start, and wait: whether they hold anything counts.
    pub(crate) starting: BTreeSet<CommandId>,
    /// The trees that ask.
    pub(crate) roots: BTreeSet<CommandId>,
    /// The keys that an earlier part of the batch may have let go of.
    pub(crate) freed: BTreeSet<Key<'a>>,
    /// The commands that pass locks from or to, or lose one: all that they hold counts.
    pub(crate) known: BTreeSet<CommandId>,
}

impl<'a> Interest<'a> {
    pub(crate) fn of(steps: &[&'a Step]) -> Self {
        let mut interest = Self::default();
        for step in steps {
            if let Some(request) = step.request.as_deref() {
                interest.touched.insert(request.owner);
                interest.roots.insert(request.root());
                if request.waits && request.number == 0 && request.ancestors.is_empty() {
                    interest.starting.insert(request.owner);
                }
                for lock in &request.locks {
                    let key = (lock.group.as_ref(), lock.key.as_str());
                    let own = interest.asked.entry((key, lock.mode)).or_default();
                    own.insert(request.owner);
                    own.extend(&request.ancestors);
                }
            }
            for write in &step.writes {
                match write {
                    Write::Release(owner) | Write::LeaveLine(owner, _) => {
                        interest.touched.insert(*owner);
                    }
                    Write::ReleaseOne { owner, .. } => {
                        interest.touched.insert(*owner);
                        interest.known.insert(*owner);
                    }
                    Write::Pass { from, to, .. } if from != to => {
                        interest.touched.extend([*from, *to]);
                        interest.known.extend([*from, *to]);
                    }
                    _ => {}
                }
            }
        }
        interest
    }

    /// Of a batch that has let go of these keys, and does no more.
    pub(crate) fn of_freed(keys: &'a BTreeSet<(String, String)>) -> Self {
        let freed = keys.iter().map(|(group, key)| (group.as_str(), key.as_str())).collect();
        Self { freed, ..Self::default() }
    }

    /// The keys that are asked for, or were let go of.
    pub(crate) fn keys(&self) -> BTreeSet<Key<'a>> {
        self.asked.keys().map(|(key, _)| *key).chain(self.freed.iter().copied()).collect()
    }

    pub(crate) fn asks_for(&self, group: &str, key: &str) -> bool {
        let modes = [LockMode::Shared, LockMode::Exclusive];
        modes.iter().any(|mode| self.asked.contains_key(&((group, key), *mode)))
    }

    /// Whether there is nothing to know.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.touched.is_empty() && self.freed.is_empty()
    }
}
