//! The server dies in the middle of a commit. What it had not written it has forgotten, and it gives
//! the numbers of those transactions to others.

use std::sync::Arc;

use coco_core::store::{CommitError, Store};
use coco_store::{SeaOrmStore, TestDatabase};

use super::cluster::{Cluster, End};
use super::ledger::in_time;
use super::proxy::{Fault, Proxy};
use super::stranger::Stranger;
use crate::support::{apply, id, insert};

/// A `COMMIT` meets `fault`, and the server dies. `others`: they come before the store does.
async fn dies(fault: Fault, others: bool) {
    let cluster = Cluster::start().await;
    let proxy = Proxy::before(&cluster.address()).await;
    let store = SeaOrmStore::connect(proxy.address()).await.unwrap();
    let lease = store.acquire().await.unwrap();
    Stranger::at(&cluster.address()).await.say("CREATE TABLE others (number INT)").await;
    apply(&store, &lease, vec![insert(1)]).await;
    proxy.strike(usize::MAX, fault);
    apply(&store, &lease, vec![insert(2)]).await;
    let statements = proxy.heal();
    proxy.strike(statements, fault);
    let steps = [insert(3)].into();
    let failed = store.commit(&lease, Arc::clone(&steps)).await;
    assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
    assert_eq!(proxy.struck(), 1);
    cluster.end(End::Immediate).await;
    cluster.begin().await;
    if others {
        let mut stranger = Stranger::at(&cluster.address()).await;
        for number in 0..10 {
            stranger.say(format!("INSERT INTO others VALUES ({number})")).await;
        }
    }
    loop {
        match store.commit(&lease, Arc::clone(&steps)).await {
            Err(CommitError::Unavailable(_)) => tokio::task::yield_now().await,
            committed => {
                committed.expect("it is committed");
                break;
            }
        }
    }
    for n in 1..=3 {
        assert!(store.entity(id(n)).await.unwrap().is_some(), "{n} is lost");
    }
}

#[tokio::test]
async fn what_it_forgot_is_done_again() {
    in_time(dies(Fault::CutBefore, false)).await;
}

#[tokio::test]
async fn what_it_forgot_is_done_again_though_others_have_its_number() {
    in_time(dies(Fault::CutBefore, true)).await;
}

#[tokio::test]
async fn what_it_has_written_is_not_done_again() {
    in_time(dies(Fault::CutAfter, true)).await;
}

/// What is stored to know of commits is forgotten, as they grow old and with their engine.
#[tokio::test]
async fn what_is_known_of_commits_does_not_grow() {
    in_time(async {
        let database = TestDatabase::create().await;
        let store = SeaOrmStore::connect(database.address()).await.unwrap();
        let lease = store.acquire().await.unwrap();
        for n in 1..=2500 {
            apply(&store, &lease, vec![insert(n)]).await;
        }
        let mut stranger = Stranger::at(database.address()).await;
        let known = stranger.count("commits").await;
        assert!((1024..=2048).contains(&known), "{known}");
        drop(lease);
        let after = store.acquire().await.unwrap();
        assert_eq!(stranger.count(&format!("commits WHERE epoch < {}", after.epoch)).await, 0);
    })
    .await;
}
