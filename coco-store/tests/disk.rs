//! The disk is full, cannot be written, or belongs to another for a while: nothing of a batch is
//! stored, and the same batch is once that is over.

#[path = "support/faulty.rs"]
mod faulty;
mod support;

use std::future::poll_fn;
use std::task::Poll;

use coco_core::store::{Store, StoreError};
use coco_store::SeaOrmStore;

use self::faulty::{FULL, ROOM, many, unavailable};
use self::support::{Place, apply, id, insert, run};

#[tokio::test]
async fn a_batch_that_does_not_fit_is_stored_when_there_is_room() {
    let place = Place::new();
    let (store, faults) = faulty::open(&place).await;
    let lease = store.acquire().await.unwrap();
    faults.set(FULL);
    for _ in 0..3 {
        let reason = unavailable(&store, &lease, many()).await;
        assert!(reason.contains("database or disk is full"), "{reason}");
        assert!(!reason.contains("COMMIT"), "{reason}");
    }
    faults.set(ROOM);
    apply(&store, &lease, many().to_vec()).await;
    assert_eq!(store.open_trees(None, None, 1000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_waited_for() {
    let place = Place::new();
    let (store, faults) = faulty::open(&place).await;
    let lease = store.acquire().await.unwrap();
    faults.set("PRAGMA query_only = true");
    for _ in 0..3 {
        let reason = unavailable(&store, &lease, many()).await;
        assert!(reason.contains("attempt to write a readonly database"), "{reason}");
    }
    faults.set("PRAGMA query_only = false");
    apply(&store, &lease, many().to_vec()).await;
}

#[tokio::test]
async fn a_commit_waits_for_another_that_writes() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let mut other = place.stranger().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let statements = store.statistics().statements;
    let mut commit = store.commit(&lease, many());
    while store.statistics().statements == statements {
        let first = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
        assert!(first.is_pending(), "{first:?}");
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        run(&mut other, "SELECT epoch FROM engines").await;
        let still = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
        assert!(still.is_pending(), "{still:?}");
    }
    run(&mut other, "COMMIT").await;
    assert_eq!(commit.await.unwrap().outcomes.len(), 200);
    let done = store.statistics().statements - statements;
    assert_eq!(done, 4, "`BEGIN` was tried once, and waited");
}

#[tokio::test]
async fn a_commit_that_waited_in_vain_can_be_tried_again() {
    let place = Place::new();
    let (store, faults) = faulty::open(&place).await;
    let lease = store.acquire().await.unwrap();
    faults.set("PRAGMA busy_timeout = 0");
    let mut other = place.stranger().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    for _ in 0..3 {
        let reason = unavailable(&store, &lease, many()).await;
        assert!(reason.contains("database is locked"), "{reason}");
    }
    run(&mut other, "COMMIT").await;
    apply(&store, &lease, many().to_vec()).await;
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let place = Place::new();
    std::fs::create_dir(place.file("coco.db")).unwrap();
    let error = SeaOrmStore::connect(&place.address()).await.unwrap_err();
    let text = format!("failed to open `{}`: it is no file", place.file("coco.db").display());
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains(&text), "{error}");
}

#[tokio::test]
async fn a_file_that_only_newer_versions_may_write_is_read_and_not_owned() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![insert(1)]).await;
    store.release(lease, true).await.unwrap();
    let mut other = place.stranger().await;
    run(&mut other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    drop((store, other));
    // The write version of the file, in its header.
    let mut bytes = std::fs::read(place.file("coco.db")).unwrap();
    bytes[18] = 3;
    std::fs::write(place.file("coco.db"), bytes).unwrap();

    let store = place.open().await;
    assert!(store.entity(id(1)).await.unwrap().is_some());
    let error = store.acquire().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("attempt to write a readonly database"), "{error}");
}
