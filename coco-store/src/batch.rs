//! What a batch comes to: each step's outcome, and at most one write for each row. Pure.

pub(crate) mod sqlite;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use coco_core::CommandId;
use coco_core::entity::{CommandEntity, OnceResult, Progress};
use coco_core::lock::{self, HeldLock, HeldLocks, LockMode};
use coco_core::store::{Outcome, Step, Write};

/// The keys that the steps ask for, each once, and whether any asks for it exclusively: who holds
/// them decides the batch, and who shares them decides only about an exclusive request.
pub(crate) fn asked_keys<'a>(steps: &[&'a Step]) -> Vec<(&'a str, &'a str, bool)> {
    let requests = steps.iter().filter_map(|step| step.request.as_deref());
    let mut keys = BTreeMap::new();
    for lock in requests.flat_map(|request| &request.locks) {
        let exclusive = keys.entry((lock.group.as_ref(), lock.key.as_str())).or_insert(false);
        *exclusive |= lock.mode == LockMode::Exclusive;
    }
    keys.into_iter().map(|((group, key), exclusive)| (group, key, exclusive)).collect()
}

/// What is to be written for a batch.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// For each step, in their order.
    pub(crate) outcomes: Vec<Outcome>,
    /// Whose locks are deleted, before any are inserted.
    pub(crate) released: BTreeSet<CommandId>,
    /// The locks to insert.
    pub(crate) granted: Vec<HeldLock>,
    /// The rows to insert.
    pub(crate) inserts: Vec<Cow<'a, CommandEntity>>,
    /// The rows to update.
    pub(crate) updates: Vec<(CommandId, Cow<'a, Progress>)>,
    /// The results to insert.
    pub(crate) once_results: Vec<&'a OnceResult>,
    rows: HashMap<CommandId, Row>,
}

/// Where the write of a row stands in the plan.
#[derive(Clone, Copy, Debug)]
enum Row {
    Insert(usize),
    Update(usize),
}

impl<'a> Plan<'a> {
    /// Decides `steps` in their order; `held` says who holds the keys that they ask for.
    pub(crate) fn new(steps: &[&'a Step], mut held: HeldLocks) -> Self {
        let mut plan = Self::default();
        let mut owners = held.iter().map(|held| held.owner).collect();
        for step in steps {
            let outcome = plan.decide(step, &mut held, &mut owners);
            plan.outcomes.push(outcome);
        }
        plan
    }

    fn decide(
        &mut self,
        step: &'a Step,
        held: &mut HeldLocks,
        owners: &mut HashSet<CommandId>,
    ) -> Outcome {
        if let Some(request) = &step.request {
            if let Err(conflict) = lock::decide(held, request) {
                return Outcome::Conflict(conflict);
            }
            for lock in request.granted() {
                owners.insert(lock.owner);
                held.insert(lock.clone());
                self.granted.push(lock);
            }
        }
        for write in &step.writes {
            match write {
                Write::Insert(entity) => self.insert(entity),
                Write::Update(id, progress) => self.update(*id, progress),
                Write::Once(result) => self.once_results.push(result),
                Write::Release(owner) => {
                    self.released.insert(*owner);
                    if owners.remove(owner) {
                        held.release(*owner);
                        self.granted.retain(|lock| lock.owner != *owner);
                    }
                }
            }
        }
        Outcome::Applied
    }

    fn insert(&mut self, entity: &'a CommandEntity) {
        self.rows.insert(entity.command_id, Row::Insert(self.inserts.len()));
        self.inserts.push(Cow::Borrowed(entity));
    }

    fn update(&mut self, id: CommandId, progress: &'a Progress) {
        match self.rows.get(&id) {
            Some(Row::Insert(at)) => self.inserts[*at].to_mut().progress.overlay(progress),
            Some(Row::Update(at)) => self.updates[*at].1.to_mut().overlay(progress),
            None => {
                self.rows.insert(id, Row::Update(self.updates.len()));
                self.updates.push((id, Cow::Borrowed(progress)));
            }
        }
    }
}
