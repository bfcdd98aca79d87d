//! The tables of a database: made by one of those that come at once, and of no newer version.

use coco_core::store::{Store, StoreError};
use coco_store::{SeaOrmStore, TestDatabase};
use tokio::task::JoinSet;

use super::ledger::in_time;
use super::stranger::Stranger;
use crate::support::{apply, id, insert};

const TURNS: &str = "pg_locks WHERE locktype = 'advisory' \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let database = TestDatabase::create().await;
    let mut stranger = Stranger::at(database.address()).await;
    stranger.say("INSERT INTO coco_migrations VALUES ('m0999_later', 0)").await;
    match SeaOrmStore::connect(database.address()).await {
        Err(StoreError::NewerSchema { found }) => assert!(found.contains("m0999_later")),
        other => panic!("expected a newer schema, got {other:?}"),
    }
}

#[tokio::test]
async fn those_who_come_at_once_make_the_tables_once() {
    in_time(async {
        let database = TestDatabase::create().await;
        let mut stranger = Stranger::at(database.address()).await;
        stranger.say("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
        let mut connects = JoinSet::new();
        for _ in 0..8 {
            let address = database.address().to_owned();
            connects.spawn(async move { SeaOrmStore::connect(&address).await });
        }
        let mut stores = Vec::new();
        while let Some(connected) = connects.join_next().await {
            stores.push(connected.unwrap().expect("the tables are made"));
        }
        let lease = stores[0].acquire().await.unwrap();
        apply(&stores[0], &lease, vec![insert(1)]).await;
        for store in &stores {
            assert!(store.entity(id(1)).await.unwrap().is_some());
        }
        // The server frees it when it has heard that the connection is closed.
        while stranger.count(TURNS).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The tables are made while somebody else has the turn to make them.
#[tokio::test]
async fn who_makes_the_tables_waits_for_its_turn() {
    in_time(async {
        let database = TestDatabase::create().await;
        let mut stranger = Stranger::at(database.address()).await;
        stranger.say("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
        stranger.rows("SELECT pg_advisory_lock(1668243311, 0)").await;
        let address = database.address().to_owned();
        let connecting = tokio::spawn(async move { SeaOrmStore::connect(&address).await });
        while stranger.count(&format!("{TURNS} AND NOT granted")).await == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stranger.count("pg_tables WHERE schemaname = 'public'").await, 0);
        stranger.rows("SELECT pg_advisory_unlock(1668243311, 0)").await;
        connecting.await.unwrap().expect("the tables are made");
    })
    .await;
}
