//! Engines under load, while connections are cut, and while the server is stopped and started: what
//! was submitted is done, each deed once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coco_core::store::Store;
use coco_store::{SeaOrmStore, TestDatabase};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cluster::{Cluster, End};
use super::ledger::{Deed, Deeds, Ledger, in_time, start};
use super::proxy::Proxy;
use super::stranger::Stranger;

/// Each of `deeds` was done once, and nothing else; and nothing is left of it in the database.
async fn each_once(ledger: &Ledger, deeds: impl Iterator<Item = String>, stranger: &mut Stranger) {
    let done = ledger.done();
    let twice: Vec<_> = done.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "done twice: {twice:?}");
    let expected: Vec<String> = deeds.collect();
    let lost: Vec<_> = expected.iter().filter(|deed| !done.contains_key(*deed)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let open = "command_entities WHERE status NOT IN ('ended_successfully')";
    assert_eq!(stranger.count(open).await, 0);
    assert_eq!(stranger.count("command_locks").await, 0);
    assert_eq!(stranger.count("lock_waiters").await, 0);
}

#[tokio::test]
async fn cuts_at_random_lose_nothing_and_do_nothing_twice() {
    let mut cuts = 0;
    for seed in 1..=4 {
        cuts += in_time(cut_at_random(seed)).await;
    }
    assert!(cuts >= 20, "only {cuts}");
}

/// How many cuts there were.
async fn cut_at_random(seed: u64) -> usize {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(database.address()).await;
    let ledger = Ledger::default();
    let engine = start(SeaOrmStore::connect(proxy.address()).await.unwrap(), &ledger).await;
    proxy.cut_at_random(seed, 20);
    let mut trees = JoinSet::new();
    for n in 0..40 {
        let engine = engine.clone();
        trees.spawn(async move {
            let name = format!("tree {n}");
            let deeds = Deeds { name, shared: format!("shared {}", n % 7) };
            let handle = engine.submit(deeds).await.expect("it is submitted");
            handle.output().await.expect("it succeeds")
        });
    }
    let mut expected = Vec::new();
    while let Some(done) = trees.join_next().await {
        expected.extend(done.unwrap());
    }
    assert_eq!(expected.len(), 40 * 3);
    proxy.heal();
    let mut stranger = Stranger::at(database.address()).await;
    each_once(&ledger, expected.into_iter(), &mut stranger).await;
    engine.shutdown().await.unwrap();
    proxy.struck()
}

/// How many submits are at work at a time.
const SUBMITTERS: usize = 8;
/// How many are done between a start of the server and its next end.
const BETWEEN: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_ten_times_loses_nothing_and_nothing_is_done_twice() {
    let cluster = Cluster::start().await;
    let ledger = Ledger::default();
    let store = SeaOrmStore::connect(&cluster.address()).await.unwrap();
    let engine = start(store.clone(), &ledger).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let done = watch::Sender::new(0_usize);
    let mut submitters = JoinSet::new();
    for submitter in 0..SUBMITTERS {
        let (engine, is_over, done) = (engine.clone(), Arc::clone(&is_over), done.clone());
        submitters.spawn(async move {
            let mut submitted = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                let name = format!("{submitter} {}", submitted.len());
                let shared = format!("shared {}", submitter % 3);
                let deed = Deed { key: shared, name: name.clone() };
                let handle = engine.submit(deed).await.expect("it is submitted");
                submitted.push(name.clone());
                assert_eq!(handle.output().await.expect("it succeeds"), name);
                done.send_modify(|done| *done += 1);
            }
            submitted
        });
    }
    let mut progress = done.subscribe();
    for round in 0..10 {
        let enough = *progress.borrow_and_update() + BETWEEN;
        let back = progress.wait_for(|done| *done >= enough);
        in_time(back).await.expect("the engine comes back by itself");
        cluster.end(if round % 2 == 0 { End::Immediate } else { End::Fast }).await;
        cluster.begin().await;
    }
    let enough = *progress.borrow_and_update() + BETWEEN;
    in_time(progress.wait_for(|done| *done >= enough)).await.expect("it comes back");
    is_over.store(true, Ordering::SeqCst);
    let submitted = in_time(submitters.join_all()).await.concat();
    let mut stranger = Stranger::at(&cluster.address()).await;
    each_once(&ledger, submitted.into_iter(), &mut stranger).await;
    assert!(store.open_trees(None, None, 1).await.unwrap().is_empty());
    engine.shutdown().await.unwrap();
}
