//! Locks that go from one command to another, in the order of the batch.

use std::sync::Arc;

use super::Fixture;
use super::sample::{
    Engine, asking, asks, child, conflict, exclusive, id, insert, is_rejected, locked, release,
    root, shared, write,
};
use crate::lock::{Lock, LockRequest};
use crate::store::{Outcome, Step, Write};
use crate::time::Timestamp;

/// What the root `from` holds goes to the root `to`.
fn pass(from: u128, to: u128) -> Step {
    write(from, passed(from, to))
}

fn passed(from: u128, to: u128) -> Write {
    Write::Pass { from: id(from), to: id(to), command_type: format!("type_{to}").into() }
}

/// `n`, which is stored, asks for these locks, at this time.
fn asks_at(n: u128, at: i64, locks: Vec<Lock>) -> Step {
    let mut step = asks(n, locks);
    if let Some(request) = &step.request {
        let at = Timestamp::from_micros(at);
        step.request = Some(Arc::new(LockRequest { at, ..LockRequest::clone(request) }));
    }
    step
}

fn roots(numbers: std::ops::RangeInclusive<u128>) -> impl Iterator<Item = Step> {
    numbers.map(|n| insert(root(n)))
}

/// A pass gives all locks to the new owner, under its name and since the same time.
pub async fn a_pass_moves_all_locks(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply(roots(1..=3)).await;
    engine.apply([asks_at(1, 5, vec![exclusive("a"), shared("b")])]).await;
    engine.apply([pass(1, 2)]).await;
    let outcomes = engine.commit([asks(3, vec![shared("a")]), asks(3, vec![exclusive("b")])]).await;
    for outcome in &outcomes {
        let conflict = conflict(outcome);
        assert_eq!((conflict.holder, conflict.command_type.as_str()), (id(2), "type_2"));
        assert_eq!(conflict.since, Timestamp::from_micros(5));
    }
    engine.apply([asks(3, vec![shared("b")]), release(1), release(3)]).await;
    engine.refused(asks(1, vec![shared("a")]), 2).await;
    engine.apply([release(2), asks(1, vec![exclusive("a"), exclusive("b")])]).await;
}

/// What both hold is held once, in the stronger mode and since the earlier time.
pub async fn a_pass_merges_with_what_the_new_owner_holds(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply(roots(1..=3)).await;
    let one = vec![shared("a"), exclusive("b"), shared("c")];
    let other = vec![exclusive("a"), shared("b"), shared("c")];
    let ancestor = |mut step: Step| {
        let request = step.request.take().expect("a request");
        let ancestors = vec![id(2)];
        step.request = Some(Arc::new(LockRequest { ancestors, ..LockRequest::clone(&request) }));
        step
    };
    for (theirs, since, ours, later) in
        [(&one, 5, &other, 9), (&other, 5, &one, 9), (&one, 9, &other, 5), (&other, 9, &one, 5)]
    {
        let passing = ancestor(asks_at(1, later, ours.clone()));
        engine.apply([asks_at(2, since, theirs.clone()), passing]).await;
        engine.apply([pass(1, 2)]).await;
        for (key, is_shared) in [("a", false), ("b", false), ("c", true)] {
            let outcomes = engine.commit([asks(3, vec![shared(key)]), release(3)]).await;
            assert_eq!(outcomes[0] == Outcome::Applied, is_shared, "{key}: {outcomes:?}");
            let outcomes = engine.commit([asks(3, vec![exclusive(key)])]).await;
            let found = conflict(&outcomes[0]);
            assert_eq!((found.holder, found.since), (id(2), Timestamp::from_micros(5)), "{key}");
        }
        engine.apply([release(2), asks(3, vec![exclusive("a"), exclusive("b")])]).await;
        engine.apply([asks(3, vec![exclusive("c")]), release(3)]).await;
    }
}

/// To pass nothing changes nothing, nor does a pass to oneself.
pub async fn a_pass_of_nothing(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), locked(2, vec![exclusive("a")]), insert(root(3))]).await;
    engine.apply([pass(1, 2), pass(7, 3), pass(2, 2)]).await;
    engine.refused(asks(3, vec![shared("a")]), 2).await;
    engine.apply([pass(2, 1), pass(2, 3)]).await;
    engine.refused(asks(3, vec![shared("a")]), 1).await;
}

/// What was passed stands in the way of strangers, not of what descends from the new owner.
pub async fn passed_locks_let_descendants_through(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let borrows = |n| asking(insert(child(1, n, 0)), &[1], vec![exclusive("a")]);
    engine.apply([insert(root(1)), borrows(2), insert(root(9))]).await;
    engine.refused(borrows(3), 2).await;
    engine.apply([write(1, passed(2, 1)), borrows(3)]).await;
    engine.refused(asks(9, vec![shared("a")]), 1).await;
    engine.apply([release(1)]).await;
    engine.refused(asks(9, vec![shared("a")]), 3).await;
}

/// A request of the batch is decided by the passes before it, and not by those behind it.
pub async fn passes_and_requests_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply(roots(1..=4)).await;
    let take = |n| asks(n, vec![exclusive("a")]);
    let outcomes =
        engine.commit([take(1), take(3), pass(1, 2), take(3), take(2), pass(2, 4), take(2)]).await;
    let holder = |at: usize| conflict(&outcomes[at]).holder;
    assert_eq!([holder(1), holder(3), holder(6)], [1, 2, 4].map(id));
    for at in [0, 2, 4, 5] {
        assert_eq!(outcomes[at], Outcome::Applied, "{at}");
    }
    engine.refused(take(1), 4).await;
    engine.apply([release(4), take(1)]).await;
}

/// Locks go through many hands in one batch, stored ones and new ones together.
pub async fn passes_in_a_chain(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply(roots(1..=9)).await;
    let own = |n: u128| asks(n, vec![exclusive(&format!("own {n}"))]);
    engine.apply([own(1), own(2), own(3)]).await;
    engine.apply([asks(1, vec![shared("new")]), pass(1, 2), pass(2, 3), pass(3, 4)]).await;
    for key in ["own 1", "own 2", "own 3", "new"] {
        engine.refused(asks(9, vec![exclusive(key)]), 4).await;
    }
    // In the other order each goes one hand further.
    engine.apply([own(5), own(6)]).await;
    engine.apply([pass(6, 7), pass(5, 6)]).await;
    engine.refused(asks(9, vec![exclusive("own 6")]), 7).await;
    engine.refused(asks(9, vec![exclusive("own 5")]), 6).await;
}

/// A release frees what was passed to its owner before, and a pass gives on what was not released.
pub async fn passes_and_releases_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply(roots(1..=9)).await;
    let take = |n, key: &str| asks(n, vec![exclusive(key)]);
    engine.apply([take(1, "a"), take(2, "b"), take(3, "c"), take(4, "d")]).await;
    engine.apply([pass(1, 2), release(2), take(9, "a"), take(9, "b")]).await;
    engine.apply([release(3), pass(3, 2), take(9, "c")]).await;
    engine.apply([pass(4, 2), release(4), take(4, "e"), pass(4, 1), release(4)]).await;
    engine.refused(take(9, "d"), 2).await;
    engine.refused(take(9, "e"), 1).await;
    engine.apply([release(2), take(2, "f"), pass(1, 2), release(1), take(9, "d")]).await;
    for key in ["e", "f"] {
        engine.refused(take(9, key), 2).await;
    }
}

/// Two commands may change their locks by way of a third.
pub async fn passes_in_a_ring(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply(roots(1..=4)).await;
    let take = |n, key: &str| asks(n, vec![exclusive(key)]);
    engine.apply([take(1, "a"), take(2, "b")]).await;
    engine.apply([pass(1, 3), pass(2, 1), pass(3, 2)]).await;
    engine.refused(take(4, "a"), 2).await;
    engine.refused(take(4, "b"), 1).await;
    engine.apply([release(3), release(1), take(4, "b")]).await;
}

/// A step that is refused passes nothing.
pub async fn a_refused_step_passes_nothing(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), insert(root(2)), insert(root(3))]).await;
    let mut rejected = insert(root(2));
    let mut refused = asks(3, vec![shared("a")]);
    for step in [&mut rejected, &mut refused] {
        step.writes.push(passed(1, 2));
    }
    let outcomes = engine.commit([rejected, refused]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(conflict(&outcomes[1]).holder, id(1));
    engine.refused(asks(3, vec![shared("a")]), 1).await;
}

/// Locks are passed only to what is stored.
pub async fn a_pass_to_an_absent_command_is_rejected(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), insert(root(2))]).await;
    let outcomes = engine.commit([pass(1, 7), asks(2, vec![exclusive("b")])]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    engine.refused(asks(2, vec![shared("a")]), 1).await;
}

/// Hundreds of commands pass their locks in one batch, shared keys among them.
pub async fn many_passes_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let locks = |n: u128| vec![exclusive(&n.to_string()), shared("all")];
    engine.apply((1..=300).map(|n| locked(n, locks(n)))).await;
    engine.apply(roots(1001..=1003)).await;
    engine.apply((1..=300).map(|n| pass(n, 1001 + n % 2))).await;
    engine.refused(asks(1003, vec![exclusive("299")]), 1002).await;
    engine.apply([release(1002)]).await;
    engine.refused(asks(1003, vec![exclusive("all")]), 1001).await;
    engine.apply([release(1001), asks(1003, vec![exclusive("all"), exclusive("300")])]).await;
}
