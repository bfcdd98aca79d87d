//! A server that is away, cannot be written, or has no connection left: the engine says so, waits,
//! and goes on by itself.

use std::time::Duration;

use coco_core::StoreState;
use coco_core::prelude::*;
use coco_core::store::{Store, StoreError};
use coco_store::{Options, SeaOrmStore, TestDatabase};
use tokio::task::JoinSet;

use super::ledger::{Deed, Ledger, in_time, start};
use super::proxy::{Fault, Proxy};
use super::stranger::Stranger;

/// Waits until the engine waits for the store, for this reason.
async fn until_away(engine: &Coordinator, expected: &str) {
    let is_away = || match engine.store_state() {
        StoreState::Unavailable { reason, .. } => reason.contains(expected),
        _ => false,
    };
    while !is_away() {
        tokio::task::yield_now().await;
    }
}

/// The trouble begins and ends: what is submitted meanwhile waits, and is done once.
async fn waits<B, E>(
    engine: &Coordinator,
    ledger: &Ledger,
    begin: impl AsyncFnOnce() -> B,
    end: impl AsyncFnOnce(B) -> E,
    expected: &str,
) {
    engine.submit(Deed::new("before")).await.unwrap().output().await.unwrap();
    ledger.close();
    let running = engine.submit(Deed::new("running")).await.unwrap();
    let begun = begin().await;
    ledger.open();
    let mut submits = JoinSet::new();
    for n in 0..100 {
        let engine = engine.clone();
        submits.spawn(async move { engine.submit(Deed::new(n.to_string())).await?.output().await });
    }
    until_away(engine, expected).await;
    assert!(submits.try_join_next().is_none(), "a submit did not wait");
    assert_eq!(ledger.done().len(), 2, "something began that is not stored");
    end(begun).await;
    assert_eq!(running.output().await.unwrap(), "running");
    while let Some(done) = submits.join_next().await {
        done.unwrap().expect("it is done");
    }
    assert_eq!(engine.store_state(), StoreState::Available);
    let done = ledger.done();
    assert_eq!(done.len(), 102);
    assert!(done.values().all(|times| *times == 1), "{done:?}");
}

#[tokio::test]
async fn a_server_that_is_away() {
    in_time(async {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(database.address()).await;
        let ledger = Ledger::default();
        let engine = start(SeaOrmStore::connect(proxy.address()).await.unwrap(), &ledger).await;
        let begin = async || {
            proxy.go_away();
        };
        let end = async |()| {
            proxy.until_struck(3).await;
            proxy.come_back();
        };
        waits(&engine, &ledger, begin, end, "").await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_cannot_be_written() {
    in_time(async {
        let database = TestDatabase::create().await;
        let ledger = Ledger::default();
        let engine = start(SeaOrmStore::connect(database.address()).await.unwrap(), &ledger).await;
        let begin = async || {
            let mut stranger = Stranger::at(database.address()).await;
            stranger.set("default_transaction_read_only = on").await;
            stranger.cut().await;
            // One that may write though others may not.
            stranger.say("SET default_transaction_read_only = off").await;
            stranger
        };
        let end = async |mut stranger: Stranger| {
            stranger.set("default_transaction_read_only = off").await;
        };
        waits(&engine, &ledger, begin, end, "read-only transaction").await;
    })
    .await;
}

#[tokio::test]
async fn a_server_without_a_connection_left() {
    in_time(async {
        let database = TestDatabase::create().await;
        let mut stranger = Stranger::at(database.address()).await;
        // The limits are not for a superuser.
        stranger.say("CREATE ROLE coco_few LOGIN; GRANT ALL ON SCHEMA public TO coco_few").await;
        stranger.say("GRANT ALL ON ALL TABLES IN SCHEMA public TO coco_few").await;
        let address = database.address().replace("//coco@", "//coco_few@");
        assert_ne!(address, database.address());
        let ledger = Ledger::default();
        let store = SeaOrmStore::connect(&address).await.unwrap();
        let engine = start(store, &ledger).await;
        let begin = async || {
            stranger.say("ALTER ROLE coco_few CONNECTION LIMIT 0").await;
            stranger.cut().await;
            let refused = SeaOrmStore::connect_with(
                &address,
                Options::default().connect_timeout(Duration::from_millis(200)),
            );
            let refused = refused.await.expect_err("there is no connection");
            assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
            stranger
        };
        let end = async |mut stranger: Stranger| {
            stranger.say("ALTER ROLE coco_few CONNECTION LIMIT 10").await;
            stranger
        };
        waits(&engine, &ledger, begin, end, "too many connections for role").await;
        engine.shutdown().await.unwrap();
        let mut stranger = Stranger::at(database.address()).await;
        stranger.say("DROP OWNED BY coco_few; DROP ROLE coco_few").await;
    })
    .await;
}

/// Whatever of the start stalls, it does not wait for ever.
#[tokio::test]
async fn a_start_that_stalls_is_given_up() {
    in_time(async {
        let options = Options::default()
            .connect_timeout(Duration::from_millis(500))
            .statement_timeout(Duration::from_millis(200));
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(database.address()).await;
        let open = || SeaOrmStore::connect_with(proxy.address(), options.clone());
        proxy.strike(usize::MAX, Fault::StallBefore);
        let store = open().await.unwrap();
        let connect = proxy.heal();
        proxy.strike(usize::MAX, Fault::StallBefore);
        drop(store.acquire().await.unwrap());
        let acquire = proxy.heal();
        assert!(connect >= 2 && acquire > 20, "{connect}, {acquire}");
        let mut cases = JoinSet::new();
        for n in 1..=connect + acquire {
            let options = options.clone();
            cases.spawn(async move {
                let database = TestDatabase::create().await;
                let proxy = Proxy::before(database.address()).await;
                proxy.strike(n, Fault::StallBefore);
                let failed = match SeaOrmStore::connect_with(proxy.address(), options).await {
                    Ok(store) => store.acquire().await.err(),
                    Err(error) => Some(error),
                };
                // What a connection that reads has not heard is asked again on another one.
                assert!(
                    matches!(failed, None | Some(StoreError::Unavailable(_))),
                    "{n}: {failed:?}"
                );
            });
        }
        cases.join_all().await;
    })
    .await;
}
