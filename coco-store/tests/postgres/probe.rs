//! A server that is not what it says, or is set up so that commits may be lost, is refused; with the
//! reason.

use coco_core::store::{Store, StoreError};
use coco_store::{Durability, Options, SeaOrmStore, TestDatabase};
use tokio::task::JoinSet;

use super::ledger::in_time;
use super::stranger::Stranger;

async fn acquired(database: &TestDatabase, options: Options) -> Result<(), StoreError> {
    let store = SeaOrmStore::connect_with(database.address(), options).await?;
    store.acquire().await.map(drop)
}

/// Why the server is refused.
async fn unsuitable(database: &TestDatabase) -> String {
    match acquired(database, Options::default()).await {
        Err(StoreError::Unsuitable(reason)) => reason,
        other => panic!("expected that the server is refused, got {other:?}"),
    }
}

/// A function of the server's does something else.
async fn refused(function: &str, expected: &str) {
    let database = TestDatabase::create().await;
    acquired(&database, Options::default()).await.expect("it is a server");
    let mut stranger = Stranger::at(database.address()).await;
    stranger.say(format!("CREATE SCHEMA stub; CREATE FUNCTION stub.{function}")).await;
    stranger.set("search_path = stub, pg_catalog, public").await;
    let reason = unsuitable(&database).await;
    assert!(reason.contains(expected), "{function}: {reason}");
    stranger.set("search_path = public").await;
    acquired(&database, Options::default()).await.expect("it is a server again");
}

#[tokio::test]
async fn stubs() {
    in_time(async {
        for answer in ["true", "false"] {
            let lock = format!(
                "pg_try_advisory_xact_lock(a int, b int) RETURNS boolean LANGUAGE sql AS 'SELECT {answer}'"
            );
            refused(&lock, "advisory locks").await;
        }
        for answer in ["NULL", "'in progress'", "'committed'", "'aborted'"] {
            let answer = answer.replace('\'', "''");
            let status = format!(
                "pg_xact_status(a xid8) RETURNS text LANGUAGE sql AS 'SELECT {answer}::text'"
            );
            refused(&status, "pg_xact_status").await;
        }
        let fails = "pg_xact_status(a xid8) RETURNS text LANGUAGE plpgsql AS \
                     'BEGIN RAISE feature_not_supported; END'";
        refused(fails, "").await;
    })
    .await;
}

#[tokio::test]
async fn commits_that_are_not_synced() {
    in_time(async {
        let database = TestDatabase::create().await;
        let mut stranger = Stranger::at(database.address()).await;
        stranger.set("synchronous_commit = off").await;
        let reason = unsuitable(&database).await;
        assert!(reason.contains("synchronous_commit"), "{reason}");
        let relaxed = Options::default().durability(Durability::Relaxed);
        acquired(&database, relaxed).await.expect("that is what was asked for");
        stranger.set("synchronous_commit = local").await;
        acquired(&database, Options::default()).await.expect("it is synced");
    })
    .await;
}

#[tokio::test]
async fn another_isolation_level_of_the_database_is_of_no_matter() {
    in_time(async {
        for level in ["serializable", "repeatable read"] {
            let database = TestDatabase::create().await;
            let mut stranger = Stranger::at(database.address()).await;
            stranger.set(&format!("default_transaction_isolation = \"{level}\"")).await;
            acquired(&database, Options::default()).await.expect(level);
        }
    })
    .await;
}

/// Each of them probes the server at the same time as the others.
#[tokio::test]
async fn engines_that_start_at_once_do_not_take_each_other_for_a_stub() {
    in_time(async {
        let database = TestDatabase::create().await;
        let mut starts = JoinSet::new();
        for _ in 0..12 {
            let address = database.address().to_owned();
            starts.spawn(async move {
                let store = SeaOrmStore::connect(&address).await.unwrap();
                let lease = store.acquire().await.expect("it is a server");
                (store, lease)
            });
        }
        let leases = starts.join_all().await;
        let mut epochs: Vec<i64> = leases.iter().map(|(_, lease)| lease.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        assert_eq!(epochs.len(), 12);
        let mut stranger = Stranger::at(database.address()).await;
        assert_eq!(stranger.count("engines").await, 12);
    })
    .await;
}
