//! An engine that shows no life for as long as a lease: one that was taken over is told so, and one
//! that was not goes on.

use std::time::Duration;

use coco_core::EngineError;
use coco_core::prelude::*;
use coco_core::store::Store;
use coco_store::{Options, SeaOrmStore, TestDatabase};
use tokio::time::Instant;

use super::ledger::{Deed, Ledger, in_time, start};
use super::proxy::Proxy;
use super::stranger::Stranger;
use crate::support::{apply, id, insert};

const LEASE: Duration = Duration::from_secs(2);

async fn open(address: &str) -> SeaOrmStore {
    SeaOrmStore::connect_with(address, Options::default().lease(LEASE)).await.unwrap()
}

/// Lets the engines that run seem to do so on another machine.
async fn move_away(stranger: &mut Stranger) {
    stranger.say("UPDATE engines SET process = NULL").await;
}

fn is_stopped<T>(result: Result<T>) -> bool {
    result.is_err_and(|error| error.downcast_ref() == Some(&EngineError::Shutdown))
}

#[tokio::test]
async fn a_lease_is_heard_to_be_lost_without_a_commit() {
    in_time(async {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(database.address()).await;
        let store = open(proxy.address()).await;
        let lease = store.acquire().await.unwrap();
        apply(&store, &lease, vec![insert(1)]).await;
        move_away(&mut Stranger::at(database.address()).await).await;
        proxy.go_away();
        let other = open(database.address()).await;
        let taken = tokio::select! {
            biased;
            () = store.lost(&lease) => panic!("a server that is away is no lost lease"),
            taken = other.acquire() => taken.unwrap(),
        };
        assert_eq!(taken.engine_id, lease.engine_id);
        proxy.come_back();
        store.lost(&lease).await;
        store.lost(&lease).await;
        // The one after it has its own.
        tokio::select! {
            biased;
            () = other.lost(&taken) => panic!("it is not lost"),
            () = apply(&other, &taken, vec![insert(2)]) => {}
        }
        assert!(store.entity(id(2)).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_was_taken_over_during_an_outage_stops_when_it_is_over() {
    in_time(async {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(database.address()).await;
        let (ledger, others) = (Ledger::default(), Ledger::default());
        let first = start(open(proxy.address()).await, &ledger).await;
        ledger.close();
        let running = first.submit(Deed::new("running")).await.unwrap();
        ledger.until_waiting().await;
        move_away(&mut Stranger::at(database.address()).await).await;
        proxy.go_away();
        let second = start(open(database.address()).await, &others).await;
        assert_eq!(second.report().failed, [running.id()], "it may not run twice");
        assert_eq!(ledger.waiting(), 1);

        proxy.come_back();
        ledger.until_left().await;
        assert!(is_stopped(running.output().await));
        assert!(is_stopped(first.submit(Deed::new("late")).await));
        assert_eq!((ledger.done().len(), others.done().len()), (1, 0));
        second.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_was_not_taken_over_goes_on_after_any_outage() {
    in_time(async {
        let database = TestDatabase::create().await;
        let proxy = Proxy::before(database.address()).await;
        let ledger = Ledger::default();
        let engine = start(open(proxy.address()).await, &ledger).await;
        ledger.close();
        let running = engine.submit(Deed::new("running")).await.unwrap();
        ledger.until_waiting().await;
        let begun = Instant::now();
        proxy.go_away();
        while begun.elapsed() < 2 * LEASE {
            proxy.until_struck(proxy.struck() + 1).await;
        }
        ledger.open();
        proxy.come_back();
        assert_eq!(running.output().await.unwrap(), "running");
        assert_eq!(ledger.done()["running"], 1);
        engine.shutdown().await.unwrap();
    })
    .await;
}
