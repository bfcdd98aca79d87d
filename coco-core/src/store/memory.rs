//! A store in memory: for tests, and for what need not survive the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CommitError, Lease, Outcome, Step, Store, StoreError, StoreFuture, Write};
use crate::entity::{CommandEntity, OnceResult, TreeRows};
use crate::id::CommandId;
use crate::lock::{self, HeldLock, HeldLocks};

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
        self.state().locks.iter().cloned().collect()
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
            state.epoch += 1;
            state.unclean = true;
            Ok(Lease { epoch: state.epoch, clean, guard: Box::new(()) })
        })
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.epoch == lease.epoch {
                state.unclean = !clean;
            }
            Ok(())
        })
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Vec<Outcome>, CommitError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.epoch == lease.epoch {
                Ok(state.commit(&steps))
            } else {
                Err(CommitError::Lost)
            }
        })
    }

    fn open_trees(
        &self,
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

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        Box::pin(async move { Ok(self.state().commands.get(&id).cloned()) })
    }
}

#[derive(Debug, Default)]
struct State {
    epoch: i64,
    unclean: bool,
    commands: BTreeMap<CommandId, CommandEntity>,
    once_results: BTreeMap<(CommandId, i32), OnceResult>,
    members: BTreeMap<CommandId, Vec<CommandId>>,
    open_roots: BTreeSet<CommandId>,
    locks: HeldLocks,
}

impl State {
    fn commit(&mut self, steps: &[Step]) -> Vec<Outcome> {
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
        outcomes
    }

    fn apply(&mut self, step: &Step) -> Outcome {
        if let Some(request) = &step.request
            && let Err(conflict) = lock::decide(&self.locks, request)
        {
            return Outcome::Conflict(conflict);
        }
        let draft = match self.draft(step) {
            Ok(draft) => draft,
            Err(reason) => return Outcome::Rejected(reason),
        };
        self.store(draft);
        if let Some(request) = &step.request {
            request.granted().for_each(|held| self.locks.insert(held));
        }
        for write in &step.writes {
            if let Write::Release(owner) = write {
                self.locks.release(*owner);
            }
        }
        Outcome::Applied
    }

    /// The rows as `step` leaves them, or why it cannot be stored.
    fn draft(&self, step: &Step) -> Result<Draft, String> {
        let mut draft = Draft::default();
        for write in &step.writes {
            match write {
                Write::Insert(entity) => self.insert(&mut draft, entity)?,
                Write::Update(id, progress) => {
                    let stored = draft.commands.get(id).or_else(|| self.commands.get(id));
                    let mut entity = stored.ok_or_else(|| absent(*id))?.clone();
                    entity.progress.overlay(progress);
                    draft.commands.insert(*id, entity);
                }
                Write::Once(result) => self.once(&mut draft, result)?,
                Write::Release(_) => {}
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

    fn once(&self, draft: &mut Draft, result: &OnceResult) -> Result<(), String> {
        self.known(draft, result.command_id)?;
        let key = (result.command_id, result.position);
        if self.once_results.contains_key(&key) || draft.once_results.contains_key(&key) {
            let (id, position) = key;
            return Err(format!("a result of command `{id}` at {position} is stored already"));
        }
        draft.once_results.insert(key, result.clone());
        Ok(())
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
            let root = entity.root_command_id;
            if self.commands.insert(id, entity).is_none() {
                self.members.entry(root).or_default().push(id);
            }
        }
        self.once_results.extend(draft.once_results);
    }

    fn tree(&self, root: CommandId) -> Option<TreeRows> {
        let members = self.members.get(&root)?;
        let commands = members.iter().filter_map(|id| self.commands.get(id)).cloned().collect();
        let results = |id: &CommandId| self.once_results.range((*id, i32::MIN)..=(*id, i32::MAX));
        let once_results =
            members.iter().flat_map(results).map(|(_, result)| result.clone()).collect();
        Some(TreeRows { commands, once_results })
    }
}

/// The rows that a step writes, until it is known to be whole.
#[derive(Default)]
struct Draft {
    commands: BTreeMap<CommandId, CommandEntity>,
    once_results: BTreeMap<(CommandId, i32), OnceResult>,
}

fn absent(id: CommandId) -> String {
    format!("command `{id}` is not stored")
}
