//! What is written comes back as it was written.

use super::Fixture;
use super::sample::{
    Engine, child, full_progress, id, insert, once, progress, root, sleep, step, update, write,
    write_once,
};
use crate::entity::{CommandEntity, OnceResult, Progress, Sleep, TreeRows, Undo};
use crate::status::CommandStatus;
use crate::store::Write;
use crate::time::Timestamp;

/// An inserted row comes back with every column as it was, alone and in its tree.
pub async fn every_column_comes_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let parent = CommandEntity {
        submit_key: Some("order 7".into()),
        resubmit_of: Some(id(8)),
        retry: Some(r#"{"attempts":1}"#.into()),
        progress: full_progress(),
        ..root(1)
    };
    let child = CommandEntity {
        progress: full_progress(),
        created_at: Timestamp::from_micros(12),
        callback_enabled: false,
        command_parameters: r#"{"layer":[1,null,"x"]}"#.into(),
        retry: Some(r#"{"attempts":2}"#.into()),
        ..child(1, 2, 3)
    };
    engine.apply([insert(parent.clone()), insert(child.clone())]).await;
    assert_eq!(engine.entity(id(1)).await, Some(parent.clone()));
    assert_eq!(engine.entity(id(2)).await, Some(child.clone()));
    let rows = TreeRows { commands: vec![parent, child], ..TreeRows::default() };
    assert_eq!(engine.tree(id(1)).await, Some(rows));
}

/// What a row does not have, it does not have when it comes back.
pub async fn absent_columns_come_back_absent(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
}

/// Each status that is written is read.
pub async fn every_status_comes_back(fixture: &impl Fixture) {
    use CommandStatus::{
        Active, EndedSuccessfully, EndedWithFailure, ExecutionFailed, Failed, FailedRestarted,
        NotStarted, Stuck, Succeeded,
    };
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    for status in [
        NotStarted,
        Active,
        Succeeded,
        ExecutionFailed,
        FailedRestarted,
        Failed,
        EndedSuccessfully,
        EndedWithFailure,
        Stuck,
    ] {
        let written = Progress { stuck_from: Some(status), ..progress(status) };
        engine.apply([update(1, written.clone())]).await;
        assert_eq!(engine.progress(1).await, Some(written));
    }
}

/// An update replaces all of the progress that it gives.
pub async fn an_update_replaces_the_rest(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    engine.apply([update(1, full_progress())]).await;
    let full = CommandEntity { progress: full_progress(), ..root(1) };
    assert_eq!(engine.entity(id(1)).await, Some(full));

    let newer = Progress {
        started_at: Some(Timestamp::from_micros(4)),
        cancelled: Some("5".into()),
        seen: Some(9),
        undo: Some(Undo::Own),
        compensated_at: Some(Timestamp::from_micros(8)),
        state: Some("1".into()),
        return_value: Some("2".into()),
        failure: Some("3".into()),
        end_order: Some(6),
        ended_at: Some(Timestamp::from_micros(7)),
        ..progress(CommandStatus::Active)
    };
    engine.apply([update(1, newer.clone())]).await;
    assert_eq!(engine.progress(1).await, Some(newer));
}

/// An update that says all and one that says little each do so when they share a batch.
pub async fn a_full_and_a_small_update_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let full = |n| insert(CommandEntity { progress: full_progress(), ..root(n) });
    engine.apply([full(1), insert(root(2))]).await;
    engine.apply([update(1, progress(CommandStatus::Failed)), update(2, full_progress())]).await;
    let mut kept = full_progress();
    kept.overlay(&progress(CommandStatus::Failed));
    assert_eq!(engine.progress(1).await, Some(kept));
    assert_eq!(engine.progress(2).await, Some(full_progress()));
}

/// When a command started is stored with its insert or with the update that starts it, and stays.
pub async fn the_start_is_remembered(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let started = |micros| Progress {
        started_at: Some(Timestamp::from_micros(micros)),
        ..progress(CommandStatus::Active)
    };
    let waiting = CommandEntity { progress: progress(CommandStatus::NotStarted), ..root(2) };
    engine.apply([insert(CommandEntity { progress: started(5), ..root(1) })]).await;
    engine.apply([insert(waiting), insert(root(3))]).await;
    engine.apply([update(2, started(6)), update(3, progress(CommandStatus::Active))]).await;
    for (n, expected) in [(1, Some(5)), (2, Some(6)), (3, None)] {
        let ended = progress(CommandStatus::Succeeded);
        engine.apply([update(n, ended.clone())]).await;
        let started_at = expected.map(Timestamp::from_micros);
        assert_eq!(engine.progress(n).await, Some(Progress { started_at, ..ended }));
    }
}

/// What an update has none of stays, where [`Progress::overlay`] says so.
pub async fn an_update_keeps_what_it_does_not_name(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(CommandEntity { progress: full_progress(), ..root(1) })]).await;
    engine.apply([update(1, progress(CommandStatus::Failed))]).await;
    let kept = Progress {
        status: CommandStatus::Failed,
        stuck_from: None,
        stuck_reason: None,
        executed: false,
        callback_notified: false,
        attempt: 0,
        hook_attempt: 0,
        wake_at: None,
        deaths: 0,
        deaths_end_order: 0,
        ..full_progress()
    };
    assert_eq!(engine.progress(1).await, Some(kept));
}

/// An insert and updates of the same row, in one step and over several of one batch.
pub async fn an_insert_and_updates_of_it_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let mut first = insert(CommandEntity { progress: full_progress(), ..root(1) });
    first.writes.push(Write::Update(id(1), Box::new(progress(CommandStatus::Active))));
    let last = Progress { attempt: 9, ..progress(CommandStatus::Succeeded) };
    engine.apply([first, insert(root(2)), update(1, last.clone())]).await;
    let stored = Progress { stuck_from: None, stuck_reason: None, ..full_progress() };
    let stored = Progress {
        status: last.status,
        attempt: last.attempt,
        hook_attempt: 0,
        wake_at: None,
        executed: false,
        callback_notified: false,
        deaths: 0,
        deaths_end_order: 0,
        ..stored
    };
    assert_eq!(engine.progress(1).await, Some(stored));
    assert_eq!(engine.entity(id(2)).await, Some(root(2)));
}

/// Of many updates of one row in one batch the last stands, and what was said once stays.
pub async fn the_last_of_many_updates_wins(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    let said =
        |status, state: Option<&str>| Progress { state: state.map(Into::into), ..progress(status) };
    engine
        .apply([
            update(1, Progress { attempt: 1, ..said(CommandStatus::Active, Some("1")) }),
            update(1, said(CommandStatus::Succeeded, Some("2"))),
            update(1, said(CommandStatus::EndedSuccessfully, None)),
        ])
        .await;
    let stored = engine.progress(1).await;
    assert_eq!(stored, Some(said(CommandStatus::EndedSuccessfully, Some("2"))));
}

/// Updates of several rows in one batch each reach their own row, and no other.
pub async fn updates_touch_their_own_row_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply((1..=5).map(|n| insert(root(n)))).await;
    let attempt = |n| Progress { attempt: n, ..progress(CommandStatus::Active) };
    engine.apply([update(4, attempt(4)), update(2, attempt(2))]).await;
    for (n, expected) in [(1, 0), (2, 2), (3, 0), (4, 4), (5, 0)] {
        let stored = engine.entity(id(n)).await.map(|row| row.progress.attempt);
        assert_eq!(stored, Some(expected), "attempt of {n}");
    }
}

/// Results of `once` come back with their tree: values, failures, and several of one flow.
pub async fn once_results_come_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let failed = OnceResult {
        return_value: None,
        failure: Some(r#"{"kind":"failed","message":"no"}"#.into()),
        name: "charge".into(),
        ..once(1, 4)
    };
    let of_child = OnceResult { root_command_id: id(1), ..once(2, 0) };
    let both = vec![Write::Insert(Box::new(root(1))), Write::Once(Box::new(once(1, 0)))];
    engine.apply([step(id(1), both)]).await;
    engine
        .apply([write_once(failed.clone()), insert(child(1, 2, 1)), write_once(of_child.clone())])
        .await;
    let stored = engine.tree(id(1)).await.map(|tree| tree.once_results);
    assert_eq!(stored, Some(vec![once(1, 0), failed, of_child]));
}

/// Sleeps come back with their tree, those of children and several of one flow.
pub async fn sleeps_come_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let mut slept = insert(root(1));
    slept.writes.push(Write::Sleep(Box::new(sleep(1, 0))));
    engine.apply([slept]).await;
    let long = Sleep { micros: i64::MAX, wake_at: Timestamp::from_micros(i64::MAX), ..sleep(1, 4) };
    let of_child = Sleep { root_command_id: id(1), ..sleep(2, 0) };
    let sleeps = |sleep: &Sleep| write(1, Write::Sleep(Box::new(sleep.clone())));
    engine.apply([insert(child(1, 2, 1)), sleeps(&of_child), sleeps(&long)]).await;
    let stored = engine.tree(id(1)).await.map(|tree| tree.sleeps);
    assert_eq!(stored, Some(vec![sleep(1, 0), long, of_child]));
}

/// Numbers and times at both ends of their range come back.
pub async fn the_greatest_numbers_come_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let least = CommandEntity {
        position: i32::MIN,
        created_at: Timestamp::from_micros(i64::MIN),
        ..root(1)
    };
    let greatest = CommandEntity {
        position: i32::MAX,
        created_at: Timestamp::from_micros(i64::MAX),
        progress: Progress {
            attempt: i32::MAX,
            hook_attempt: i32::MAX,
            started_at: Some(Timestamp::from_micros(i64::MIN)),
            wake_at: Some(Timestamp::from_micros(i64::MAX)),
            compensated_at: Some(Timestamp::from_micros(i64::MAX)),
            deaths: i32::MAX,
            deaths_end_order: i64::MAX,
            end_order: Some(i64::MAX),
            ended_at: Some(Timestamp::from_micros(i64::MAX)),
            ..full_progress()
        },
        ..root(u128::MAX)
    };
    engine.apply([insert(least.clone()), insert(greatest.clone())]).await;
    assert_eq!(engine.entity(id(1)).await, Some(least));
    assert_eq!(engine.entity(id(u128::MAX)).await, Some(greatest));
}
