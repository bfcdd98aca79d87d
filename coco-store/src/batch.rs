//! What a batch comes to: each step's outcome, and at most one write for each row. Pure.

pub(crate) mod inbox;
pub(crate) mod locks;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coco_core::entity::{
    Audit, CommandEntity, Compensation, OnceResult, Progress, Sleep, Subscription, Task,
};
use coco_core::lock::LockRequest;
use coco_core::store::{Committed, Outcome, Step, Write};
use coco_core::{CommandId, Timestamp};
use rustc_hash::{FxBuildHasher, FxHashMap};

use self::inbox::InboxChanges;
use self::locks::LockChanges;

/// The submit keys that are taken, and by which commands.
pub(crate) type TakenKeys = HashMap<Arc<str>, CommandId>;

/// The keys that the steps submit commands with.
pub(crate) fn submit_keys<'a>(steps: &[&'a Step]) -> impl Iterator<Item = &'a str> {
    steps.iter().filter_map(|step| step.submit_key().map(AsRef::as_ref))
}

/// What is to be written for a batch.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a, 'k> {
    /// What the caller is told.
    pub(crate) committed: Committed,
    /// What becomes of the locks.
    pub(crate) locks: LockChanges<'k>,
    /// What is published, handled and over, after all else.
    pub(crate) inbox: InboxChanges<'a>,
    /// The rows to insert.
    pub(crate) inserts: Vec<Cow<'a, CommandEntity>>,
    /// The rows to update.
    pub(crate) updates: Vec<(CommandId, Cow<'a, Progress>)>,
    /// When stored commands were undone by themselves: said after the updates.
    pub(crate) compensated: BTreeMap<CommandId, Timestamp>,
    /// The results to insert.
    pub(crate) once_results: Vec<&'a OnceResult>,
    /// The sleeps to insert.
    pub(crate) sleeps: Vec<&'a Sleep>,
    /// When stored undo commands were through: said before any are inserted.
    pub(crate) undone: BTreeMap<(CommandId, i32), Timestamp>,
    /// The undo commands to insert.
    pub(crate) registered: Vec<Cow<'a, Compensation>>,
    /// What commands begin to listen for.
    pub(crate) subscriptions: Vec<&'a Subscription>,
    /// The stored tasks that are kept: said before any are inserted.
    pub(crate) tasks_kept: BTreeSet<(CommandId, i32)>,
    /// When stored tasks were over, and why they failed: said before any are inserted.
    pub(crate) tasks_ended: BTreeMap<(CommandId, i32), TaskEnd<'a>>,
    /// The tasks to insert.
    pub(crate) tasks: Vec<Cow<'a, Task>>,
    /// What operators did, oldest first.
    pub(crate) audit: Vec<&'a Audit>,
    taken_keys: TakenKeys,
    rows: FxHashMap<CommandId, Row>,
    registered_at: FxHashMap<(CommandId, i32), usize>,
    tasks_at: FxHashMap<(CommandId, i32), usize>,
}

/// When a task was over, and why it has failed.
type TaskEnd<'a> = (Timestamp, Option<&'a Arc<str>>);

/// Where the write of a row stands in the plan.
#[derive(Clone, Copy, Debug)]
enum Row {
    Insert(usize),
    Update(usize),
}

impl<'a, 'k> Plan<'a, 'k> {
    /// Decides `steps` in their order, beside the locks and the keys that are stored.
    pub(crate) fn new(steps: &[&'a Step], locks: LockChanges<'k>, taken_keys: TakenKeys) -> Self {
        // Most steps write one row.
        let most = steps.len();
        let mut plan = Self {
            locks,
            taken_keys,
            inserts: Vec::with_capacity(most),
            updates: Vec::with_capacity(most),
            rows: HashMap::with_capacity_and_hasher(most, FxBuildHasher),
            ..Self::default()
        };
        plan.committed.outcomes.reserve(most);
        for (at, step) in steps.iter().enumerate() {
            let outcome = plan.decide(at, step);
            plan.committed.outcomes.push(outcome);
        }
        plan
    }

    /// Grants what others have let go of, at the end of the batch.
    pub(crate) fn grant(&mut self) {
        self.committed.granted = self.locks.grant().iter().map(LockRequest::grant).collect();
    }

    fn decide(&mut self, at: usize, step: &'a Step) -> Outcome {
        if let Some(taken) = step.submit_key().and_then(|key| self.taken_keys.get(key)) {
            return Outcome::Duplicate(*taken);
        }
        if let Some(request) = &step.request
            && let Err(outcome) = self.locks.ask(request)
        {
            return outcome;
        }
        for write in &step.writes {
            match write {
                Write::Insert(entity) => self.insert(entity),
                Write::Update(id, progress) => self.update(*id, progress),
                Write::Compensated(id, at) => self.compensated(*id, *at),
                Write::Once(result) => self.once_results.push(result),
                Write::Sleep(sleep) => self.sleeps.push(sleep),
                Write::Register(entry) => self.register(entry),
                Write::Undone(id, position, at) => self.undone(*id, *position, *at),
                Write::Release(_)
                | Write::LeaveLine(..)
                | Write::ReleaseOne { .. }
                | Write::Pass { .. } => self.locks.apply(write),
                Write::Subscribe(subscription) => self.subscriptions.push(subscription),
                Write::Publish(_) | Write::Handled(..) | Write::Unsubscribe(_) => {
                    self.inbox.apply(at, write);
                }
                Write::Task(task) => self.task(task),
                Write::TaskKept(id, position) => self.task_kept((*id, *position)),
                Write::TaskEnded(id, position, at, failure) => {
                    self.task_ended((*id, *position), (*at, failure.as_ref()));
                }
                Write::Audit(entry) => self.audit.push(entry),
            }
        }
        Outcome::Applied
    }

    fn insert(&mut self, entity: &'a CommandEntity) {
        if let Some(key) = &entity.submit_key {
            self.taken_keys.insert(Arc::clone(key), entity.command_id);
        }
        self.rows.insert(entity.command_id, Row::Insert(self.inserts.len()));
        self.inserts.push(Cow::Borrowed(entity));
    }

    fn update(&mut self, id: CommandId, progress: &'a Progress) {
        if progress.compensated_at.is_some() {
            self.compensated.remove(&id);
        }
        match self.rows.entry(id) {
            Entry::Occupied(row) => match *row.get() {
                Row::Insert(at) => self.inserts[at].to_mut().progress.overlay(progress),
                Row::Update(at) => self.updates[at].1.to_mut().overlay(progress),
            },
            Entry::Vacant(row) => {
                row.insert(Row::Update(self.updates.len()));
                self.updates.push((id, Cow::Borrowed(progress)));
            }
        }
    }

    fn compensated(&mut self, id: CommandId, at: Timestamp) {
        if let Some(Row::Insert(row)) = self.rows.get(&id) {
            self.inserts[*row].to_mut().progress.compensated_at = Some(at);
        } else {
            self.compensated.insert(id, at);
        }
    }

    fn register(&mut self, entry: &'a Compensation) {
        let key = (entry.command_id, entry.position);
        self.registered_at.insert(key, self.registered.len());
        self.registered.push(Cow::Borrowed(entry));
    }

    fn undone(&mut self, id: CommandId, position: i32, at: Timestamp) {
        if let Some(row) = self.registered_at.get(&(id, position)) {
            self.registered[*row].to_mut().compensated_at = Some(at);
        } else {
            self.undone.insert((id, position), at);
        }
    }

    fn task(&mut self, task: &'a Task) {
        self.tasks_at.insert((task.command_id, task.position), self.tasks.len());
        self.tasks.push(Cow::Borrowed(task));
    }

    fn task_kept(&mut self, key: (CommandId, i32)) {
        if let Some(row) = self.tasks_at.get(&key) {
            self.tasks[*row].to_mut().kept = true;
        } else {
            self.tasks_kept.insert(key);
        }
    }

    fn task_ended(&mut self, key: (CommandId, i32), (at, failure): TaskEnd<'a>) {
        if let Some(row) = self.tasks_at.get(&key) {
            let task = self.tasks[*row].to_mut();
            (task.ended_at, task.failure) = (Some(at), failure.cloned());
        } else {
            self.tasks_ended.insert(key, (at, failure));
        }
    }
}
