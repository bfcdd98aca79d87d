//! The store is away for a while: the engine says so, waits, and goes on by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coco_core::StoreState;
use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use coco_core::testing::FaultyStore;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often each was done. Those who do it wait while it is closed.
#[derive(Clone, Default)]
struct Ledger {
    done: Arc<Mutex<BTreeMap<u32, usize>>>,
    is_closed: Arc<watch::Sender<bool>>,
    begun: Arc<watch::Sender<usize>>,
}

/// It may not run twice.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "outages_deed", needs(Ledger))]
struct Deed(u32);

impl Execute for Deed {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        let ledger: &Ledger = cx.get();
        *ledger.done.lock().unwrap().entry(self.0).or_default() += 1;
        ledger.begun.send_modify(|begun| *begun += 1);
        let _ = ledger.is_closed.subscribe().wait_for(|is_closed| !is_closed).await;
        Ok(self.0)
    }
}

async fn start(store: &FaultyStore<MemoryStore>, ledger: &Ledger) -> Coordinator {
    let builder = Coordinator::builder(store.clone()).provide(ledger.clone());
    builder.on_tokio_time().start().await.unwrap()
}

fn reason(engine: &Coordinator) -> Option<String> {
    match engine.store_state() {
        StoreState::Unavailable { reason, .. } => Some(reason),
        _ => None,
    }
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(3600), test).await.expect("the test hangs");
}

#[tokio::test(start_paused = true)]
async fn what_is_submitted_while_the_store_is_away_waits_and_is_done_once() {
    in_time(async {
        let (ledger, store) = (Ledger::default(), FaultyStore::new(MemoryStore::default()));
        let engine = start(&store, &ledger).await;
        assert_eq!(engine.store_state(), StoreState::Available);
        store.go_away();
        // More than wait in the queue of the engine.
        let mut submits = JoinSet::new();
        for n in 0..3000 {
            let engine = engine.clone();
            submits.spawn(async move { engine.submit(Deed(n)).await?.output().await });
        }
        store.refused(3).await;
        let begun = engine.store_state();
        assert_eq!(reason(&engine).as_deref(), Some("it cannot be reached"));
        store.refused(5).await;
        assert_eq!(engine.store_state(), begun, "it is the same outage");
        assert!(ledger.done.lock().unwrap().is_empty(), "something began that is not stored");
        assert!(submits.try_join_next().is_none(), "a submit did not wait");

        store.come_back();
        while let Some(done) = submits.join_next().await {
            done.unwrap().expect("it is done");
        }
        assert_eq!(engine.store_state(), StoreState::Available);
        let done = ledger.done.lock().unwrap().clone();
        assert_eq!(done, (0..3000).map(|n| (n, 1)).collect());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_ends_while_the_store_is_away_has_ended_when_it_is_back() {
    in_time(async {
        let (ledger, store) = (Ledger::default(), FaultyStore::new(MemoryStore::default()));
        let engine = start(&store, &ledger).await;
        ledger.is_closed.send_replace(true);
        let leaf = engine.submit(Deed(1)).await.unwrap();
        let mut begun = ledger.begun.subscribe();
        begun.wait_for(|begun| *begun == 1).await.unwrap();
        store.go_away();
        ledger.is_closed.send_replace(false);
        store.refused(3).await;
        assert!(reason(&engine).is_some());
        // Who reads by himself is told, and does not wait.
        assert!(leaf.status().await.is_err());
        store.come_back();
        assert_eq!(leaf.output().await.unwrap(), 1);
        assert_eq!(ledger.done.lock().unwrap()[&1], 1);
        assert_eq!(engine.store_state(), StoreState::Available);
    })
    .await;
}

/// One of three trees has room in memory: the others are read when it is over.
#[tokio::test(start_paused = true)]
async fn trees_that_cannot_be_read_are_read_when_the_store_is_back() {
    in_time(async {
        let (ledger, store) = (Ledger::default(), FaultyStore::new(MemoryStore::default()));
        let builder = Coordinator::builder(store.clone()).provide(ledger.clone());
        let engine = builder.on_tokio_time().most_trees(1).start().await.unwrap();
        ledger.is_closed.send_replace(true);
        let mut trees = Vec::new();
        for n in 0..3 {
            trees.push(engine.submit(Deed(n)).await.unwrap());
        }
        store.refuse_reads();
        ledger.is_closed.send_replace(false);
        store.refused(3).await;
        assert_eq!(
            reason(&engine).as_deref(),
            Some("the store is unavailable: it cannot be reached")
        );
        assert_eq!(ledger.done.lock().unwrap().len(), 1);
        store.come_back();
        for (n, tree) in (0..).zip(&trees) {
            assert_eq!(tree.output().await.unwrap(), n);
        }
        assert_eq!(engine.store_state(), StoreState::Available);
    })
    .await;
}
