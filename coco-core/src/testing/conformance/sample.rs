//! Rows and steps to write, and an engine that writes them.

use std::sync::Arc;

use uuid::Uuid;

use super::Fixture;
use crate::entity::{
    Audit, CommandEntity, Compensation, OnceResult, Progress, Published, Sleep, Subscription, Task,
    TreeRows, Undo,
};
use crate::id::CommandId;
use crate::lock::{Lock, LockConflict, LockMode, LockRequest};
use crate::status::CommandStatus;
use crate::store::{Committed, Lease, Outcome, Step, Store, Write};
use crate::time::Timestamp;

/// An engine that owns the store.
pub(super) struct Engine<S> {
    pub(super) store: S,
    pub(super) lease: Lease,
}

impl<S: Store> Engine<S> {
    pub(super) async fn start(fixture: &impl Fixture<Store = S>) -> Self {
        let store = fixture.open().await;
        let lease = store.acquire().await.expect("failed to acquire the store");
        Self { store, lease }
    }

    pub(super) async fn commit(&self, steps: impl IntoIterator<Item = Step>) -> Vec<Outcome> {
        self.committed(steps).await.outcomes
    }

    /// Commits, and gives what was granted as well.
    pub(super) async fn committed(&self, steps: impl IntoIterator<Item = Step>) -> Committed {
        let steps: Arc<[Step]> = steps.into_iter().collect();
        let count = steps.len();
        let committed = self.store.commit(&self.lease, steps).await;
        let committed = committed.expect("failed to commit");
        assert_eq!(committed.outcomes.len(), count, "one outcome for each step");
        committed
    }

    /// Commits what must be applied.
    pub(super) async fn apply(&self, steps: impl IntoIterator<Item = Step>) {
        let outcomes = self.commit(steps).await;
        let all_applied = outcomes.iter().all(|outcome| *outcome == Outcome::Applied);
        assert!(all_applied, "not all were applied: {outcomes:?}");
    }

    /// Commits one step and expects that a lock of `holder` is in its way.
    pub(super) async fn refused(&self, step: Step, holder: u128) {
        let outcomes = self.commit([step]).await;
        assert_eq!(conflict(&outcomes[0]).holder, id(holder));
    }

    pub(super) async fn entity(&self, id: CommandId) -> Option<CommandEntity> {
        self.store.entity(id).await.expect("failed to read a command")
    }

    pub(super) async fn tree(&self, root: CommandId) -> Option<TreeRows> {
        let mut tree = self.store.tree(root).await.expect("failed to read a tree")?;
        tree.commands.sort_by_key(|entity| entity.command_id);
        tree.once_results.sort_by_key(|result| (result.command_id, result.position));
        tree.sleeps.sort_by_key(|sleep| (sleep.command_id, sleep.position));
        tree.compensations.sort_by_key(|entry| (entry.command_id, entry.position));
        tree.subscriptions.sort_by(|a, b| (a.command_id, &a.key).cmp(&(b.command_id, &b.key)));
        tree.tasks.sort_by_key(|task| (task.command_id, task.position));
        Some(tree)
    }

    /// What is stored of the progress of `n`.
    pub(super) async fn progress(&self, n: u128) -> Option<Progress> {
        self.entity(id(n)).await.map(|row| row.progress)
    }

    pub(super) async fn audit(&self, root: u128) -> Vec<Audit> {
        self.store.audit(id(root)).await.expect("failed to read the audit")
    }

    pub(super) async fn open_roots(
        &self,
        after: Option<CommandId>,
        limit: usize,
    ) -> Vec<CommandId> {
        let trees = self
            .store
            .open_trees(Some(self.lease.engine_id), after, limit)
            .await
            .expect("failed to read open trees");
        trees.iter().map(|tree| tree.root().expect("a tree has rows")).collect()
    }
}

pub(super) fn id(n: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n))
}

/// The row of the root `n`, which runs.
pub(super) fn root(n: u128) -> CommandEntity {
    CommandEntity {
        command_id: id(n),
        command_type: "move_disk".into(),
        parent_command_id: None,
        root_command_id: id(n),
        position: 0,
        command_parameters: r#"{"disk":1}"#.into(),
        created_at: Timestamp::from_micros(1_700_000_000_000_000),
        callback_enabled: true,
        submit_key: None,
        resubmit_of: None,
        retry: None,
        progress: progress(CommandStatus::Active),
    }
}

/// The row of a child of the root `parent`.
pub(super) fn child(parent: u128, n: u128, position: i32) -> CommandEntity {
    let command_type = "copy_layer".into();
    let (parent_command_id, root_command_id) = (Some(id(parent)), id(parent));
    CommandEntity { command_type, parent_command_id, root_command_id, position, ..root(n) }
}

pub(super) fn progress(status: CommandStatus) -> Progress {
    Progress::new(status)
}

/// Progress in which every column has a value of its own.
pub(super) fn full_progress() -> Progress {
    Progress {
        status: CommandStatus::Stuck,
        stuck_from: Some(CommandStatus::Succeeded),
        stuck_reason: Some(r#"{"kind":"diverged","message":"other way"}"#.into()),
        executed: true,
        callback_notified: true,
        attempt: 3,
        hook_attempt: 2,
        started_at: Some(Timestamp::from_micros(1_700_000_000_000_005)),
        wake_at: Some(Timestamp::from_micros(1_700_000_000_000_006)),
        cancelled: Some(r#"{"kind":"cancelled","message":"enough"}"#.into()),
        seen: Some(3),
        undo: Some(Undo::Inner),
        compensated_at: Some(Timestamp::from_micros(1_700_000_000_000_007)),
        state: Some(r#"{"disk":2}"#.into()),
        return_value: Some("[1,2]".into()),
        failure: Some(r#"{"kind":"failed","message":"no"}"#.into()),
        end_order: Some(5),
        ended_at: Some(Timestamp::from_micros(1_700_000_000_000_009)),
        deaths: 2,
        deaths_end_order: 4,
    }
}

pub(super) fn once(command: u128, position: i32) -> OnceResult {
    OnceResult {
        command_id: id(command),
        root_command_id: id(command),
        position,
        name: "reserve".into(),
        end_order: i64::from(position) + 1,
        ended_at: Timestamp::from_micros(1_700_000_000_000_011),
        return_value: Some("7".into()),
        failure: None,
        lock: None,
    }
}

pub(super) fn sleep(command: u128, position: i32) -> Sleep {
    Sleep {
        command_id: id(command),
        root_command_id: id(command),
        position,
        micros: 3_000_000,
        wake_at: Timestamp::from_micros(1_700_000_000_000_012),
    }
}

pub(super) fn compensation(command: u128, position: i32) -> Compensation {
    Compensation {
        command_id: id(command),
        root_command_id: id(command),
        position,
        command_type: "delete_disk".into(),
        command_parameters: r#"{"disk":3}"#.into(),
        end_order: i64::from(position) + 2,
        created_at: Timestamp::from_micros(1_700_000_000_000_013),
        compensated_at: None,
    }
}

pub(super) fn subscription(command: u128, key: &str) -> Subscription {
    Subscription {
        command_id: id(command),
        root_command_id: id(command),
        key: key.into(),
        created_at: Timestamp::from_micros(1_700_000_000_000_015),
    }
}

pub(super) fn published(event: &str, key: &str) -> Published {
    Published {
        event_id: event.into(),
        key: key.into(),
        payload: r#"{"size":4}"#.into(),
        published_at: Timestamp::from_micros(1_700_000_000_000_016),
    }
}

pub(super) fn task(command: u128, position: i32) -> Task {
    Task {
        command_id: id(command),
        root_command_id: id(command),
        position,
        task: r#"{"host":7}"#.into(),
        created_at: Timestamp::from_micros(1_700_000_000_000_017),
        kept: false,
        ended_at: None,
        failure: None,
    }
}

/// What an operator did to the root `n`, for this reason.
pub(super) fn audit(n: u128, reason: &str) -> Audit {
    Audit {
        at: Timestamp::from_micros(1_700_000_000_000_014),
        action: "cancel".into(),
        command_id: id(n),
        root_command_id: id(n),
        status: CommandStatus::Active,
        reason: reason.into(),
        linked: None,
    }
}

pub(super) fn step(root: CommandId, writes: Vec<Write>) -> Step {
    Step { root, command: root, request: None, writes }
}

pub(super) fn insert(entity: CommandEntity) -> Step {
    let command = entity.command_id;
    Step { command, ..step(entity.root_command_id, vec![Write::Insert(Box::new(entity))]) }
}

/// An update of the root `n`.
pub(super) fn update(n: u128, progress: Progress) -> Step {
    step(id(n), vec![Write::Update(id(n), Box::new(progress))])
}

/// One write in the tree of the root `n`.
pub(super) fn write(n: u128, write: Write) -> Step {
    step(id(n), vec![write])
}

pub(super) fn write_once(result: OnceResult) -> Step {
    step(result.root_command_id, vec![Write::Once(Box::new(result))])
}

pub(super) fn release(n: u128) -> Step {
    write(n, Write::Release(id(n)))
}

pub(super) fn register(entry: Compensation) -> Step {
    step(entry.root_command_id, vec![Write::Register(Box::new(entry))])
}

/// The root `n` listens for a key.
pub(super) fn subscribe(n: u128, key: &str) -> Step {
    write(n, Write::Subscribe(Box::new(subscription(n, key))))
}

/// A step of the root `n` publishes an event.
pub(super) fn publish(n: u128, event: &str, key: &str) -> Step {
    write(n, Write::Publish(Box::new(published(event, key))))
}

pub(super) fn write_task(task: Task) -> Step {
    step(task.root_command_id, vec![Write::Task(Box::new(task))])
}

pub(super) fn audited(entry: Audit) -> Step {
    step(entry.root_command_id, vec![Write::Audit(Box::new(entry))])
}

pub(super) fn shared(key: &str) -> Lock {
    Lock { group: "disk".into(), key: key.to_owned(), mode: LockMode::Shared }
}

pub(super) fn exclusive(key: &str) -> Lock {
    Lock { mode: LockMode::Exclusive, ..shared(key) }
}

/// `step`, if its command gets these locks.
pub(super) fn asking(mut step: Step, ancestors: &[u128], locks: Vec<Lock>) -> Step {
    let ancestors = ancestors.iter().copied().map(id).collect();
    let (owner, command_type) = (step.command, "move_disk".into());
    let at = Timestamp::from_micros(11);
    let (number, waits, until) = (0, false, None);
    step.request = Some(Arc::new(LockRequest {
        owner,
        number,
        command_type,
        ancestors,
        locks,
        at,
        waits,
        until,
    }));
    step
}

/// Inserts the root `n` if it gets these locks.
pub(super) fn locked(n: u128, locks: Vec<Lock>) -> Step {
    asking(insert(root(n)), &[], locks)
}

/// The root `n`, which is stored, asks for these locks.
pub(super) fn asks(n: u128, locks: Vec<Lock>) -> Step {
    asking(step(id(n), Vec::new()), &[], locks)
}

pub(super) fn conflict(outcome: &Outcome) -> &LockConflict {
    match outcome {
        Outcome::Conflict(conflict) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

pub(super) fn is_rejected(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Rejected(reason) if !reason.is_empty())
}
