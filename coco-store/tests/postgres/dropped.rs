//! Futures that are dropped at any of their polls leave nothing open.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use coco_core::store::{Lease, Store};
use coco_store::{SeaOrmStore, TestDatabase};

use super::ledger::in_time;
use super::stranger::Stranger;
use crate::support::{apply, id, insert};

/// Polls a future so many times, each time when it asks for that. True when it was done then.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> bool {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops each future that `begin` makes one poll later than the one before, until one is done.
async fn at_each_poll<'s, T: 's, F: Future<Output = T>>(
    stranger: &mut Stranger,
    name: &str,
    mut begin: impl FnMut() -> F,
) {
    let mut times = 1;
    while !polled(begin(), times).await {
        times += 1;
        assert!(times < 1000, "{name} is never done");
    }
    // What goes on for a dropped future is over in a moment; what is forgotten is not.
    while stranger.open_transactions().await > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        drop(begin());
        assert!(!polled(begin(), 1).await, "{name} is done at once");
    }
    while stranger.open_transactions().await > 0 {
        tokio::task::yield_now().await;
    }
}

async fn store(database: &TestDatabase) -> (SeaOrmStore, Lease) {
    let store = SeaOrmStore::connect(database.address()).await.unwrap();
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, (1..=50).map(insert).collect()).await;
    (store, lease)
}

#[tokio::test]
async fn reads() {
    in_time(async {
        let database = TestDatabase::create().await;
        let (store, _lease) = store(&database).await;
        let mut stranger = Stranger::at(database.address()).await;
        at_each_poll(&mut stranger, "tree", || store.tree(id(1))).await;
        at_each_poll(&mut stranger, "open_trees", || store.open_trees(None, None, 100)).await;
        at_each_poll(&mut stranger, "entity", || store.entity(id(1))).await;
        at_each_poll(&mut stranger, "inbox", || store.inbox(id(1), 1)).await;
        at_each_poll(&mut stranger, "locks", || store.locks(None)).await;
        at_each_poll(&mut stranger, "audit", || store.audit(id(1))).await;
        // All connections can be used.
        let read = store.open_trees(None, None, 100).await.unwrap();
        assert_eq!(read.len(), 50);
    })
    .await;
}

#[tokio::test]
async fn commits() {
    in_time(async {
        let database = TestDatabase::create().await;
        let (store, lease) = store(&database).await;
        let mut stranger = Stranger::at(database.address()).await;
        for n in 100..110 {
            let done = polled(store.commit(&lease, Arc::new([insert(n)])), 1).await;
            assert!(!done, "a commit is done at once");
        }
        // It stands behind them.
        apply(&store, &lease, vec![insert(110)]).await;
        assert_eq!(stranger.open_transactions().await, 0);
        assert_eq!(stranger.count("command_entities").await, 50 + 11);
    })
    .await;
}

#[tokio::test]
async fn starts() {
    in_time(async {
        let database = TestDatabase::create().await;
        let (store, lease) = store(&database).await;
        let mut stranger = Stranger::at(database.address()).await;
        drop(lease);
        at_each_poll(&mut stranger, "acquire", || store.acquire()).await;
        let engines = stranger.count("engines").await;
        assert_eq!(engines, 1, "what was dropped is an engine");
        assert_eq!(store.open_trees(None, None, 100).await.unwrap().len(), 50);
    })
    .await;
}
