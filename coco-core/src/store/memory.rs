//! A store in memory: for tests, and for what need not survive the process.

mod inbox;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::inbox::Inboxes;
use super::{
    CommitError, Committed, EngineId, Lease, LockRows, Outcome, Step, Store, StoreError,
    StoreFuture, Write,
};
use crate::entity::{
    Audit, CommandEntity, Compensation, Delivery, OnceResult, Sleep, Task, TreeRows,
};
use crate::id::CommandId;
use crate::lock::{Answer, HeldLock, Lock, LockRequest, LockTable};

/// Keeps everything in memory.
///
/// Clones share what is stored, so a test restarts an engine by starting it on a clone. An engine
/// that acquires the store takes it over from the one before, whose lease is lost then.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// All the locks that are held now, in no order.
    pub fn held_locks(&self) -> Vec<HeldLock> {
        self.state().locks.held().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        Box::pin(async {
            let mut state = self.state();
            let clean = !state.unclean;
            state.unclean = true;
            let epoch = state.epoch() + 1;
            state.epoch.send_replace(epoch);
            Ok(Lease { engine_id: EngineId::ONLY, epoch, clean, guard: Box::new(()) })
        })
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.epoch() == lease.epoch {
                state.unclean = !clean;
            }
            Ok(())
        })
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.epoch() == lease.epoch {
                Ok(state.commit(&steps))
            } else {
                Err(CommitError::Lost)
            }
        })
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        let mut epoch = self.state().epoch.subscribe();
        Box::pin(async move {
            // The sender lives as long as `self`.
            let _ = epoch.wait_for(|epoch| *epoch != lease.epoch).await;
        })
    }

    fn open_trees(
        &self,
        _: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let from = after.map_or(Unbounded, Excluded);
            let roots = state.open_roots.range((from, Unbounded)).take(limit);
            Ok(roots.filter_map(|root| state.tree(*root)).collect())
        })
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        Box::pin(async move { Ok(self.state().tree(root)) })
    }

    fn own_tree(
        &self,
        _: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.tree(root)
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        Box::pin(async move { Ok(self.state().commands.get(&id).cloned()) })
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let of_tree = state.audit.iter().filter(|entry| entry.root_command_id == root);
            Ok(of_tree.cloned().collect())
        })
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        Box::pin(async move { Ok(self.state().inboxes.of(command, limit)) })
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        Box::pin(async move {
            let locks = &self.state().locks;
            let of_command = |owner| locks.waiting().filter(move |it| it.request.owner == owner);
            let wanted: Vec<_> = behind
                .into_iter()
                .flat_map(of_command)
                .flat_map(|waiting| &waiting.request.locks)
                .collect();
            let is_asked =
                |lock: &Lock| behind.is_none() || wanted.iter().any(|other| other.is_of_key(lock));
            let held = locks.held().filter(|held| is_asked(&held.lock)).cloned().collect();
            let waiting = locks.waiting().filter(|it| it.request.locks.iter().any(is_asked));
            Ok(LockRows { held, waiting: waiting.cloned().collect() })
        })
    }
}

#[derive(Debug, Default)]
struct State {
    epoch: watch::Sender<i64>,
    unclean: bool,
    commands: BTreeMap<CommandId, CommandEntity>,
    once_results: BTreeMap<(CommandId, i32), OnceResult>,
    sleeps: BTreeMap<(CommandId, i32), Sleep>,
    compensations: BTreeMap<(CommandId, i32), Compensation>,
    tasks: BTreeMap<(CommandId, i32), Task>,
    inboxes: Inboxes,
    audit: Vec<Audit>,
    submit_keys: HashMap<Arc<str>, CommandId>,
    members: BTreeMap<CommandId, Vec<CommandId>>,
    open_roots: BTreeSet<CommandId>,
    locks: LockTable,
}

impl State {
    fn epoch(&self) -> i64 {
        *self.epoch.borrow()
    }

    fn commit(&mut self, steps: &[Step]) -> Committed {
        let mut rejected = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(steps.len());
        for step in steps {
            if rejected.contains(&step.root) {
                outcomes.push(Outcome::Skipped);
                continue;
            }
            let outcome = self.apply(step);
            if matches!(outcome, Outcome::Rejected(_)) {
                rejected.insert(step.root);
            }
            outcomes.push(outcome);
        }
        let applied = steps.iter().enumerate().zip(&outcomes);
        let applied = applied.filter(|(_, outcome)| **outcome == Outcome::Applied);
        let delivered = self.inboxes.apply(applied.map(|(step, _)| step));
        let granted = self.locks.grant().iter().map(LockRequest::grant).collect();
        Committed { outcomes, granted, delivered }
    }

    fn apply(&mut self, step: &Step) -> Outcome {
        if let Some(taken) = step.submit_key().and_then(|key| self.submit_keys.get(key)) {
            return Outcome::Duplicate(*taken);
        }
        if let Some(request) = &step.request
            && let Some(outcome) = self.keeps_waiting(request)
        {
            return outcome;
        }
        let draft = match self.draft(step) {
            Ok(draft) => draft,
            Err(reason) => return Outcome::Rejected(reason),
        };
        self.store(draft);
        if let Some(request) = &step.request {
            let _ = self.locks.ask(request);
        }
        for write in &step.writes {
            match write {
                Write::Release(owner) => self.locks.release(*owner),
                Write::LeaveLine(owner, number) => self.locks.leave_line(*owner, *number),
                Write::ReleaseOne { owner, lock, since } => {
                    self.locks.release_one(*owner, lock, *since);
                }
                Write::Pass { from, to, command_type } => {
                    self.locks.pass(*from, *to, command_type);
                }
                _ => {}
            }
        }
        Outcome::Applied
    }

    /// What is said of a step whose request is not granted now; one that waits is in line then.
    fn keeps_waiting(&mut self, request: &LockRequest) -> Option<Outcome> {
        match self.locks.decide(request) {
            Ok(Answer::Granted) => None,
            Ok(Answer::Waits { until }) => match self.commands.contains_key(&request.owner) {
                true => self.locks.ask(request).ok().map(|_| Outcome::Queued { until }),
                false => Some(Outcome::Rejected(absent(request.owner))),
            },
            Err(refusal) => Some(refusal.into()),
        }
    }

    /// The rows as `step` leaves them, or why it cannot be stored.
    fn draft(&self, step: &Step) -> Result<Draft, String> {
        let mut draft = Draft::default();
        for write in &step.writes {
            match write {
                Write::Insert(entity) => self.insert(&mut draft, entity)?,
                Write::Update(id, progress) => {
                    self.change(&mut draft, *id)?.progress.overlay(progress);
                }
                Write::Compensated(id, at) => {
                    self.change(&mut draft, *id)?.progress.compensated_at = Some(*at);
                }
                Write::Once(result) => {
                    let key = (result.command_id, result.position);
                    self.known(&draft, result.command_id)?;
                    add(&self.once_results, &mut draft.once_results, key, result, "result")?;
                }
                Write::Sleep(sleep) => {
                    let key = (sleep.command_id, sleep.position);
                    self.known(&draft, sleep.command_id)?;
                    add(&self.sleeps, &mut draft.sleeps, key, sleep, "sleep")?;
                }
                Write::Register(entry) => {
                    let key = (entry.command_id, entry.position);
                    self.known(&draft, entry.command_id)?;
                    let (stored, new) = (&self.compensations, &mut draft.compensations);
                    add(stored, new, key, entry, "compensation")?;
                }
                Write::Undone(id, position, at) => {
                    let key = (*id, *position);
                    let stored = draft.compensations.get(&key);
                    let stored = stored.or_else(|| self.compensations.get(&key));
                    let mut entry = stored.ok_or_else(|| absent(*id))?.clone();
                    entry.compensated_at = Some(*at);
                    draft.compensations.insert(key, entry);
                }
                Write::Task(task) => {
                    self.known(&draft, task.command_id)?;
                    let key = (task.command_id, task.position);
                    add(&self.tasks, &mut draft.tasks, key, task, "task")?;
                }
                Write::TaskKept(id, position) => {
                    self.task(&mut draft, (*id, *position))?.kept = true;
                }
                Write::TaskEnded(id, position, at, failure) => {
                    let task = self.task(&mut draft, (*id, *position))?;
                    (task.ended_at, task.failure) = (Some(*at), failure.clone());
                }
                Write::Subscribe(subscription) => self.known(&draft, subscription.command_id)?,
                Write::Publish(_) | Write::Handled(..) | Write::Unsubscribe(_) => {}
                Write::Audit(entry) => draft.audit.push((**entry).clone()),
                Write::Pass { to, .. } => self.known(&draft, *to)?,
                Write::Release(_) | Write::LeaveLine(..) | Write::ReleaseOne { .. } => {}
            }
        }
        match &step.request {
            Some(request) if !request.locks.is_empty() => self.known(&draft, request.owner)?,
            _ => {}
        }
        Ok(draft)
    }

    fn insert(&self, draft: &mut Draft, entity: &CommandEntity) -> Result<(), String> {
        let id = entity.command_id;
        if self.known(draft, id).is_ok() {
            return Err(format!("command `{id}` is stored already"));
        }
        if let Some(parent) = entity.parent_command_id {
            self.known(draft, parent)?;
        }
        draft.commands.insert(id, entity.clone());
        self.known(draft, entity.root_command_id)
    }

    /// The row of a stored command, to be changed.
    fn change<'a>(
        &self,
        draft: &'a mut Draft,
        id: CommandId,
    ) -> Result<&'a mut CommandEntity, String> {
        match draft.commands.entry(id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let stored = self.commands.get(&id).ok_or_else(|| absent(id))?;
                Ok(entry.insert(stored.clone()))
            }
        }
    }

    /// The row of a stored task, to be changed.
    fn task<'a>(
        &self,
        draft: &'a mut Draft,
        key: (CommandId, i32),
    ) -> Result<&'a mut Task, String> {
        match draft.tasks.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let stored = self.tasks.get(&key).ok_or_else(|| absent(key.0))?;
                Ok(entry.insert(stored.clone()))
            }
        }
    }

    fn known(&self, draft: &Draft, id: CommandId) -> Result<(), String> {
        let known = draft.commands.contains_key(&id) || self.commands.contains_key(&id);
        known.then_some(()).ok_or_else(|| absent(id))
    }

    fn store(&mut self, draft: Draft) {
        for (id, entity) in draft.commands {
            if entity.parent_command_id.is_none() {
                if entity.progress.status.is_terminal() {
                    self.open_roots.remove(&id);
                } else {
                    self.open_roots.insert(id);
                }
            }
            if let Some(key) = &entity.submit_key {
                self.submit_keys.insert(Arc::clone(key), id);
            }
            let root = entity.root_command_id;
            if self.commands.insert(id, entity).is_none() {
                self.members.entry(root).or_default().push(id);
            }
        }
        self.once_results.extend(draft.once_results);
        self.sleeps.extend(draft.sleeps);
        self.compensations.extend(draft.compensations);
        self.tasks.extend(draft.tasks);
        self.audit.extend(draft.audit);
    }

    fn tree(&self, root: CommandId) -> Option<TreeRows> {
        let members = self.members.get(&root)?;
        let commands = members.iter().filter_map(|id| self.commands.get(id)).cloned().collect();
        let (once_results, sleeps) = (of(members, &self.once_results), of(members, &self.sleeps));
        let (compensations, tasks) = (of(members, &self.compensations), of(members, &self.tasks));
        let subscriptions = members.iter().flat_map(|id| self.inboxes.subscriptions(*id));
        Some(TreeRows {
            commands,
            once_results,
            sleeps,
            compensations,
            subscriptions: subscriptions.cloned().collect(),
            tasks,
            unreadable: None,
        })
    }
}

/// The rows of these commands.
fn of<T: Clone>(members: &[CommandId], rows: &BTreeMap<(CommandId, i32), T>) -> Vec<T> {
    let of_one = |id: &CommandId| rows.range((*id, i32::MIN)..=(*id, i32::MAX));
    members.iter().flat_map(of_one).map(|(_, row)| row.clone()).collect()
}

/// Adds a row, unless there is one with its key.
fn add<T: Clone>(
    stored: &BTreeMap<(CommandId, i32), T>,
    draft: &mut BTreeMap<(CommandId, i32), T>,
    key: (CommandId, i32),
    row: &T,
    what: &str,
) -> Result<(), String> {
    if stored.contains_key(&key) || draft.contains_key(&key) {
        let (id, position) = key;
        return Err(format!("a {what} of command `{id}` at {position} is stored already"));
    }
    draft.insert(key, row.clone());
    Ok(())
}

/// The rows that a step writes, until it is known to be whole.
#[derive(Default)]
struct Draft {
    commands: BTreeMap<CommandId, CommandEntity>,
    once_results: BTreeMap<(CommandId, i32), OnceResult>,
    sleeps: BTreeMap<(CommandId, i32), Sleep>,
    compensations: BTreeMap<(CommandId, i32), Compensation>,
    tasks: BTreeMap<(CommandId, i32), Task>,
    audit: Vec<Audit>,
}

fn absent(id: CommandId) -> String {
    format!("command `{id}` is not stored")
}
