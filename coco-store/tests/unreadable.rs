//! Somebody has put into a column what no store would, and the pages and commits go on.

mod support;

use std::sync::Arc;

use coco_core::Timestamp;
use coco_core::entity::TreeRows;
use coco_core::lock::{Lock, LockMode, LockRequest};
use coco_core::store::{CommitError, Lease, Outcome, Step, Store};
use coco_store::SeaOrmStore;

use self::support::{Place, apply, id, insert, run};

/// The root `n` with a lock on `key`.
fn locking(n: u128, key: &str, mode: LockMode) -> Step {
    let lock = Lock { group: "disk".into(), key: key.to_owned(), mode };
    let request = LockRequest {
        owner: id(n),
        ancestors: Vec::new(),
        command_type: "move_disk".into(),
        locks: vec![lock],
        at: Timestamp::from_micros(1),
    };
    Step { request: Some(Arc::new(request)), ..insert(n) }
}

async fn commit(store: &SeaOrmStore, lease: &Lease, steps: Vec<Step>) -> Vec<Outcome> {
    store.commit(lease, steps.into()).await.expect("failed to commit")
}

#[tokio::test]
async fn roots_without_identity_are_on_no_page() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, (1..=6).map(insert).collect()).await;
    let sql = "UPDATE command_entities SET command_id = CASE substr(command_id, 16) \
               WHEN x'01' THEN x'00' WHEN x'02' THEN NULL WHEN x'03' THEN 'the third of six' \
               ELSE command_id END";
    run(&mut place.stranger().await, sql).await;
    for (after, expected) in [(None, vec![id(4), id(5)]), (Some(id(5)), vec![id(6)])] {
        let page = store.open_trees(after, 2).await.unwrap();
        let roots: Vec<_> = page.iter().filter_map(TreeRows::root).collect();
        assert_eq!(roots, expected);
    }
    let tree = store.tree(id(1)).await.unwrap().expect("a row says that it is of this tree");
    let unreadable = tree.unreadable.expect("that row cannot be read");
    assert_eq!((unreadable.root, unreadable.command), (id(1), id(1)));
}

#[tokio::test]
async fn a_lock_that_cannot_be_read_refuses_those_who_ask_for_it() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![locking(1, "a", LockMode::Shared)]).await;
    run(&mut place.stranger().await, "UPDATE command_locks SET mode = x'ff'").await;
    for (n, other, mode) in [(10, "b", LockMode::Shared), (20, "c", LockMode::Exclusive)] {
        let steps = vec![insert(n), locking(n + 1, "a", mode), locking(n + 2, other, mode)];
        let outcomes = commit(&store, &lease, steps).await;
        let [Outcome::Applied, Outcome::Rejected(reason), Outcome::Applied] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert!(reason.contains("\"mode\""), "{reason}");
    }
}

#[tokio::test]
async fn a_mode_of_a_newer_program_is_exclusive() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    apply(&store, &lease, vec![locking(1, "a", LockMode::Shared)]).await;
    run(&mut place.stranger().await, "UPDATE command_locks SET mode = 'intended'").await;
    for mode in [LockMode::Shared, LockMode::Exclusive] {
        let outcomes = commit(&store, &lease, vec![locking(2, "a", mode)]).await;
        let [Outcome::Conflict(conflict)] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(conflict.holder, id(1));
    }
}

#[tokio::test]
async fn an_epoch_that_cannot_be_read_is_that_of_another() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    run(&mut place.stranger().await, "UPDATE engines SET epoch = 'mine'").await;
    let committed = store.commit(&lease, vec![insert(1)].into()).await;
    assert!(matches!(committed, Err(CommitError::Lost)), "{committed:?}");
}
