//! Locks are decided inside the commit, in the order of the batch.

use super::Fixture;
use super::sample::{
    Engine, asking, asks, child, conflict, exclusive, id, insert, locked, progress, release, root,
    shared, update,
};
use crate::lock::{ConflictReason, Lock, LockConflict, LockMode};
use crate::status::CommandStatus;
use crate::store::Outcome;

/// A refusal says which lock is in the way, whose it is, and since when.
pub async fn a_conflict_names_the_holder(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a"), shared("b")]), insert(root(2))]).await;
    let outcomes = engine.commit([asks(2, vec![shared("b"), shared("a")])]).await;
    let found = conflict(&outcomes[0]).clone();
    let expected = LockConflict {
        group: "disk".to_owned(),
        key: "a".to_owned(),
        mode: LockMode::Shared,
        holder: id(1),
        command_type: "move_disk".to_owned(),
        since: found.since,
        reason: ConflictReason::Held,
    };
    assert_eq!(found, expected);
    let again = engine.commit([asks(2, vec![exclusive("b")])]).await;
    let again = conflict(&again[0]);
    assert_eq!((again.key.as_str(), again.mode), ("b", LockMode::Exclusive));
    assert_eq!(again.since, found.since, "granted together, held since the same moment");
}

/// Any number of commands hold a lock shared; nobody holds it exclusively beside them.
pub async fn shared_locks_are_shared(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![shared("a")]), locked(2, vec![shared("a")])]).await;
    engine.apply([locked(3, vec![shared("a")]), insert(root(4))]).await;
    engine.apply([release(1), release(3)]).await;
    engine.refused(asks(4, vec![exclusive("a")]), 2).await;
    engine.apply([release(2)]).await;
    engine.apply([asks(4, vec![exclusive("a")])]).await;
    engine.refused(asks(1, vec![shared("a")]), 4).await;
}

/// A command may take what its ancestors hold, and is told apart from strangers.
pub async fn an_ancestor_does_not_stand_in_the_way(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let borrows = |n, key| asking(insert(child(1, n, 0)), &[1], vec![exclusive(key)]);
    engine.apply([locked(1, vec![exclusive("a")]), locked(9, vec![exclusive("b")])]).await;
    engine.apply([borrows(2, "a")]).await;
    engine.refused(borrows(3, "b"), 9).await;
    engine.apply([release(2)]).await;
    engine.refused(asks(9, vec![shared("a")]), 1).await;
}

/// Children of one parent exclude each other, on what the parent holds as well.
pub async fn siblings_stand_in_the_way(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let borrows = |n| asking(insert(child(1, n, 0)), &[1], vec![exclusive("a")]);
    engine.apply([locked(1, vec![exclusive("a")]), borrows(2)]).await;
    engine.refused(borrows(3), 2).await;
}

/// A request gets all of its locks or none.
pub async fn all_locks_or_none(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("b")]), insert(root(2)), insert(root(3))]).await;
    engine.refused(asks(2, vec![exclusive("a"), exclusive("b"), exclusive("c")]), 1).await;
    engine.apply([asks(3, vec![exclusive("a"), exclusive("c")])]).await;
}

/// What a step of the batch frees, a later one gets.
pub async fn release_and_grant_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a"), exclusive("b")])]).await;
    engine.apply([release(1), locked(2, vec![exclusive("a")])]).await;
    engine.apply([asks(1, vec![exclusive("b")])]).await;
    engine.refused(asks(1, vec![exclusive("a")]), 2).await;
}

/// What a step of the batch frees, an earlier one does not get.
pub async fn a_request_before_the_release_is_refused(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")])]).await;
    let outcomes = engine.commit([locked(2, vec![exclusive("a")]), release(1)]).await;
    assert_eq!(conflict(&outcomes[0]).holder, id(1));
    assert_eq!(outcomes[1], Outcome::Applied);
    engine.apply([locked(2, vec![exclusive("a")])]).await;
}

/// Two steps of one batch that ask for one lock: the first gets it.
pub async fn a_conflict_inside_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let outcomes = engine
        .commit([
            locked(1, vec![exclusive("a")]),
            locked(2, vec![exclusive("a")]),
            locked(3, vec![exclusive("b")]),
        ])
        .await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Applied, &Outcome::Applied));
    assert_eq!(conflict(&outcomes[1]).holder, id(1));
    assert_eq!(engine.entity(id(2)).await, None);
}

/// Nothing of a refused step is stored: no row, no update, no release. The others are applied.
pub async fn a_conflict_leaves_nothing_of_its_step(fixture: &impl Fixture) {
    use crate::store::Write;
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), locked(2, vec![exclusive("b")])]).await;
    let mut step = locked(3, vec![exclusive("a")]);
    step.writes.push(Write::Update(id(2), Box::new(progress(CommandStatus::Failed))));
    step.writes.push(Write::Release(id(2)));
    let ended = progress(CommandStatus::Succeeded);
    let outcomes = engine.commit([insert(root(4)), step, update(1, ended.clone())]).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Applied, &Outcome::Applied));
    assert_eq!(conflict(&outcomes[1]).holder, id(1));
    assert_eq!(engine.entity(id(2)).await, Some(root(2)));
    assert_eq!(engine.entity(id(3)).await, None);
    assert_eq!(engine.entity(id(1)).await.map(|row| row.progress), Some(ended));
    engine.refused(asks(4, vec![shared("b")]), 2).await;
}

/// An engine that dies keeps no lock from being held.
pub async fn locks_survive_the_engine(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), insert(root(2))]).await;
    drop(engine);
    let engine = Engine::start(fixture).await;
    engine.refused(asks(2, vec![exclusive("a")]), 1).await;
    engine.apply([asks(1, vec![exclusive("a")]), release(1)]).await;
    engine.apply([asks(2, vec![exclusive("a")])]).await;
}

/// A release frees all that its owner holds, and nothing else.
pub async fn a_release_frees_its_owner_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let both = || vec![shared("a"), shared("b")];
    engine.apply([locked(1, both()), locked(2, both()), insert(root(3))]).await;
    engine.apply([release(1), release(7)]).await;
    engine.refused(asks(3, vec![exclusive("a")]), 2).await;
    engine.refused(asks(3, vec![exclusive("b")]), 2).await;
    engine.apply([release(2)]).await;
    engine.apply([asks(3, vec![exclusive("a"), exclusive("b")])]).await;
}

/// A command that asks again for what it holds gets it, in the stronger of both modes.
pub async fn an_owner_may_ask_again(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![shared("a")]), insert(root(2))]).await;
    engine.apply([asks(1, vec![shared("a"), exclusive("a")])]).await;
    engine.refused(asks(2, vec![shared("a")]), 1).await;
    engine.apply([asks(1, vec![shared("a")])]).await;
    engine.refused(asks(2, vec![shared("a")]), 1).await;
    engine.apply([release(1), asks(2, vec![shared("a")])]).await;
}

/// A lock that goes to and fro inside one batch is held by whoever got it last.
pub async fn grant_release_and_grant_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let take = |n| asks(n, vec![exclusive("a")]);
    engine.apply([insert(root(1)), insert(root(2)), insert(root(3))]).await;
    engine.apply([take(1), release(1), take(2), release(2), take(1)]).await;
    engine.refused(take(3), 1).await;
    engine.apply([release(1), take(2), release(2)]).await;
    engine.apply([take(3)]).await;
}

/// A request for nothing is granted, whatever is held.
pub async fn a_request_without_locks_is_granted(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), locked(2, Vec::new())]).await;
    assert_eq!(engine.entity(id(2)).await, Some(root(2)));
}

/// One key in two groups is two locks.
pub async fn keys_of_two_groups_never_meet(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let in_group = |group: &'static str, key: &str| Lock { group: group.into(), ..exclusive(key) };
    engine
        .apply([locked(1, vec![in_group("ab", "c")]), locked(2, vec![in_group("a", "bc")])])
        .await;
    engine.apply([locked(3, vec![in_group("disk", "c")]), locked(4, vec![exclusive("bc")])]).await;
}
