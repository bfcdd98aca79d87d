//! What operators did is kept in its order.

use super::Fixture;
use super::sample::{
    Engine, audit, audited, child, exclusive, id, insert, is_rejected, locked, root, shared, step,
};
use crate::entity::Audit;
use crate::status::CommandStatus;
use crate::store::{Outcome, Write};
use crate::time::Timestamp;

/// What was done comes back as it was written, oldest first, whatever the clock said.
pub async fn audit_comes_back_oldest_first(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(child(1, 2, 0))]).await;
    assert_eq!(engine.audit(1).await, []);
    let full = Audit {
        at: Timestamp::from_micros(i64::MAX),
        action: "resubmit".into(),
        command_id: id(2),
        status: CommandStatus::EndedWithFailure,
        linked: Some(id(3)),
        ..audit(1, "the first")
    };
    let entries = (0..40).map(|n| {
        let at = Timestamp::from_micros(i64::from((n * 7) % 40) - 20);
        Audit { at, ..audit(1, &format!("entry {n}")) }
    });
    let expected: Vec<Audit> = std::iter::once(full).chain(entries).collect();
    let write = |entry: &Audit| Write::Audit(Box::new(entry.clone()));
    engine.apply([audited(expected[0].clone()), audited(expected[1].clone())]).await;
    engine.apply([step(id(1), expected[2..20].iter().map(write).collect())]).await;
    drop(engine);
    let engine = Engine::start(fixture).await;
    engine.apply(expected[20..].iter().cloned().map(audited)).await;
    assert_eq!(engine.audit(1).await, expected);
}

/// Each tree has its own audit.
pub async fn audits_keep_apart(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), insert(child(1, 3, 0))]).await;
    engine.apply([1, 2, 1].map(|n| audited(audit(n, "why")))).await;
    assert_eq!(engine.audit(1).await, [audit(1, "why"), audit(1, "why")]);
    assert_eq!(engine.audit(2).await, [audit(2, "why")]);
    assert_eq!(engine.audit(3).await, []);
    assert_eq!(engine.audit(9).await, []);
}

/// What was not stored was not done: a step that is refused leaves no trace in the audit.
pub async fn a_refused_step_is_not_audited(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), insert(root(2))]).await;
    let mut rejected = insert(root(2));
    let mut refused = locked(3, vec![shared("a")]);
    for (step, n) in [(&mut rejected, 2), (&mut refused, 3)] {
        step.writes.push(Write::Audit(Box::new(audit(n, "refused"))));
    }
    let outcomes = engine.commit([rejected, refused, audited(audit(1, "done"))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Conflict(_)), "{outcomes:?}");
    for (n, expected) in [(1, vec![audit(1, "done")]), (2, Vec::new()), (3, Vec::new())] {
        assert_eq!(engine.audit(n).await, expected, "audit of {n}");
    }
}
