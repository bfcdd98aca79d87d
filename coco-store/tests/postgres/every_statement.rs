//! Each statement of a commit in turn meets each fault. In the end the batch is applied once, and
//! who asked for it is told what it has done.

use std::sync::Arc;
use std::time::Duration;

use coco_core::entity::{Audit, OnceResult, Published, Sleep, Subscription, TreeRows};
use coco_core::lock::LockMode;
use coco_core::store::{CommitError, Committed, Lease, LockRows, Step, Store, Write};
use coco_core::{CommandStatus, Timestamp};
use coco_store::{Options, SeaOrmStore, TestDatabase};
use tokio::task::JoinSet;

use super::ledger::in_time;
use super::proxy::{Fault, Proxy};
use super::stranger::Stranger;
use crate::asking::{asking, lock, waiting};
use crate::support::{id, insert, progress, step};

const AT: Timestamp = Timestamp::from_micros(1);

fn exclusive(step: Step, n: u128, key: &str) -> Step {
    asking(step, n, &[], vec![lock(key, LockMode::Exclusive)])
}

/// The root 1 has a lock, and the root 2 waits for it, and for an event.
fn before() -> Vec<Step> {
    let key = "host|1".into();
    let listens = Subscription { command_id: id(2), root_command_id: id(2), key, created_at: AT };
    vec![
        exclusive(insert(1), 1, "a"),
        insert(2),
        waiting(step(2, Write::Release(id(2))), 2, &[], vec![lock("a", LockMode::Exclusive)]),
        step(2, Write::Subscribe(Box::new(listens))),
    ]
}

/// Something of everything.
fn batch() -> Arc<[Step]> {
    let mut keyed = insert(3);
    if let [Write::Insert(row)] = &mut keyed.writes[..] {
        row.submit_key = Some("key".into());
    }
    let result = OnceResult {
        command_id: id(3),
        root_command_id: id(3),
        position: 0,
        name: "reserve".into(),
        end_order: 1,
        ended_at: AT,
        return_value: None,
        failure: None,
        lock: None,
    };
    let sleep =
        Sleep { command_id: id(3), root_command_id: id(3), position: 1, micros: 1, wake_at: AT };
    let audit = Audit {
        at: AT,
        action: "cancel".into(),
        command_id: id(1),
        root_command_id: id(1),
        status: CommandStatus::Active,
        reason: "why".into(),
        linked: None,
    };
    let event = Published {
        event_id: "first".into(),
        key: "host|1".into(),
        payload: "{}".into(),
        published_at: AT,
    };
    [
        step(1, Write::Update(id(1), Box::new(progress(CommandStatus::Succeeded)))),
        step(1, Write::Release(id(1))),
        exclusive(keyed, 3, "b"),
        exclusive(insert(4), 4, "b"),
        step(3, Write::Once(Box::new(result))),
        step(3, Write::Sleep(Box::new(sleep))),
        step(1, Write::Audit(Box::new(audit))),
        step(3, Write::Publish(Box::new(event))),
    ]
    .into()
}

/// As an engine does it.
async fn commit(store: &SeaOrmStore, lease: &Lease, steps: Arc<[Step]>) -> Committed {
    loop {
        match store.commit(lease, Arc::clone(&steps)).await {
            Err(CommitError::Unavailable(_)) => tokio::task::yield_now().await,
            committed => return committed.expect("the batch is committed"),
        }
    }
}

/// What is in the database.
#[derive(Debug, PartialEq)]
struct Stored {
    trees: Vec<Option<TreeRows>>,
    locks: LockRows,
    audit: Vec<Audit>,
    events: usize,
}

async fn stored(database: &TestDatabase) -> Stored {
    let store = SeaOrmStore::connect(database.address()).await.unwrap();
    let mut trees = Vec::new();
    for n in 1..=4 {
        trees.push(store.tree(id(n)).await.unwrap());
    }
    let mut locks = store.locks(None).await.unwrap();
    locks.held.sort_by_key(|held| held.owner);
    let events = store.inbox(id(2), 10).await.unwrap().len();
    Stored { trees, locks, audit: store.audit(id(1)).await.unwrap(), events }
}

/// How many statements the commit has, what it says, and what is stored then; with `fault` at one of
/// them, which is struck.
async fn case(fault: Option<(usize, Fault)>) -> (usize, Committed, Stored) {
    let database = TestDatabase::create().await;
    let proxy = Proxy::before(database.address()).await;
    let options = Options::default()
        .statement_timeout(Duration::from_millis(700))
        .connect_timeout(Duration::from_secs(2))
        // No heartbeat comes between.
        .lease(Duration::from_secs(600));
    let store = SeaOrmStore::connect_with(proxy.address(), options).await.unwrap();
    let lease = store.acquire().await.unwrap();
    commit(&store, &lease, before().into()).await;
    match fault {
        Some((n, fault)) => proxy.strike(n, fault),
        None => proxy.strike(usize::MAX, Fault::CutBefore),
    }
    let committed = commit(&store, &lease, batch()).await;
    assert_eq!(proxy.struck(), usize::from(fault.is_some()), "{fault:?}");
    let statements = proxy.heal();
    let found = stored(&database).await;
    // It goes on, and holds nothing up.
    commit(&store, &lease, [insert(5)].into()).await;
    let mut stranger = Stranger::at(database.address()).await;
    assert_eq!(stranger.count("command_entities").await, 4, "{fault:?}");
    if !matches!(fault, Some((_, Fault::StallBefore | Fault::StallAfter))) {
        assert_eq!(stranger.open_transactions().await, 0, "{fault:?}");
    }
    (statements, committed, found)
}

async fn each_statement_meets(fault: Fault) {
    let (statements, committed, found) = case(None).await;
    assert_eq!(committed.granted.len(), 1, "{committed:?}");
    assert_eq!(committed.delivered.len(), 1, "{committed:?}");
    assert_eq!(found.events, 1);
    assert!(statements > 12, "only {statements}");
    let mut cases = JoinSet::new();
    for n in 1..=statements {
        cases.spawn(async move { (n, case(Some((n, fault))).await) });
    }
    while let Some(done) = cases.join_next().await {
        let (n, (_, answer, state)) = done.unwrap();
        assert_eq!(answer, committed, "{fault:?} at {n} of {statements}");
        assert_eq!(state, found, "{fault:?} at {n} of {statements}");
    }
}

#[tokio::test]
async fn each_statement_is_cut_before_the_server_has_it() {
    in_time(each_statement_meets(Fault::CutBefore)).await;
}

#[tokio::test]
async fn each_statement_is_cut_while_the_server_does_it() {
    in_time(each_statement_meets(Fault::CutDuring)).await;
}

#[tokio::test]
async fn each_answer_is_lost() {
    in_time(each_statement_meets(Fault::CutAfter)).await;
}

#[tokio::test]
async fn each_statement_stalls_before_the_server_has_it() {
    in_time(each_statement_meets(Fault::StallBefore)).await;
}

#[tokio::test]
async fn each_answer_stalls() {
    in_time(each_statement_meets(Fault::StallAfter)).await;
}

/// The future of the commit is dropped at each statement: the next one finds the batch applied.
#[tokio::test]
async fn a_commit_whose_caller_has_gone_is_resolved() {
    in_time(async {
        let (statements, _, expected) = case(None).await;
        for fault in [Fault::CutBefore, Fault::CutAfter] {
            let database = TestDatabase::create().await;
            let proxy = Proxy::before(database.address()).await;
            let store = SeaOrmStore::connect(proxy.address()).await.unwrap();
            let lease = store.acquire().await.unwrap();
            commit(&store, &lease, before().into()).await;
            proxy.strike(statements, fault);
            let steps = batch();
            let failed = store.commit(&lease, Arc::clone(&steps)).await;
            assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
            // Another batch, though the engine would not: what was not known is, before it.
            commit(&store, &lease, [insert(9)].into()).await;
            let found = stored(&database).await;
            match fault {
                Fault::CutAfter => assert_eq!(found, expected),
                _ => assert_eq!(found.trees[2], None),
            }
        }
    })
    .await;
}
