//! The writer: how much it does for a batch, and how it goes on after trouble.

#[path = "support/asking.rs"]
mod asking;
#[path = "support/counted.rs"]
mod counted;
mod support;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use coco_core::entity::{Audit, Compensation, Sleep};
use coco_core::lock::LockMode;
use coco_core::store::{CommitError, Outcome, Step, Store, Write};
use coco_core::{CommandStatus, Timestamp};
use coco_store::{Durability, Options, SeaOrmStore, Statistics};

use self::asking::{asking, lock};
use self::counted::{Counted, Kind, on_each_database};
use self::support::{Place, apply, id, insert, progress, run, step};

on_each_database!(
    a_batch_costs_the_same_statements_whatever_its_size,
    what_is_rare_costs_a_statement_each_and_only_where_it_is,
    an_offender_costs_a_few_statements_and_no_second_commit,
);

fn locked(n: u128) -> Step {
    asking(insert(n), n, &[], vec![lock(&n.to_string(), LockMode::Exclusive)])
}

fn update(n: u128) -> Step {
    step(n, Write::Update(id(n), Box::new(progress(CommandStatus::Succeeded))))
}

fn once(n: u128) -> Step {
    let result = coco_core::entity::OnceResult {
        command_id: id(n),
        root_command_id: id(n),
        position: 0,
        name: "reserve".into(),
        end_order: 1,
        ended_at: Timestamp::from_micros(1),
        return_value: None,
        failure: None,
        lock: None,
    };
    step(n, Write::Once(Box::new(result)))
}

/// So many statements, which find nothing, beside those around every batch.
const fn written(statements: u64) -> Statistics {
    Statistics { commits: 1, statements, rows: 0 }
}

async fn a_batch_costs_the_same_statements_whatever_its_size(kind: Kind) {
    let counted = Counted::open(kind).await;
    let mut next = 0;
    for size in [1, 2, 64, 500] {
        let ids = next + 1..=next + size;
        next += size;
        for (statements, batch) in [
            (kind.turn() + 3, ids.clone().map(locked).collect::<Vec<_>>()),
            (1, ids.clone().map(update).collect()),
            (1, ids.clone().map(once).collect()),
            (kind.turn() + 1, ids.clone().map(|n| step(n, Write::Release(id(n)))).collect()),
        ] {
            assert_eq!(counted.cost(batch).await, written(statements), "{size} steps");
        }
        // An insert with its lock, its update, its result and its release fold into one each.
        let ids = next + 1..=next + size;
        next += size;
        let release = |n| step(n, Write::Release(id(n)));
        let all = ids.flat_map(|n| [locked(n), update(n), once(n), release(n)]).collect();
        let expected = written(kind.turn() + 4);
        assert_eq!(counted.cost(all).await, expected, "{size} of everything");
    }
}

/// One write of each of the new kinds, in the tree of `n`, which is stored and holds a lock.
fn rarities(n: u128) -> Vec<Write> {
    let at = Timestamp::from_micros(1);
    let sleep =
        Sleep { command_id: id(n), root_command_id: id(n), position: 1, micros: 1, wake_at: at };
    let compensation = |position| Compensation {
        command_id: id(n),
        root_command_id: id(n),
        position,
        command_type: "delete_disk".into(),
        command_parameters: "{}".into(),
        end_order: 1,
        created_at: at,
        compensated_at: None,
    };
    let audit = Audit {
        at,
        action: "cancel".into(),
        command_id: id(n),
        root_command_id: id(n),
        status: CommandStatus::Active,
        reason: "why".into(),
        linked: None,
    };
    vec![
        Write::Sleep(Box::new(sleep)),
        Write::Register(Box::new(compensation(2))),
        Write::Register(Box::new(compensation(3))),
        Write::Compensated(id(n), at),
        Write::Audit(Box::new(audit)),
    ]
}

fn keyed(n: u128, key: u128) -> Step {
    let mut step = insert(n);
    if let [Write::Insert(entity)] = &mut step.writes[..] {
        entity.submit_key = Some(key.to_string().into());
    }
    step
}

async fn what_is_rare_costs_a_statement_each_and_only_where_it_is(kind: Kind) {
    let counted = Counted::open(kind).await;
    let mut next = 0;
    for size in [1, 2, 64, 500] {
        let ids = next + 1..=next + size;
        next += 5 * size;
        counted.cost(ids.clone().map(locked).collect()).await;
        let writes = ids.clone().flat_map(|n| rarities(n).into_iter().map(move |w| step(n, w)));
        // Sleeps, compensations, what was compensated, the audit.
        assert_eq!(counted.cost(writes.collect()).await, written(4), "{size}");
        let undone =
            ids.clone().map(|n| step(n, Write::Undone(id(n), 2, Timestamp::from_micros(2))));
        assert_eq!(counted.cost(undone.collect()).await, written(1), "{size}");
        // The keys that are taken, the inserts.
        let keys = ids.clone().map(|n| keyed(n + size, n));
        assert_eq!(counted.cost(keys.collect()).await, written(2), "{size}");
        let again = ids.clone().map(|n| keyed(n + 2 * size, n));
        let (committed, cost) = counted.commit(again.collect()).await;
        let expected_outcomes: Vec<_> =
            ids.clone().map(|n| Outcome::Duplicate(id(n + size))).collect();
        assert_eq!(committed.outcomes, expected_outcomes);
        assert_eq!(cost.statements, 1, "{size}");
        // Duplicates of each other are found without a statement.
        let twice = ids.clone().flat_map(|n| [3, 4].map(|times| keyed(n + times * size, n + size)));
        let (committed, cost) = counted.commit(twice.collect()).await;
        let applied =
            committed.outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
        assert_eq!(applied as u128, size);
        assert_eq!(cost.statements, 2, "{size}");
        // What they hold, its deletion, its insertion.
        let passes = ids.clone().map(|n| {
            let to = id(n + size);
            step(n, Write::Pass { from: id(n), to, command_type: "move_disk".into() })
        });
        let expected = Statistics { rows: size as u64, ..written(kind.turn() + 3) };
        assert_eq!(counted.cost(passes.collect()).await, expected, "{size}");
    }
}

async fn an_offender_costs_a_few_statements_and_no_second_commit(kind: Kind) {
    let counted = Counted::open(kind).await;
    counted.cost(vec![insert(77)]).await;
    let (committed, cost) = counted.commit((1..=500).map(insert).collect()).await;
    let outcomes = committed.outcomes;
    let applied = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
    assert_eq!(applied, 499);
    match &outcomes[76] {
        Outcome::Rejected(reason) => assert!(reason.to_lowercase().contains("unique"), "{reason}"),
        other => panic!("expected a rejection, got {other:?}"),
    }
    assert!(cost.statements < 77, "{cost:?}");
}

#[tokio::test]
async fn a_dropped_commit_leaves_no_transaction_open() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let steps: Arc<[Step]> = (1..=100).map(insert).collect();
    let mut commit = store.commit(&lease, steps);
    let first = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
    assert!(first.is_pending(), "the commit was done at the first poll");
    drop(commit);

    // The next commit stands behind it in the writer's queue, so the first is over after it.
    apply(&store, &lease, vec![insert(1000)]).await;
    let mut other = place.stranger().await;
    run(&mut other, "PRAGMA busy_timeout = 0").await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    run(&mut other, "ROLLBACK").await;
    assert!(store.entity(id(100)).await.unwrap().is_some(), "what was ordered is done");
}

#[tokio::test]
async fn a_table_that_is_missing_is_no_fault_of_the_data_and_heals() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let mut other = place.stranger().await;
    run(&mut other, "ALTER TABLE command_entities RENAME TO gone").await;
    let failed = store.commit(&lease, vec![insert(1), insert(2)].into()).await;
    assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
    run(&mut other, "ALTER TABLE gone RENAME TO command_entities").await;
    apply(&store, &lease, vec![insert(1), insert(2)]).await;
}

#[tokio::test]
async fn an_engine_that_the_file_does_not_know_is_lost() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let mut other = place.stranger().await;
    run(&mut other, "DELETE FROM engines").await;
    let failed = store.commit(&lease, vec![insert(1)].into()).await;
    assert!(matches!(failed, Err(CommitError::Lost)), "{failed:?}");
    assert_eq!(store.statistics().commits, 0);
    assert_eq!(store.entity(id(1)).await.unwrap(), None);
}

#[tokio::test]
async fn relaxed_durability_commits_as_well() {
    let place = Place::new();
    let options = Options::default().durability(Durability::Relaxed);
    let store = SeaOrmStore::connect_with(&place.address(), options).await.unwrap();
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![insert(1)]).await;
    assert!(store.entity(id(1)).await.unwrap().is_some());
}

/// A writer lives in the runtime in which the store was acquired.
#[test]
fn a_writer_that_has_ended_is_not_waited_for() {
    let place = Place::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (store, lease) = first.block_on(async {
        let store = place.open().await;
        let lease = store.acquire().await.unwrap();
        (store, lease)
    });
    second.block_on(async move {
        // It is on its way to the writer when that ends.
        let mut commit = store.commit(&lease, [insert(1)].into());
        let sent = poll_fn(|cx| Poll::Ready(commit.as_mut().poll(cx))).await;
        assert!(sent.is_pending(), "{sent:?}");
        first.shutdown_background();
        match commit.await {
            Err(CommitError::Unresolved(reason)) => assert_eq!(reason, "the writer has ended"),
            other => panic!("expected a commit that is not resolved, got {other:?}"),
        }
        match store.commit(&lease, [insert(1)].into()).await {
            Err(CommitError::Unavailable(reason)) => assert_eq!(reason, "the writer has ended"),
            other => panic!("expected that the store cannot be written, got {other:?}"),
        }
        let error = store.release(lease, true).await.unwrap_err();
        assert_eq!(error.to_string(), "the store is unavailable: the writer has ended");
    });
}
