//! One engine writes at a time, and what it wrote outlives it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::Fixture;
use super::sample::{Engine, id, insert, progress, root, update};
use crate::status::CommandStatus;
use crate::store::{CommitError, Outcome, Step, Store};

async fn is_lost<S: Store>(engine: &Engine<S>, steps: Vec<Step>) {
    let committed = engine.store.commit(&engine.lease, steps.into()).await;
    assert!(matches!(committed, Err(CommitError::Lost)), "{committed:?}");
}

/// Every engine gets a greater epoch than all before it.
pub async fn the_epoch_grows(fixture: &impl Fixture) {
    let mut before = 0;
    for _ in 0..3 {
        let engine = Engine::start(fixture).await;
        assert!(engine.lease.epoch > before);
        before = engine.lease.epoch;
    }
}

/// What is committed under the lease of an earlier engine changes nothing.
pub async fn an_old_lease_is_lost(fixture: &impl Fixture) {
    let old = Engine::start(fixture).await;
    old.apply([insert(root(1))]).await;
    fixture.evict().await;
    let new = Engine::start(fixture).await;
    is_lost(&old, vec![insert(root(2)), update(1, progress(CommandStatus::Failed))]).await;
    is_lost(&old, Vec::new()).await;
    assert_eq!(new.entity(id(1)).await, Some(root(1)));
    assert_eq!(new.entity(id(2)).await, None);
    new.apply([insert(root(2))]).await;
}

/// Whether the engine before gave back its lease cleanly is told to the next, once.
pub async fn a_clean_release_is_remembered(fixture: &impl Fixture) {
    let first = Engine::start(fixture).await;
    assert!(first.lease.clean, "there was no engine before");
    drop(first);
    let after_death = Engine::start(fixture).await;
    assert!(!after_death.lease.clean, "the engine before died");
    after_death.store.release(after_death.lease, true).await.expect("failed to release");
    let after_clean = Engine::start(fixture).await;
    assert!(after_clean.lease.clean, "the engine before released cleanly");
    drop(after_clean);
    let second_death = Engine::start(fixture).await;
    assert!(!second_death.lease.clean, "a clean release counts once");
    second_death.store.release(second_death.lease, false).await.expect("failed to release");
    let after_unclean = Engine::start(fixture).await;
    assert!(!after_unclean.lease.clean, "the engine before released, but not cleanly");
}

/// An engine that lost the store cannot make it look cleanly released.
pub async fn a_release_under_an_old_lease_changes_nothing(fixture: &impl Fixture) {
    let old = Engine::start(fixture).await;
    fixture.evict().await;
    let new = Engine::start(fixture).await;
    old.store.release(old.lease, true).await.expect("failed to release");
    new.apply([insert(root(1))]).await;
    drop(new);
    assert!(!Engine::start(fixture).await.lease.clean);
}

/// A batch of nothing has no outcomes.
pub async fn an_empty_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    assert_eq!(engine.commit([]).await, []);
    let nothing = Step { writes: Vec::new(), ..insert(root(1)) };
    assert_eq!(engine.commit([nothing]).await, [Outcome::Applied]);
}

/// What was committed is there for the next engine, and for a reader beside the first.
pub async fn what_is_committed_outlives_the_engine(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1))]).await;
    let reader = fixture.open().await;
    assert_eq!(reader.entity(id(1)).await.expect("failed to read"), Some(root(1)));
    drop(engine);
    let engine = Engine::start(fixture).await;
    assert_eq!(engine.entity(id(1)).await, Some(root(1)));
}

/// A commit that is dropped at any time is done whole or not at all, and the next one works.
pub async fn a_dropped_commit_leaves_a_sound_store(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for (n, polls) in [(10, 0), (20, 1), (30, 2), (40, 3)] {
        let steps: Arc<[Step]> = (n..n + 5).map(|n| insert(root(n))).collect();
        let mut commit = Some(engine.store.commit(&engine.lease, steps));
        for _ in 0..polls {
            poll_fn(|cx| {
                let done = commit.as_mut().map(|commit| commit.as_mut().poll(cx));
                if done.is_some_and(|done| done.is_ready()) {
                    commit = None;
                }
                Poll::Ready(())
            })
            .await;
        }
        drop(commit);
        engine.apply([insert(root(n + 9))]).await;
        let mut stored = 0;
        for n in n..n + 5 {
            stored += usize::from(engine.entity(id(n)).await.is_some());
        }
        assert!(stored == 0 || stored == 5, "{stored} of 5 after {polls} polls");
    }
}
