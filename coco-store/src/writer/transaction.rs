//! One transaction of the writer.

use std::collections::{BTreeSet, HashSet};

use coco_core::lock::Grant;
use coco_core::store::{CommitError, Committed, Outcome, Step};
use sea_orm::{DbErr, QueryResult};

use super::rows::taken_key;
use crate::backend::{Backend, Begun, Bound, FailedCommit};
use crate::batch::inbox::InboxChanges;
use crate::batch::locks::{Interest, LockChanges};
use crate::batch::{Plan, TakenKeys, submit_keys};
use crate::error::WriteError;
use crate::statistics::Counters;

pub(crate) struct Transaction<'c, B: Backend> {
    pub(super) backend: &'c B,
    connection: &'c mut B::Connection,
    counters: &'c Counters,
    begun: Begun,
    has_turn: bool,
    /// The last rank in the line of those who wait for locks; none where nobody does.
    pub(super) last_rank: Option<i64>,
}

/// Keys of which somebody has let go.
type Freed = BTreeSet<(String, String)>;

fn owned((group, key): (&str, &str)) -> (String, String) {
    (group.to_owned(), key.to_owned())
}

impl<'c, B: Backend> Transaction<'c, B> {
    pub(crate) fn new(
        backend: &'c B,
        connection: &'c mut B::Connection,
        counters: &'c Counters,
    ) -> Self {
        let begun = Begun::default();
        Self { backend, connection, counters, begun, has_turn: false, last_rank: None }
    }

    /// Takes the turn to write, and makes sure that it is still this engine's.
    pub(crate) async fn begin(&mut self) -> Result<(), WriteError> {
        self.counters.count_statement();
        self.counters.count_statement();
        self.begun = self.backend.begin(self.connection).await?;
        self.last_rank = self.begun.last_rank;
        if self.begun.is_own { Ok(()) } else { Err(WriteError::Commit(CommitError::Lost)) }
    }

    pub(crate) async fn commit(&mut self) -> Result<(), FailedCommit> {
        self.counters.count_statement();
        self.backend.commit(self.connection, self.begun).await?;
        self.counters.count_commit();
        Ok(())
    }

    /// False where the connection cannot be trusted with another transaction.
    pub(crate) async fn rollback(&mut self) -> bool {
        self.run("ROLLBACK").await.is_ok()
    }

    /// Applies all of `steps`, or fails.
    pub(crate) async fn apply(&mut self, steps: &[&Step]) -> Result<Committed, WriteError> {
        let applied = self.apply_part(steps, |plan| {
            plan.grant();
            (std::mem::take(&mut plan.committed), std::mem::take(&mut plan.inbox))
        });
        let (mut committed, inbox) = applied.await?;
        committed.delivered = self.deliver(&inbox).await?;
        Ok(committed)
    }

    /// Applies what can be applied: halves the batch until the steps that fail stand alone. What
    /// they have let go of is granted, and what they publish is delivered, when all are through.
    pub(crate) async fn apply_apart(&mut self, steps: &[&Step]) -> Result<Committed, WriteError> {
        // What is taken inside a part goes with it, if it fails.
        if !Interest::of(steps).is_empty() {
            self.take_turn().await?;
        }
        let mut outcomes = vec![Outcome::Skipped; steps.len()];
        let mut freed = Freed::new();
        let mut inbox = InboxChanges::default();
        let mut rejected_trees = HashSet::new();
        let mut parts = vec![(0..steps.len()).collect::<Vec<_>>()];
        while let Some(mut part) = parts.pop() {
            part.retain(|&at| !rejected_trees.contains(&steps[at].root));
            let chosen: Vec<&Step> = part.iter().map(|&at| steps[at]).collect();
            self.run("SAVEPOINT part").await?;
            match self.apply_checked(&chosen).await {
                Ok((done, freed_of_part, inbox_of_part)) => {
                    part.iter().zip(done).for_each(|(&at, done)| outcomes[at] = done);
                    freed.extend(freed_of_part);
                    inbox.append(inbox_of_part, &part);
                }
                Err(WriteError::Data(reason)) => {
                    self.run("ROLLBACK TO part").await?;
                    if let [at] = part[..] {
                        rejected_trees.insert(steps[at].root);
                        outcomes[at] = Outcome::Rejected(reason);
                    } else {
                        let second = part.split_off(part.len() / 2);
                        parts.extend([second, part]);
                    }
                }
                Err(error) => return Err(error),
            }
            self.run("RELEASE part").await?;
        }
        let granted = self.grant(&freed).await?;
        Ok(Committed { outcomes, granted, delivered: self.deliver_apart(&inbox).await? })
    }

    /// Applies `steps`, but for what they free and what they say about events, or fails.
    async fn apply_checked<'s>(
        &mut self,
        steps: &[&'s Step],
    ) -> Result<(Vec<Outcome>, Freed, InboxChanges<'s>), WriteError> {
        let applied = self.apply_part(steps, |plan| {
            let freed: Freed = plan.locks.freed().map(owned).collect();
            let outcomes = std::mem::take(&mut plan.committed.outcomes);
            (outcomes, freed, std::mem::take(&mut plan.inbox))
        });
        let applied = applied.await?;
        self.check_events(&applied.2.events).await?;
        Ok(applied)
    }

    /// Grants what others have let go of in the parts of a batch.
    async fn grant(&mut self, freed: &Freed) -> Result<Vec<Grant>, WriteError> {
        if freed.is_empty() || self.last_rank.is_none() {
            return Ok(Vec::new());
        }
        let known = self.locks(&Interest::of_freed(freed)).await?;
        let mut locks = LockChanges::new(&known);
        freed.iter().for_each(|(group, key)| locks.free(group, key));
        let mut plan = Plan::new(&[], locks, TakenKeys::new());
        plan.grant();
        self.run("SAVEPOINT part").await?;
        let granted = match self.write(&plan).await {
            Ok(()) => plan.committed.granted,
            Err(WriteError::Data(reason)) => {
                tracing::error!(%reason, "those who wait for locks go on waiting, though they are free");
                self.run("ROLLBACK TO part").await?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        self.run("RELEASE part").await?;
        Ok(granted)
    }

    /// Plans `steps`, lets `finish` have its way with the plan, and writes it, or fails.
    async fn apply_part<'s, T>(
        &mut self,
        steps: &[&'s Step],
        finish: impl FnOnce(&mut Plan<'s, '_>) -> T,
    ) -> Result<T, WriteError> {
        let taken_keys = self.taken_keys(steps).await?;
        let interest = Interest::of(steps);
        let mut known = self.locks(&interest).await?;
        let mut plan = Plan::new(steps, LockChanges::new(&known), taken_keys.clone());
        if plan.locks.lacks_cycles() {
            drop(plan);
            self.add_cycles(&mut known, &interest).await?;
            plan = Plan::new(steps, LockChanges::new(&known), taken_keys);
        }
        let done = finish(&mut plan);
        self.write(&plan).await?;
        Ok(done)
    }

    async fn write(&mut self, plan: &Plan<'_, '_>) -> Result<(), WriteError> {
        for statement in self.backend.writes(plan)? {
            self.execute(statement).await?;
        }
        self.last_rank = plan.locks.last_rank();
        Ok(())
    }

    /// Stores how the engine leaves.
    pub(crate) async fn release(&mut self, clean: bool) -> Result<(), WriteError> {
        match self.backend.release(clean)? {
            Some(statement) => self.execute(statement).await.map(drop),
            None => Ok(()),
        }
    }

    /// Shows that the engine lives.
    pub(crate) async fn beat(&mut self) -> Result<(), WriteError> {
        match self.backend.beat()? {
            Some(statement) => self.execute(statement).await.map(drop),
            None => Ok(()),
        }
    }

    /// Takes the turn to decide about locks.
    pub(super) async fn take_turn(&mut self) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.has_turn, true) {
            return Ok(());
        }
        for statement in B::turn()? {
            let found = self.returning(statement).await?;
            self.last_rank = match found.first() {
                Some(row) => row.try_get_by("last_rank").unwrap_or(None),
                None => None,
            };
        }
        Ok(())
    }

    /// Who has the keys that `steps` submit commands with.
    async fn taken_keys(&mut self, steps: &[&Step]) -> Result<TakenKeys, WriteError> {
        let taken = self.read(B::taken_keys(submit_keys(steps))?, taken_key).await?;
        Ok(taken.into_iter().collect())
    }

    /// What a statement finds; nothing for none.
    pub(super) async fn read<T>(
        &mut self,
        statement: Option<Bound<B::Values>>,
        decode: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, WriteError> {
        let Some(statement) = statement else { return Ok(Vec::new()) };
        let found = self.fetch(statement).await?;
        Ok(found.iter().map(decode).collect::<Result<_, _>>()?)
    }

    pub(super) async fn fetch(
        &mut self,
        statement: Bound<B::Values>,
    ) -> Result<Vec<QueryResult>, WriteError> {
        let found = self.returning(statement).await?;
        self.counters.count_rows(found.len());
        Ok(found)
    }

    /// What a statement gives that is not looked for: rows that it has written.
    pub(super) async fn returning(
        &mut self,
        statement: Bound<B::Values>,
    ) -> Result<Vec<QueryResult>, WriteError> {
        self.counters.count_statement();
        Ok(self.backend.fetch(self.connection, statement).await?)
    }

    /// Says how many rows a statement has touched.
    pub(super) async fn execute(&mut self, statement: Bound<B::Values>) -> Result<u64, WriteError> {
        self.counters.count_statement();
        let touches = statement.touches;
        let done = self.backend.execute(self.connection, statement).await?;
        if touches.is_some_and(|expected| done < expected) {
            return Err(WriteError::Data("a row to update is not stored".to_owned()));
        }
        Ok(done)
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), WriteError> {
        self.counters.count_statement();
        Ok(self.backend.run(self.connection, sql).await?)
    }
}

/// What the caller of a commit is told.
pub(crate) fn commit_error(error: WriteError) -> CommitError {
    match error {
        WriteError::Commit(error) => error,
        WriteError::Data(reason) => CommitError::Unavailable(reason),
    }
}
