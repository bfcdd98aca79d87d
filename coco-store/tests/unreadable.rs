//! Somebody has put into a column what no store would, and the pages and commits go on.

#[path = "support/asking.rs"]
mod asking;
mod support;

use coco_core::Timestamp;
use coco_core::entity::{OnceResult, TreeRows};
use coco_core::lock::{ConflictReason, LockMode, LockRequest};
use coco_core::store::{CommitError, Lease, Outcome, Step, Store, StoreError, Write};
use coco_store::SeaOrmStore;

use self::asking::{asking, lock, waiting};
use self::support::{Place, apply, id, insert, run, step};

/// The root `n` with a lock on `key`.
fn locking(n: u128, key: &str, mode: LockMode) -> Step {
    asking(insert(n), n, &[], vec![lock(key, mode)])
}

/// The root `n`, which is stored, waits for a lock on `key`.
fn queueing(n: u128, key: &str, mode: LockMode) -> Step {
    let asks = Step { writes: Vec::new(), ..insert(n) };
    waiting(asks, n, &[], vec![lock(key, mode)])
}

fn release(n: u128) -> Step {
    step(n, Write::Release(id(n)))
}

async fn commit(store: &SeaOrmStore, lease: &Lease, steps: Vec<Step>) -> Vec<Outcome> {
    store.commit(lease, steps.into()).await.expect("failed to commit").outcomes
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
        let page = store.open_trees(None, after, 2).await.unwrap();
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

/// The roots 1 to 3 wait for what the root 10 has, and then somebody spoils the rows of the root 1.
async fn waiting_behind_spoiled(place: &Place, sql: &'static str) -> (SeaOrmStore, Lease) {
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let holder = locking(10, "a", LockMode::Shared);
    apply(&store, &lease, [1, 2, 3, 4].map(insert).into_iter().chain([holder]).collect()).await;
    for n in 1..=3 {
        commit(&store, &lease, vec![queueing(n, "a", LockMode::Exclusive)]).await;
    }
    run(&mut place.stranger().await, sql).await;
    (store, lease)
}

async fn granted(store: &SeaOrmStore, lease: &Lease, steps: Vec<Step>) -> Vec<u128> {
    let committed = store.commit(lease, steps.into()).await.unwrap();
    let outcomes = &committed.outcomes;
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Applied | Outcome::Queued { .. });
    assert!(outcomes.iter().all(done), "{outcomes:?}");
    committed.granted.iter().map(|grant| grant.command.as_uuid().as_u128()).collect()
}

#[tokio::test]
async fn a_request_that_cannot_be_read_keeps_its_place_until_it_is_made_again() {
    for sql in [
        "UPDATE lock_waiters SET mode = x'ff' WHERE place = 1",
        "UPDATE lock_waiters SET ancestors = 'nobody' WHERE place = 1",
        "UPDATE lock_waiters SET ancestors = x'ff' WHERE place = 1",
        "UPDATE lock_waiters SET since = 'late' WHERE place = 1",
        "UPDATE lock_waiters SET until = 'later' WHERE place = 1",
        "UPDATE lock_waiters SET position = 'first' WHERE place = 1",
        "UPDATE lock_waiters SET command_type = x'ff' WHERE place = 1",
    ] {
        let place = Place::new();
        let (store, lease) = waiting_behind_spoiled(&place, sql).await;
        let read = store.locks(None).await;
        assert!(matches!(read, Err(StoreError::Unreadable(_))), "{sql}: {read:?}");
        // All of the others go on. Who is behind it waits.
        assert_eq!(granted(&store, &lease, vec![release(10), insert(11)]).await, [], "{sql}");
        let again = queueing(4, "a", LockMode::Shared);
        let refused = commit(&store, &lease, vec![asking_at_once(again)]).await;
        let [Outcome::Conflict(conflict)] = &refused[..] else { panic!("{sql}: {refused:?}") };
        assert_eq!((conflict.holder, conflict.reason), (id(1), ConflictReason::Ahead), "{sql}");
        let again = queueing(1, "a", LockMode::Exclusive);
        assert_eq!(granted(&store, &lease, vec![again]).await, [2], "{sql}");
        assert_eq!(granted(&store, &lease, vec![release(2)]).await, [3], "{sql}");
        assert_eq!(granted(&store, &lease, vec![release(3)]).await, [1], "{sql}");
    }
}

/// A request that does not wait.
fn asking_at_once(step: Step) -> Step {
    let request = step.request.as_deref().cloned();
    let request = request.map(|request| LockRequest { waits: false, ..request }.into());
    Step { request, ..step }
}

#[tokio::test]
async fn a_request_without_a_place_is_not_in_the_way() {
    for sql in [
        "UPDATE lock_waiters SET place = 'first' WHERE place = 1",
        "UPDATE lock_waiters SET place = 9223372036854775807 WHERE place = 1",
    ] {
        let place = Place::new();
        let (store, lease) = waiting_behind_spoiled(&place, sql).await;
        assert_eq!(granted(&store, &lease, vec![release(10)]).await, [2], "{sql}");
        let again = queueing(10, "a", LockMode::Exclusive);
        assert_eq!(granted(&store, &lease, vec![again]).await, [], "{sql}");
        assert_eq!(granted(&store, &lease, vec![release(2)]).await, [3], "{sql}");
        assert_eq!(granted(&store, &lease, vec![release(3)]).await, [10], "{sql}");
        // Its command can still end.
        assert_eq!(granted(&store, &lease, vec![queueing(2, "a", LockMode::Shared)]).await, []);
        assert_eq!(granted(&store, &lease, vec![release(1)]).await, [], "{sql}");
        let left = store.locks(None).await.unwrap().waiting;
        assert_eq!(left.iter().map(|it| it.request.owner).collect::<Vec<_>>(), [id(2)], "{sql}");
    }
}

#[tokio::test]
async fn a_request_without_a_number_keeps_its_place_until_its_command_lets_go() {
    let place = Place::new();
    let sql = "UPDATE lock_waiters SET number = 'none' WHERE place = 1";
    let (store, lease) = waiting_behind_spoiled(&place, sql).await;
    assert_eq!(granted(&store, &lease, vec![release(10)]).await, []);
    assert_eq!(granted(&store, &lease, vec![release(1)]).await, [2]);
    let left = store.locks(None).await.unwrap().waiting;
    assert_eq!(left.iter().map(|it| it.request.owner).collect::<Vec<_>>(), [id(3)]);
}

#[tokio::test]
async fn an_odd_place_is_one_as_well() {
    for sql in [
        "UPDATE lock_waiters SET place = 1.5 WHERE place = 1",
        "UPDATE lock_waiters SET place = -1 WHERE place = 1",
    ] {
        let place = Place::new();
        let (store, lease) = waiting_behind_spoiled(&place, sql).await;
        for (n, next) in [(10, 1), (1, 2), (2, 3)] {
            assert_eq!(granted(&store, &lease, vec![release(n)]).await, [next], "{sql}");
        }
    }
}

#[tokio::test]
async fn two_requests_at_one_place_are_not_mixed_up() {
    let place = Place::new();
    let sql = "UPDATE lock_waiters SET place = 1 WHERE place = 2";
    let (store, lease) = waiting_behind_spoiled(&place, sql).await;
    let read = store.locks(None).await.unwrap_err().to_string();
    assert!(read.contains("another request has its rank"), "{read}");
    let got = granted(&store, &lease, vec![release(10)]).await;
    assert!(got == [1] || got == [2], "{got:?}");
}

#[tokio::test]
async fn those_who_wait_behind_a_lock_that_cannot_be_read_go_on_waiting() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let locks = [1, 2].map(|n| locking(n, "a", LockMode::Shared));
    apply(&store, &lease, locks.into_iter().chain([insert(3)]).collect()).await;
    let queue = vec![queueing(3, "a", LockMode::Exclusive)];
    assert_eq!(granted(&store, &lease, queue).await, []);
    let mut other = place.stranger().await;
    run(&mut other, "UPDATE command_locks SET since = 'once' WHERE substr(command_id, 16) = x'02'")
        .await;
    assert!(matches!(store.locks(None).await, Err(StoreError::Unreadable(_))));
    assert_eq!(granted(&store, &lease, vec![release(1)]).await, []);
    // Its owner can let go of it.
    assert_eq!(granted(&store, &lease, vec![release(2)]).await, [3]);
}

#[tokio::test]
async fn a_request_in_a_mode_of_a_newer_program_is_exclusive() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let holder = locking(1, "a", LockMode::Exclusive);
    apply(&store, &lease, vec![holder, insert(2), insert(3)]).await;
    for n in [2, 3] {
        commit(&store, &lease, vec![queueing(n, "a", LockMode::Shared)]).await;
    }
    let sql = "UPDATE lock_waiters SET mode = 'intended' WHERE place = 1";
    run(&mut place.stranger().await, sql).await;
    assert_eq!(store.locks(None).await.unwrap().waiting.len(), 2);
    assert_eq!(granted(&store, &lease, vec![release(1)]).await, [2]);
    assert_eq!(granted(&store, &lease, vec![release(2)]).await, [3]);
}

#[tokio::test]
async fn an_answer_about_a_lock_that_cannot_be_read_is_a_tree_that_cannot() {
    let place = Place::new();
    let store = place.open().await;
    let lease = store.acquire().await.unwrap();
    let answer = OnceResult {
        command_id: id(1),
        root_command_id: id(1),
        position: 0,
        name: "lock".into(),
        end_order: 1,
        ended_at: Timestamp::from_micros(1),
        return_value: None,
        failure: None,
        lock: Some(lock("a", LockMode::Shared)),
    };
    apply(&store, &lease, vec![insert(1), step(1, Write::Once(Box::new(answer.clone())))]).await;
    assert_eq!(store.tree(id(1)).await.unwrap().unwrap().once_results, [answer]);
    let mut other = place.stranger().await;
    run(&mut other, "UPDATE once_results SET lock = replace(lock, 'shared', 'intended')").await;
    let newer = store.tree(id(1)).await.unwrap().unwrap();
    assert_eq!(newer.once_results[0].lock, Some(lock("a", LockMode::Exclusive)));
    run(&mut other, "UPDATE once_results SET lock = '{'").await;
    let unreadable = store.tree(id(1)).await.unwrap().unwrap().unreadable.unwrap();
    assert!(unreadable.reason.contains("at position 0 cannot be read: `lock`: "), "{unreadable:?}");
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
