//! A file that is damaged is refused, says so, and stays as it is.

mod support;

use std::fs;
use std::path::Path;

use coco_core::store::{CommitError, Lease, Store, StoreError};
use coco_store::{Options, SeaOrmStore};
use sea_orm::sqlx::{self, Row};

use self::support::{Place, apply, id, insert, run};

const PAGE: usize = 4096;
const STORED: u128 = 50;

/// A store that was left cleanly, with all it has in its file.
async fn left(place: &Place) {
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, (1..=STORED).map(insert).collect()).await;
    store.release(lease, true).await.unwrap();
    run(&mut place.stranger().await, "PRAGMA wal_checkpoint(TRUNCATE)").await;
}

/// Another file with these bytes.
fn file_of(bytes: &[u8]) -> Place {
    let place = Place::new();
    fs::write(place.file("coco.db"), bytes).unwrap();
    place
}

fn bytes(place: &Place) -> Vec<u8> {
    fs::read(place.file("coco.db")).unwrap()
}

fn garbage(bytes: &mut [u8]) {
    let noise = (1_u32..).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
    bytes.iter_mut().zip(noise).for_each(|(byte, noise)| *byte = noise);
}

fn assert_is_damage(error: &StoreError) {
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("the store is damaged: "), "{text}");
    assert!(text.ends_with("; nothing of it was deleted, restore it from a backup"), "{text}");
}

/// Connecting refuses these bytes, leaves them as they are, and takes a backup in their place.
async fn refused(bytes_before: &[u8], backup: &[u8]) {
    let place = file_of(bytes_before);
    let error = SeaOrmStore::connect(&place.address()).await.unwrap_err();
    assert_is_damage(&error);
    assert!(bytes(&place) == bytes_before, "the file was changed");
    fs::write(place.file("coco.db"), backup).unwrap();
    let store = place.open().await;
    assert_eq!(store.open_trees(None, None, 100).await.unwrap().len(), STORED as usize);
}

#[tokio::test]
async fn what_is_no_database_or_no_whole_one_is_refused() {
    let place = Place::new();
    left(&place).await;
    let backup = bytes(&place);
    let mut header = backup.clone();
    garbage(&mut header[..PAGE]);
    refused(&header, &backup).await;
    let mut magic = backup.clone();
    magic[0] ^= 1;
    refused(&magic, &backup).await;
    refused(&backup[..backup.len() / 2], &backup).await;
    refused(&backup[..backup.len() - PAGE], &backup).await;
    refused(&backup[..PAGE], &backup).await;
    refused("this is no database, ".repeat(100).as_bytes(), &backup).await;
}

/// Goes the way of an engine, until something is refused.
async fn use_it(place: &Place, options: Options) -> Result<(), StoreError> {
    let store = SeaOrmStore::connect_with(&place.address(), options).await?;
    let lease = store.acquire().await?;
    store.open_trees(None, None, 100).await?;
    let first = store.entity(id(1)).await?;
    assert!(first.is_some(), "a row has vanished");
    let committed = commit(&store, &lease).await;
    store.release(lease, true).await?;
    committed
}

async fn commit(store: &SeaOrmStore, lease: &Lease) -> Result<(), StoreError> {
    match store.commit(lease, (100..=300).map(insert).collect()).await {
        Ok(_) => Ok(()),
        Err(CommitError::Damaged(reason)) => Err(StoreError::Damaged(reason)),
        Err(error) => panic!("expected damage, got {error:?}"),
    }
}

#[tokio::test]
async fn a_damaged_page_is_damage_wherever_it_lies() {
    let place = Place::new();
    left(&place).await;
    let sound = bytes(&place);
    assert!(use_it(&file_of(&sound), Options::default().check()).await.is_ok());
    let mut met = 0;
    for page in 0..sound.len() / PAGE {
        let mut damaged = sound.clone();
        garbage(&mut damaged[page * PAGE..][..PAGE]);

        let place = file_of(&damaged);
        let options = Options::default().check();
        let error = SeaOrmStore::connect_with(&place.address(), options).await.unwrap_err();
        assert_is_damage(&error);
        assert!(bytes(&place) == damaged, "page {page} was changed");

        if let Err(error) = use_it(&place, Options::default()).await {
            assert_is_damage(&error);
            met += 1;
        }
    }
    println!("{met} of {} pages", sound.len() / PAGE);
}

#[tokio::test]
async fn the_log_of_a_file_that_is_gone_is_kept() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![insert(1)]).await;
    let log = fs::read(place.file("coco.db-wal")).unwrap();
    for leave in [|path: &Path| fs::write(path, ""), |path: &Path| fs::remove_file(path)] {
        let place = file_of(&bytes(&place));
        fs::write(place.file("coco.db-wal"), &log).unwrap();
        leave(&place.file("coco.db")).unwrap();
        let error = SeaOrmStore::connect(&place.address()).await.unwrap_err();
        assert_is_damage(&error);
        assert!(error.to_string().contains("coco.db-wal` is not"), "{error}");
        assert!(fs::read(place.file("coco.db-wal")).unwrap() == log, "the log was changed");
    }
}

#[tokio::test]
async fn damage_that_is_met_by_a_commit_is_told_as_such() {
    let place = Place::new();
    left(&place).await;
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let mut other = place.stranger().await;
    let root = sqlx::query("SELECT rootpage FROM sqlite_master WHERE name = 'command_entities'");
    let root: i64 = root.fetch_one(&mut other).await.unwrap().get(0);
    run(&mut other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut damaged = bytes(&place);
    garbage(&mut damaged[(root as usize - 1) * PAGE..][..PAGE]);
    fs::write(place.file("coco.db"), damaged).unwrap();
    // What another has written is read anew.
    run(&mut other, "UPDATE engines SET clean = false").await;
    match store.commit(&lease, [insert(100)].into()).await {
        Err(CommitError::Damaged(reason)) => assert!(reason.contains("malformed"), "{reason}"),
        other => panic!("expected damage, got {other:?}"),
    }
    assert_is_damage(&store.entity(id(1)).await.unwrap_err());
}

#[tokio::test]
async fn nothing_is_stored_in_a_file_that_is_gone() {
    for leave in [
        |place: &Place| fs::remove_file(place.file("coco.db")),
        |place: &Place| {
            fs::rename(place.file("coco.db"), place.file("old.db"))?;
            fs::copy(place.file("old.db"), place.file("coco.db")).map(drop)
        },
    ] {
        let place = Place::new();
        let store = place.open().await;
        let lease = store.acquire().await.unwrap();
        apply(&store, &lease, vec![insert(1)]).await;
        leave(&place).unwrap();
        match store.commit(&lease, [insert(2)].into()).await {
            Err(CommitError::Damaged(reason)) => {
                assert!(reason.ends_with("was deleted or replaced while it was open"), "{reason}");
            }
            other => panic!("expected that the file is gone, got {other:?}"),
        }
        drop(lease);
        assert_is_damage(&store.acquire().await.unwrap_err());
    }
}
