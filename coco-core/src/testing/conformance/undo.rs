//! What undoes commands: what they registered, and what was undone.

use super::Fixture;
use super::sample::{
    Engine, child, compensation, full_progress, id, insert, is_rejected, progress, register, root,
    step, update, write,
};
use crate::entity::{CommandEntity, Compensation, Progress};
use crate::status::CommandStatus;
use crate::store::{Outcome, Step, Store, Write};
use crate::time::Timestamp;

/// The root `n` was undone by itself at this time.
fn compensated(n: u128, at: i64) -> Step {
    write(n, Write::Compensated(id(n), Timestamp::from_micros(at)))
}

/// The undo command that the root `n` registered was through at this time.
fn undone(n: u128, position: i32, at: i64) -> Step {
    write(n, Write::Undone(id(n), position, Timestamp::from_micros(at)))
}

/// `entry`, done at this time.
fn done(entry: Compensation, at: i64) -> Compensation {
    Compensation { compensated_at: Some(Timestamp::from_micros(at)), ..entry }
}

async fn compensations<S: Store>(engine: &Engine<S>, n: u128) -> Vec<Compensation> {
    engine.tree(id(n)).await.expect("the tree is stored").compensations
}

/// What was registered comes back with its tree, that of children as well, done or not.
pub async fn compensations_come_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let of_child = Compensation { root_command_id: id(1), ..compensation(2, 0) };
    let late = Compensation {
        end_order: i64::MAX,
        created_at: Timestamp::from_micros(i64::MIN),
        ..done(compensation(1, i32::MAX), 8)
    };
    let mut first = insert(root(1));
    first.writes.push(Write::Register(Box::new(compensation(1, 0))));
    engine.apply([first]).await;
    engine
        .apply([register(late.clone()), insert(child(1, 2, 0)), register(of_child.clone())])
        .await;
    assert_eq!(compensations(&engine, 1).await, [compensation(1, 0), late, of_child]);
}

/// What a command registers at a position is stored once.
pub async fn a_second_compensation_is_rejected_alone(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), register(compensation(1, 0)), insert(root(2))]).await;
    let again = Compensation { end_order: 99, ..compensation(1, 0) };
    let outcomes = engine.commit([register(again), register(compensation(2, 0))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    assert_eq!(compensations(&engine, 1).await, [compensation(1, 0)]);
}

/// That a command was undone by itself changes this one column of this one row.
pub async fn compensated_changes_its_column_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let full = |n| CommandEntity { progress: full_progress(), ..root(n) };
    engine.apply([insert(full(1)), insert(full(2)), insert(root(3))]).await;
    engine.apply([compensated(1, 4), compensated(3, 5)]).await;
    let at = |micros| Some(Timestamp::from_micros(micros));
    let expected = Progress { compensated_at: at(4), ..full_progress() };
    assert_eq!(engine.progress(1).await, Some(expected));
    assert_eq!(engine.entity(id(2)).await, Some(full(2)));
    let expected = Progress { compensated_at: at(5), ..progress(CommandStatus::Active) };
    assert_eq!(engine.progress(3).await, Some(expected));
}

/// That an undo command is through changes this one column of this one row.
pub async fn undone_changes_its_column_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in [1, 2] {
        engine.apply([insert(root(n))]).await;
        engine.apply((0..3).map(|position| register(compensation(n, position)))).await;
    }
    engine.apply([undone(1, 2, 7), undone(2, 0, 8), undone(1, 0, 9)]).await;
    let entry = compensation;
    let expected = [done(entry(1, 0), 9), entry(1, 1), done(entry(1, 2), 7)];
    assert_eq!(compensations(&engine, 1).await, expected);
    assert_eq!(compensations(&engine, 2).await, [done(entry(2, 0), 8), entry(2, 1), entry(2, 2)]);
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
}

/// What is not stored cannot have been undone: such a step is refused, not lost.
pub async fn what_is_absent_was_not_undone(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), register(compensation(1, 0)), insert(root(2))]).await;
    let outcomes = engine
        .commit([
            compensated(8, 3),
            undone(9, 0, 3),
            undone(1, 1, 3),
            undone(2, 0, 3),
            register(compensation(2, 0)),
            insert(root(3)),
        ])
        .await;
    assert!(outcomes[..4].iter().all(is_rejected), "{outcomes:?}");
    assert_eq!(outcomes[4..], [Outcome::Skipped, Outcome::Applied]);
    assert_eq!(compensations(&engine, 1).await, [compensation(1, 0)]);
    assert_eq!(compensations(&engine, 2).await, []);
}

/// Writes that follow each other in one batch leave what the last one said.
pub async fn undone_among_other_writes_of_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let says = |n, at: Option<i64>| {
        let compensated_at = at.map(Timestamp::from_micros);
        update(n, Progress { compensated_at, ..progress(CommandStatus::Failed) })
    };
    engine.apply((1..=5).map(|n| insert(root(n)))).await;
    engine
        .apply([
            insert(root(6)),
            compensated(6, 60),
            says(1, None),
            compensated(1, 10),
            compensated(2, 20),
            says(2, None),
            compensated(3, 30),
            says(3, Some(31)),
            says(4, Some(41)),
            compensated(4, 40),
            compensated(5, 50),
            compensated(5, 51),
        ])
        .await;
    for (n, status, at) in [
        (1, CommandStatus::Failed, 10),
        (2, CommandStatus::Failed, 20),
        (3, CommandStatus::Failed, 31),
        (4, CommandStatus::Failed, 40),
        (5, CommandStatus::Active, 51),
        (6, CommandStatus::Active, 60),
    ] {
        let compensated_at = Some(Timestamp::from_micros(at));
        let expected = Progress { compensated_at, ..progress(status) };
        assert_eq!(engine.progress(n).await, Some(expected), "{n}");
    }

    let both = vec![
        Write::Register(Box::new(compensation(1, 0))),
        Write::Undone(id(1), 0, Timestamp::from_micros(1)),
    ];
    let again = undone(1, 0, 2);
    engine.apply([step(id(1), both), again, register(compensation(1, 1))]).await;
    assert_eq!(compensations(&engine, 1).await, [done(compensation(1, 0), 2), compensation(1, 1)]);
    engine.apply([undone(1, 1, 3), undone(1, 1, 4)]).await;
    assert_eq!(compensations(&engine, 1).await[1], done(compensation(1, 1), 4));
}
