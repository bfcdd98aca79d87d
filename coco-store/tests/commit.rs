//! A `COMMIT` that fails: what is known of it is said, and what can be tried again is.

#[path = "support/faulty.rs"]
mod faulty;
mod support;

use std::fs;

use coco_core::store::{CommitError, Store};
use sea_orm::sqlx::{self, Row};

use self::faulty::{FULL, ROOM, many, unavailable};
use self::support::{Place, apply, id, insert, run};

/// An index whose pages are written by the `COMMIT` only, so that it is what fails.
const INDEX: &str = "\
CREATE VIRTUAL TABLE parameters USING fts5(command_id, command_parameters); \
CREATE TRIGGER fill AFTER INSERT ON command_entities BEGIN \
INSERT INTO parameters VALUES (hex(NEW.command_id), hex(randomblob(2000))); END";

#[tokio::test]
async fn a_commit_that_does_not_fit_is_made_when_there_is_room() {
    let place = Place::new();
    let (store, faults) = faulty::open(&place).await;
    run(&mut place.stranger().await, INDEX).await;
    let lease = store.acquire().await.unwrap();
    faults.set(FULL);
    for _ in 0..3 {
        let reason = unavailable(&store, &lease, [insert(1)].into()).await;
        assert!(reason.starts_with("COMMIT failed: "), "{reason}");
        assert!(reason.contains("database or disk is full"), "{reason}");
    }
    faults.set(ROOM);
    apply(&store, &lease, vec![insert(1)]).await;
    assert!(store.entity(id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced() {
    let place = Place::new();
    let (store, faults) = faulty::open(&place).await;
    run(&mut place.stranger().await, INDEX).await;
    let lease = store.acquire().await.unwrap();
    // SQLite gives up the transaction by itself, so that there is none to roll back.
    faults.set(FULL);
    unavailable(&store, &lease, [insert(1)].into()).await;
    // The old connection would still be short of room.
    faults.set("");
    apply(&store, &lease, many().to_vec()).await;
}

#[tokio::test]
async fn a_commit_that_a_constraint_stops_is_not_made() {
    let place = Place::new();
    let store = place.open().await;
    let mut other = place.stranger().await;
    run(
        &mut other,
        "CREATE TABLE audited (command_id BLOB REFERENCES auditors (command_id) \
         DEFERRABLE INITIALLY DEFERRED); \
         CREATE TABLE auditors (command_id BLOB PRIMARY KEY); \
         CREATE TRIGGER audit AFTER INSERT ON command_entities BEGIN \
         INSERT INTO audited VALUES (NEW.command_id); END",
    )
    .await;
    let lease = store.acquire().await.unwrap();
    let reason = unavailable(&store, &lease, many()).await;
    assert!(reason.starts_with("COMMIT failed: "), "{reason}");
    assert!(reason.contains("FOREIGN KEY"), "{reason}");
    run(&mut other, "DROP TRIGGER audit").await;
    apply(&store, &lease, many().to_vec()).await;
}

#[tokio::test]
async fn a_commit_of_which_nothing_is_known_is_said_to_be_one() {
    let place = Place::new();
    let store = place.open().await;
    let mut other = place.stranger().await;
    run(&mut other, INDEX).await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![insert(1)]).await;
    run(
        &mut other,
        "CREATE TRIGGER stop BEFORE INSERT ON parameters_data BEGIN \
         SELECT RAISE(ABORT, 'an odd error'); END",
    )
    .await;
    match store.commit(&lease, [insert(2)].into()).await {
        Err(CommitError::Unresolved(reason)) => {
            assert!(reason.starts_with("COMMIT failed: "), "{reason}");
        }
        other => panic!("expected a commit that is not resolved, got {other:?}"),
    }
}

#[tokio::test]
async fn a_commit_that_meets_damage_says_so() {
    let place = Place::new();
    let store = place.open().await;
    let mut other = place.stranger().await;
    run(&mut other, INDEX).await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, many().to_vec()).await;
    // The end of the index, where the commit writes.
    let end = "SELECT pageno, pgsize FROM dbstat \
               WHERE name = 'parameters_data' AND pagetype = 'leaf' ORDER BY path DESC LIMIT 1";
    let end = sqlx::query(end).fetch_one(&mut other).await.unwrap();
    let (page, size): (i64, i64) = (end.get(0), end.get(1));
    // What another has written is read anew.
    run(&mut other, "UPDATE engines SET clean = clean; PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut damaged = fs::read(place.file("coco.db")).unwrap();
    damaged[(page as usize - 1) * size as usize..][..size as usize].fill(0xa5);
    fs::write(place.file("coco.db"), damaged).unwrap();
    match store.commit(&lease, [insert(1000)].into()).await {
        Err(CommitError::Damaged(reason)) => {
            assert!(reason.starts_with("COMMIT failed: "), "{reason}");
        }
        other => panic!("expected damage, got {other:?}"),
    }
}
