//! Data that no store takes harms its own tree only.

use super::Fixture;
use super::sample::{
    Engine, asking, child, compensation, exclusive, id, insert, is_rejected, locked, once,
    progress, register, release, root, sleep, step, update, write, write_once,
};
use crate::entity::{CommandEntity, OnceResult, Sleep, TreeRows};
use crate::status::CommandStatus;
use crate::store::{Outcome, Write};
use crate::time::Timestamp;

/// A command that is stored already is not inserted again, and the rest of the batch is applied.
pub async fn a_second_insert_is_rejected_alone(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(2))]).await;
    let again = CommandEntity { position: 9, ..root(2) };
    let outcomes = engine.commit([insert(root(1)), insert(again), insert(root(3))]).await;
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Applied, &Outcome::Applied));
    assert!(is_rejected(&outcomes[1]), "{outcomes:?}");
    for n in 1..=3 {
        assert_eq!(engine.entity(id(n)).await, Some(root(n)));
    }
}

/// The result of a `once` is stored once.
pub async fn a_second_once_result_is_rejected_alone(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), write_once(once(1, 0)), insert(root(2))]).await;
    let again = OnceResult { return_value: Some("8".into()), ..once(1, 0) };
    let outcomes = engine.commit([write_once(again), write_once(once(2, 0))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    let stored = engine.tree(id(1)).await.map(|tree| tree.once_results);
    assert_eq!(stored, Some(vec![once(1, 0)]));
}

/// A sleep is stored once.
pub async fn a_second_sleep_is_rejected_alone(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let sleeps = |n, sleep| write(n, Write::Sleep(Box::new(sleep)));
    engine.apply([insert(root(1)), sleeps(1, sleep(1, 0)), insert(root(2))]).await;
    let again = Sleep { micros: 9, ..sleep(1, 0) };
    let outcomes = engine.commit([sleeps(1, again), sleeps(2, sleep(2, 0))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    let stored = engine.tree(id(1)).await.map(|tree| tree.sleeps);
    assert_eq!(stored, Some(vec![sleep(1, 0)]));
}

/// What belongs to a command that is not stored is refused.
pub async fn what_belongs_to_an_absent_command_is_rejected(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let outcomes = engine
        .commit([
            write_once(once(1, 0)),
            write(2, Write::Sleep(Box::new(sleep(2, 0)))),
            register(compensation(3, 0)),
            insert(root(4)),
        ])
        .await;
    assert!(outcomes[..3].iter().all(is_rejected), "{outcomes:?}");
    assert_eq!(outcomes[3], Outcome::Applied);
}

/// An update that meets no row is refused, not lost.
pub async fn an_update_of_an_absent_command_is_rejected(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let outcomes =
        engine.commit([update(1, progress(CommandStatus::Failed)), insert(root(2))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    assert_eq!(engine.entity(id(1)).await, None);
}

/// A child whose parent is not stored is refused.
pub async fn a_child_of_an_absent_parent_is_rejected(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let outcomes = engine.commit([insert(child(1, 2, 0))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(engine.entity(id(2)).await, None);
}

/// A step is stored whole or not at all: what stands beside the offending write is not stored.
pub async fn a_rejected_step_leaves_nothing(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    let writes = vec![
        Write::Update(id(1), Box::new(progress(CommandStatus::Failed))),
        Write::Insert(Box::new(child(1, 2, 0))),
        Write::Once(Box::new(once(1, 3))),
        Write::Sleep(Box::new(sleep(1, 4))),
        Write::Register(Box::new(compensation(1, 5))),
        Write::Compensated(id(1), Timestamp::from_micros(6)),
        Write::Insert(Box::new(root(1))),
    ];
    let outcomes = engine.commit([step(id(1), writes)]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    let tree = engine.tree(id(1)).await.expect("the tree is stored");
    assert_eq!(tree, TreeRows { commands: vec![root(1)], ..TreeRows::default() });
}

/// A rejected step gets none of the locks that it asked for and frees none.
pub async fn a_rejected_step_takes_and_frees_no_lock(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), insert(root(2)), insert(root(3))]).await;
    let mut offender = asking(insert(root(2)), &[], vec![exclusive("b")]);
    offender.writes.push(Write::Release(id(1)));
    let asks_for = |n, key| asking(step(id(n), Vec::new()), &[], vec![exclusive(key)]);
    let outcomes = engine.commit([offender, asks_for(3, "b")]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    let outcomes = engine.commit([asks_for(3, "a")]).await;
    assert!(matches!(outcomes[..], [Outcome::Conflict(_)]), "{outcomes:?}");
}

/// After a rejected step nothing more of its tree is applied in that batch; earlier steps are.
pub async fn later_steps_of_a_rejected_tree_are_skipped(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let failed = || progress(CommandStatus::Failed);
    let outcomes = engine
        .commit([
            insert(root(1)),
            insert(root(2)),
            insert(root(1)),
            update(1, failed()),
            update(2, failed()),
            insert(child(1, 3, 0)),
        ])
        .await;
    assert!(is_rejected(&outcomes[2]), "{outcomes:?}");
    let others = [&outcomes[0], &outcomes[1], &outcomes[3], &outcomes[4], &outcomes[5]];
    use Outcome::{Applied, Skipped};
    assert_eq!(others, [&Applied, &Applied, &Skipped, &Applied, &Skipped]);
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
    assert_eq!(engine.entity(id(2)).await.map(|row| row.progress), Some(failed()));
    assert_eq!(engine.entity(id(3)).await, None);

    engine.apply([update(1, failed()), release(1)]).await;
}

/// One of 500 steps offends, and 499 are applied.
pub async fn one_offender_of_many(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(321))]).await;
    let outcomes = engine.commit((1..=500).map(|n| insert(root(n)))).await;
    for (n, outcome) in (1..).zip(&outcomes) {
        assert_eq!(is_rejected(outcome), n == 321, "{n}: {outcome:?}");
        assert!(n == 321 || *outcome == Outcome::Applied, "{n}: {outcome:?}");
    }
    assert_eq!(engine.open_roots(None, 1000).await.len(), 500);
}

/// Several offenders in one batch are each found, the first and the last step among them.
pub async fn several_offenders(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let offenders = [1, 30, 31, 64];
    engine.apply(offenders.map(|n| insert(root(n)))).await;
    let outcomes = engine.commit((1..=64).map(|n| insert(root(n)))).await;
    let rejected: Vec<u128> =
        (1..).zip(&outcomes).filter(|(_, outcome)| is_rejected(outcome)).map(|(n, _)| n).collect();
    assert_eq!(rejected, offenders);
    assert_eq!(engine.open_roots(None, 1000).await.len(), 64);
}
