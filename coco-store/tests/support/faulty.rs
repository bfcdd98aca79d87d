//! A store whose disk has faults.

use std::sync::Arc;

use coco_core::store::{CommitError, Lease, Step, Store};
use coco_store::{Faults, Options, SeaOrmStore};

use crate::support::{Place, insert};

pub(crate) const FULL: &str = "PRAGMA max_page_count = 1";
pub(crate) const ROOM: &str = "PRAGMA max_page_count = 4294967294";

/// A store whose disk has the faults.
pub(crate) async fn open(place: &Place) -> (SeaOrmStore, Faults) {
    let faults = Faults::default();
    (place.open_with(Options::default().faults(faults.clone())).await, faults)
}

/// More than fits into the pages that the file has.
pub(crate) fn many() -> Arc<[Step]> {
    (1..=200).map(insert).collect()
}

/// Commits, in vain. Gives the reason.
pub(crate) async fn unavailable(store: &SeaOrmStore, lease: &Lease, steps: Arc<[Step]>) -> String {
    let commits = store.statistics().commits;
    let failed = store.commit(lease, steps).await;
    assert_eq!(store.statistics().commits, commits);
    let stored = store.open_trees(None, None, 1000).await.unwrap();
    assert!(stored.is_empty(), "{} trees of the batch are stored", stored.len());
    match failed {
        Err(CommitError::Unavailable(reason)) => reason,
        other => panic!("expected that the store cannot be written, got {other:?}"),
    }
}
