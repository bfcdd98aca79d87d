//! One engine owns a file; others may read it.

mod support;

use coco_core::store::{Store, StoreError};
use coco_store::SeaOrmStore;
use sea_orm::sqlx::Connection;

use self::support::{Place, apply, id, insert, run};

async fn holder(store: &SeaOrmStore) -> String {
    match store.acquire().await {
        Err(StoreError::InUse { holder }) => holder,
        other => panic!("expected the store to be in use, got {other:?}"),
    }
}

#[tokio::test]
async fn a_second_engine_is_told_who_holds_the_store() {
    let place = Place::new();
    let first = place.open().await;
    let _lease = first.acquire().await.unwrap();
    let ours = format!("process {}", std::process::id());
    assert!(holder(&first).await.starts_with(&ours));
    assert!(holder(&place.open().await).await.starts_with(&ours));
}

#[tokio::test]
async fn the_lock_is_free_when_the_lease_is_dropped_or_released() {
    let place = Place::new();
    let store = place.open().await;
    drop(store.acquire().await.unwrap());
    let lease = store.acquire().await.unwrap();
    store.release(lease, true).await.unwrap();
    assert!(store.acquire().await.unwrap().clean);
}

#[tokio::test]
async fn links_to_one_file_are_one_store() {
    let place = Place::new();
    let store = place.open().await;
    let _lease = store.acquire().await.unwrap();
    let link = place.file("link.db");
    #[cfg(unix)]
    std::os::unix::fs::symlink(place.file("coco.db"), &link).unwrap();
    #[cfg(not(unix))]
    return;
    let address = format!("sqlite://{}", link.display());
    holder(&SeaOrmStore::connect(&address).await.unwrap()).await;
}

#[tokio::test]
async fn readers_see_what_an_engine_commits() {
    let place = Place::new();
    let engine = place.open().await;
    let lease = engine.acquire().await.unwrap();
    let reader = place.open().await;
    assert_eq!(reader.entity(id(1)).await.unwrap(), None);
    apply(&engine, &lease, vec![insert(1)]).await;
    assert!(reader.entity(id(1)).await.unwrap().is_some());
}

/// Does to the file what another version of this program would have done.
async fn change(place: &Place, sql: &'static str) {
    let mut other = place.stranger().await;
    run(&mut other, sql).await;
    other.close().await.unwrap();
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let place = Place::new();
    place.open().await;
    change(&place, "INSERT INTO coco_migrations VALUES ('m0999_later', 0)").await;
    match SeaOrmStore::connect(&place.address()).await {
        Err(StoreError::NewerSchema { found }) => assert!(found.contains("m0999_later")),
        other => panic!("expected a newer schema, got {other:?}"),
    }
}

#[tokio::test]
async fn older_tables_are_not_migrated_under_an_engine() {
    let place = Place::new();
    let engine = place.open().await;
    let lease = engine.acquire().await.unwrap();
    change(&place, "DELETE FROM coco_migrations WHERE version = 'm0002_failures'").await;
    let error = SeaOrmStore::connect(&place.address()).await.unwrap_err().to_string();
    let ours = format!("process {}", std::process::id());
    assert!(error.contains(&ours) && error.contains("must stop"), "{error}");

    change(&place, "INSERT INTO coco_migrations VALUES ('m0002_failures', 0)").await;
    place.open().await;
    drop(lease);
}

#[tokio::test]
async fn the_migrations_of_the_user_may_live_in_the_same_file() {
    let place = Place::new();
    change(
        &place,
        "CREATE TABLE seaql_migrations (version TEXT PRIMARY KEY, applied_at BIGINT); \
         INSERT INTO seaql_migrations VALUES ('m2024_users', 0)",
    )
    .await;
    place.open().await;
    place.open().await;
}

#[tokio::test]
async fn what_cannot_be_a_store_is_refused() {
    let place = Place::new();
    for address in ["mysql://localhost/coco", "sqlite::memory:", "coco.db"] {
        let refused = SeaOrmStore::connect(address).await;
        assert!(matches!(refused, Err(StoreError::Address { .. })), "{address}: {refused:?}");
    }
    let missing = format!("sqlite://{}", place.file("missing/coco.db").display());
    let error = SeaOrmStore::connect(&missing).await.unwrap_err().to_string();
    assert!(error.contains("missing/coco.db"), "{error}");

    std::fs::write(place.file("coco.db"), "this is no database, ".repeat(100)).unwrap();
    let error = SeaOrmStore::connect(&place.address()).await.unwrap_err().to_string();
    assert!(error.contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_holder_that_has_not_said_who_it_is_is_another_process() {
    let place = Place::new();
    let store = place.open().await;
    let lock = std::fs::File::create(place.file("coco.db.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(holder(&store).await, "another process");
    drop(lock);
    store.acquire().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_cannot_be_made_is_named() {
    let place = Place::new();
    let lock = place.file("coco.db.lock");
    std::fs::create_dir(&lock).unwrap();
    match SeaOrmStore::connect(&place.address()).await {
        Err(StoreError::Unavailable(reason)) => {
            assert!(
                reason.starts_with(&format!("failed to lock `{}`: ", lock.display())),
                "{reason}"
            );
        }
        other => panic!("expected that the lock cannot be taken, got {other:?}"),
    }
    std::fs::remove_dir(&lock).unwrap();
    place.open().await;
}

/// The lock by which other processes know that a connection has the file open belongs to the
/// process, and is lost when any handle of the file is closed in it. Then an older SQLite deletes
/// the log under the engine when it leaves.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_second_store_keeps_the_locks_of_the_first() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let file = place.file("coco.db");
    let engine = place.open().await;
    let lease = engine.acquire().await.unwrap();
    apply(&engine, &lease, vec![insert(1)]).await;
    let in_use = format!(":{} 1073741826 ", file.metadata().unwrap().ino());
    let is_known = || std::fs::read_to_string("/proc/locks").unwrap().contains(&in_use);
    assert!(is_known());
    let second = place.open().await;
    assert!(second.entity(id(1)).await.unwrap().is_some());
    assert!(is_known(), "other processes do not know of the engine any more");
}
