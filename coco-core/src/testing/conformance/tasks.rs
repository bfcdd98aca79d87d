//! Tasks outside, which come back with the trees of their commands.

use super::Fixture;
use super::sample::{Engine, child, id, insert, is_rejected, root, step, task, write, write_task};
use crate::entity::Task;
use crate::store::{Outcome, Step, Store, Write};
use crate::time::Timestamp;

/// The task of the root `n` at this position is over, and has failed if this says why.
fn ended(n: u128, position: i32, at: i64, failure: Option<&str>) -> Step {
    write(n, Write::TaskEnded(id(n), position, Timestamp::from_micros(at), failure.map(Into::into)))
}

/// The task of the root `n` at this position is kept.
fn kept(n: u128, position: i32) -> Step {
    write(n, Write::TaskKept(id(n), position))
}

/// `task`, when it is kept.
fn stays(task: Task) -> Task {
    Task { kept: true, ..task }
}

/// `task`, when it is over.
fn over(task: Task, at: i64, failure: Option<&str>) -> Task {
    let failure = failure.map(Into::into);
    Task { ended_at: Some(Timestamp::from_micros(at)), failure, ..task }
}

async fn tasks<S: Store>(engine: &Engine<S>, n: u128) -> Vec<Task> {
    engine.tree(id(n)).await.expect("the tree is stored").tasks
}

/// A task comes back with its tree, that of a child as well, over or not.
pub async fn tasks_come_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let of_child = Task { root_command_id: id(1), ..task(2, 0) };
    let failed = over(task(1, i32::MAX), i64::MAX, Some(r#"{"kind":"failed"}"#));
    let late = Task { created_at: Timestamp::from_micros(i64::MIN), ..stays(failed) };
    let mut first = insert(root(1));
    first.writes.push(Write::Task(Box::new(task(1, 0))));
    engine.apply([first, insert(root(3)), write_task(task(3, 0))]).await;
    let steps = [late.clone(), of_child.clone()].map(write_task);
    engine.apply([insert(child(1, 2, 0))].into_iter().chain(steps)).await;
    assert_eq!(tasks(&engine, 1).await, [task(1, 0), late.clone(), of_child.clone()]);
    assert_eq!(tasks(&engine, 3).await, [task(3, 0)]);
    let mut trees = engine.store.open_trees(None, None, 10).await.expect("failed to read");
    trees[0].tasks.sort_by_key(|task| (task.command_id, task.position));
    assert_eq!(trees[0].tasks, [task(1, 0), late, of_child]);
    assert_eq!(trees[1].tasks, [task(3, 0)]);
}

/// That a task is over changes two columns of its own row.
pub async fn the_end_of_a_task_changes_its_columns_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in [1, 2] {
        engine.apply([insert(root(n))]).await;
        engine.apply((0..3).map(|position| write_task(task(n, position)))).await;
    }
    engine.apply([ended(1, 2, 7, None), ended(2, 0, 8, Some("no")), ended(1, 0, 9, None)]).await;
    let expected = [over(task(1, 0), 9, None), task(1, 1), over(task(1, 2), 7, None)];
    assert_eq!(tasks(&engine, 1).await, expected);
    assert_eq!(tasks(&engine, 2).await, [over(task(2, 0), 8, Some("no")), task(2, 1), task(2, 2)]);
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
}

/// That a task is kept changes one column of its own row.
pub async fn what_keeps_a_task_changes_its_column_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in [1, 2] {
        engine.apply([insert(root(n))]).await;
        engine.apply((0..3).map(|position| write_task(task(n, position)))).await;
    }
    engine.apply([kept(1, 2), kept(2, 0), kept(1, 0), kept(1, 0)]).await;
    assert_eq!(tasks(&engine, 1).await, [stays(task(1, 0)), task(1, 1), stays(task(1, 2))]);
    assert_eq!(tasks(&engine, 2).await, [stays(task(2, 0)), task(2, 1), task(2, 2)]);
    engine.apply([ended(1, 0, 7, Some("no")), ended(1, 1, 8, None)]).await;
    engine.apply([kept(1, 0), kept(1, 1)]).await;
    let over = [over(task(1, 0), 7, Some("no")), over(task(1, 1), 8, None), task(1, 2)];
    assert_eq!(tasks(&engine, 1).await, over.map(stays));
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
}

/// A command has one task at a position.
pub async fn a_second_task_is_rejected_alone(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), write_task(task(1, 0)), insert(root(2))]).await;
    let again = Task { task: "{}".into(), ..task(1, 0) };
    let outcomes = engine.commit([write_task(again), write_task(task(2, 0))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    assert_eq!(tasks(&engine, 1).await, [task(1, 0)]);
    let twice = step(id(2), [1, 1].map(|at| Write::Task(Box::new(task(2, at)))).into());
    assert!(is_rejected(&engine.commit([twice]).await[0]));
    assert_eq!(tasks(&engine, 2).await, [task(2, 0)]);
    assert!(is_rejected(&engine.commit([write_task(task(9, 0))]).await[0]), "nobody has it");
}

/// A task that is not stored is not over, nor kept: such a step is refused, not lost.
pub async fn what_is_absent_is_not_over(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), write_task(task(1, 0)), insert(root(2))]).await;
    let absent = |there: fn(u128, i32) -> Step| [there(9, 0), there(1, 1)];
    for [of_nobody, of_another] in [absent(|n, at| ended(n, at, 3, None)), absent(kept)] {
        let outcomes = engine.commit([of_nobody, of_another, kept(1, 0)]).await;
        assert!(outcomes[..2].iter().all(is_rejected), "{outcomes:?}");
        assert_eq!(outcomes[2], Outcome::Skipped);
    }
    assert_eq!(engine.commit([write_task(task(2, 0))]).await, [Outcome::Applied]);
    assert_eq!(tasks(&engine, 1).await, [task(1, 0)]);
}

/// Writes that follow each other in one batch leave what the last one said.
pub async fn a_task_that_is_over_in_its_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), write_task(task(2, 0))]).await;
    engine
        .apply([
            write_task(task(1, 0)),
            ended(1, 0, 1, Some("no")),
            ended(1, 0, 2, None),
            ended(2, 0, 3, None),
            ended(2, 0, 4, Some("no")),
            write_task(task(1, 1)),
            kept(1, 1),
            kept(2, 0),
        ])
        .await;
    assert_eq!(tasks(&engine, 1).await, [over(task(1, 0), 2, None), stays(task(1, 1))]);
    assert_eq!(tasks(&engine, 2).await, [stays(over(task(2, 0), 4, Some("no")))]);
    let step = step(id(1), vec![Write::Task(Box::new(task(1, 2))), Write::TaskKept(id(1), 2)]);
    engine.apply([step, ended(1, 2, 5, None)]).await;
    assert_eq!(tasks(&engine, 1).await[2], stays(over(task(1, 2), 5, None)));
}
