//! Several engines in one database: each has a row of its own, and its own trees.

use std::time::Duration;

use coco_core::store::{CommitError, Store};
use coco_core::{CommandStatus, EngineError};
use coco_store::{Options, SeaOrmStore, TestDatabase};
use sea_orm::sqlx::Row;
use tokio::time::Instant;

use super::ledger::{Deed, Ledger, in_time, start};
use super::stranger::Stranger;
use crate::support::{apply, id, insert};

const LEASE: Duration = Duration::from_secs(2);

async fn open(database: &TestDatabase) -> SeaOrmStore {
    let options = Options::default().lease(LEASE);
    SeaOrmStore::connect_with(database.address(), options).await.unwrap()
}

#[tokio::test]
async fn a_second_engine_leaves_the_trees_of_the_first_alone() {
    in_time(async {
        let database = TestDatabase::create().await;
        let (ledger, others) = (Ledger::default(), Ledger::default());
        let first = start(open(&database).await, &ledger).await;
        ledger.close();
        let running = first.submit(Deed::new("first")).await.unwrap();
        let second = start(open(&database).await, &others).await;
        assert!(second.report().resumed.is_empty(), "{:?}", second.report());
        let own = second.submit(Deed::new("second")).await.unwrap();
        assert_eq!(own.output().await.unwrap(), "second");
        let mut stranger = Stranger::at(database.address()).await;
        assert_eq!(stranger.count("engines").await, 2);

        // What an operator asks of the wrong engine is refused, and changes nothing.
        for refused in [
            second.cancel(running.id(), "why").await,
            second.retry(running.id()).await,
            second.abandon(running.id(), "why").await,
        ] {
            let error = refused.expect_err("it belongs to another engine");
            let error = error.downcast_ref::<EngineError>().expect("an error of the engine");
            assert_eq!(*error, EngineError::OtherEngine(running.id()));
        }
        let handle = second.handle::<Deed>(running.id()).await.expect_err("it would never end");
        assert_eq!(handle.downcast_ref(), Some(&EngineError::OtherEngine(running.id())));
        assert_eq!(running.status().await.unwrap(), CommandStatus::Active);
        ledger.open();
        assert_eq!(running.output().await.unwrap(), "first");
        assert_eq!((ledger.done()["first"], others.done().get("first")), (1, None));

        second.shutdown().await.unwrap();
        first.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_trees_of_a_dead_engine_are_taken_over() {
    in_time(async {
        let database = TestDatabase::create().await;
        let (ledger, others) = (Ledger::default(), Ledger::default());
        let first = start(open(&database).await, &ledger).await;
        let second = start(open(&database).await, &others).await;
        let later = first.submit_after(Duration::from_secs(600), Deed::new("later")).await.unwrap();
        let kept = second.submit_after(Duration::from_secs(600), Deed::new("kept")).await.unwrap();
        drop(first);
        let third = loop {
            // It is dead when its task has ended.
            let third = start(open(&database).await, &ledger).await;
            if !third.report().resumed.is_empty() {
                break third;
            }
            third.shutdown().await.unwrap();
        };
        assert_eq!(third.report().resumed, [later.id()]);
        third.cancel(later.id(), "over").await.unwrap();
        second.cancel(kept.id(), "over").await.unwrap();
    })
    .await;
}

async fn heartbeat(stranger: &mut Stranger) -> i64 {
    stranger.rows("SELECT heartbeat FROM engines").await[0].get(0)
}

#[tokio::test]
async fn an_engine_elsewhere_is_alive_as_long_as_its_heart_beats() {
    in_time(async {
        let database = TestDatabase::create().await;
        let store = open(&database).await;
        let lease = store.acquire().await.unwrap();
        apply(&store, &lease, vec![insert(1)]).await;
        let mut stranger = Stranger::at(database.address()).await;
        stranger.say("UPDATE engines SET process = NULL, holder = 'elsewhere'").await;
        let before = heartbeat(&mut stranger).await;
        let begun = Instant::now();
        let other = open(&database).await.acquire().await.unwrap();
        assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
        assert_ne!(other.engine_id, lease.engine_id);
        assert!(heartbeat(&mut stranger).await > before || stranger.count("engines").await == 2);
        apply(&store, &lease, vec![insert(2)]).await;
    })
    .await;
}

#[tokio::test]
async fn an_engine_elsewhere_is_dead_when_its_heart_stands_still() {
    in_time(async {
        let database = TestDatabase::create().await;
        let store = open(&database).await;
        let lease = store.acquire().await.unwrap();
        apply(&store, &lease, vec![insert(1)]).await;
        let mut stranger = Stranger::at(database.address()).await;
        // It lives, but its heart does not beat: another one beats for nobody.
        stranger
            .say(
                "CREATE FUNCTION still() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN IF NEW.epoch = OLD.epoch THEN RETURN NULL; END IF; RETURN NEW; END'; \
                 UPDATE engines SET process = NULL; \
                 CREATE TRIGGER still BEFORE UPDATE ON engines FOR EACH ROW EXECUTE FUNCTION still()",
            )
            .await;
        let begun = Instant::now();
        let other = open(&database).await.acquire().await.unwrap();
        assert!(begun.elapsed() >= LEASE, "{:?}", begun.elapsed());
        assert_eq!(other.engine_id, lease.engine_id);
        assert!(other.epoch > lease.epoch && !other.clean);
        let lost = store.commit(&lease, [insert(2)].into()).await;
        assert!(matches!(lost, Err(CommitError::Lost)), "{lost:?}");
        assert!(store.entity(id(2)).await.unwrap().is_none());
        let taken = store.open_trees(Some(other.engine_id), None, 10).await.unwrap();
        assert_eq!(taken.len(), 1);
    })
    .await;
}

/// Nothing is asked of it meanwhile.
#[tokio::test]
async fn the_heart_of_an_engine_beats_while_it_has_nothing_to_do() {
    in_time(async {
        let database = TestDatabase::create().await;
        let store = open(&database).await;
        let _lease = store.acquire().await.unwrap();
        let mut stranger = Stranger::at(database.address()).await;
        let before = heartbeat(&mut stranger).await;
        let begun = Instant::now();
        while heartbeat(&mut stranger).await < before + 3 {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() < LEASE, "{:?}", begun.elapsed());
    })
    .await;
}
