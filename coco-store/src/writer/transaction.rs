//! One transaction of the writer.

use std::collections::{BTreeSet, HashSet};

use coco_core::lock::Grant;
use coco_core::store::{CommitError, Committed, Outcome, Step};
use sea_orm::sqlx::sqlite::{SqliteConnection, SqliteRow};
use sea_orm::sqlx::{self, Row};

use super::rows::taken_key;
use crate::batch::inbox::InboxChanges;
use crate::batch::locks::{Interest, LockChanges};
use crate::batch::{Plan, TakenKeys, sqlite, submit_keys};
use crate::error::{Code, WriteError};
use crate::statistics::Counters;

pub(crate) struct Transaction<'c> {
    connection: &'c mut SqliteConnection,
    counters: &'c Counters,
    /// The last rank in the line of those who wait for locks; none where nobody does.
    pub(super) last_rank: Option<i64>,
}

/// Keys of which somebody has let go.
type Freed = BTreeSet<(String, String)>;

fn owned((group, key): (&str, &str)) -> (String, String) {
    (group.to_owned(), key.to_owned())
}

/// What a `COMMIT` that failed leaves.
pub(crate) struct FailedCommit {
    pub(crate) error: CommitError,
    pub(crate) connection_is_sound: bool,
}

impl<'c> Transaction<'c> {
    pub(crate) const fn new(connection: &'c mut SqliteConnection, counters: &'c Counters) -> Self {
        Self { connection, counters, last_rank: None }
    }

    /// Takes the turn to write, and makes sure that it is still this engine's.
    pub(crate) async fn begin(&mut self, epoch: i64) -> Result<(), WriteError> {
        self.counters.count_statement();
        self.counters.count_statement();
        let found = sqlx::query(sqlite::BEGIN).fetch_optional(&mut *self.connection).await?;
        let stored = found.as_ref().and_then(|row| row.try_get::<i64, _>("epoch").ok());
        self.last_rank = found.and_then(|row| row.try_get("last_rank").ok().flatten());
        if stored == Some(epoch) { Ok(()) } else { Err(WriteError::Commit(CommitError::Lost)) }
    }

    pub(crate) async fn commit(&mut self) -> Result<(), FailedCommit> {
        let Err(error) = self.execute("COMMIT").await else {
            self.counters.count_commit();
            return Ok(());
        };
        // A transaction that can still be rolled back was not committed, not in part either. Else
        // SQLite has rolled back by itself, and mostly before the commit was in the log.
        let code = Code::of(&error);
        let connection_is_sound = self.rollback().await;
        let reason = format!("COMMIT failed: {error}");
        let error = if code.is_some_and(Code::is_damage) {
            CommitError::Damaged(reason)
        } else if connection_is_sound || code.is_some_and(Code::is_unwritten) {
            CommitError::Unavailable(reason)
        } else {
            CommitError::Unresolved(reason)
        };
        Err(FailedCommit { error, connection_is_sound })
    }

    /// False where the connection cannot be trusted with another transaction.
    pub(crate) async fn rollback(&mut self) -> bool {
        self.execute("ROLLBACK").await.is_ok()
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
        let mut outcomes = vec![Outcome::Skipped; steps.len()];
        let mut freed = Freed::new();
        let mut inbox = InboxChanges::default();
        let mut rejected_trees = HashSet::new();
        let mut parts = vec![(0..steps.len()).collect::<Vec<_>>()];
        while let Some(mut part) = parts.pop() {
            part.retain(|&at| !rejected_trees.contains(&steps[at].root));
            let chosen: Vec<&Step> = part.iter().map(|&at| steps[at]).collect();
            self.execute("SAVEPOINT part").await?;
            match self.apply_checked(&chosen).await {
                Ok((done, freed_of_part, inbox_of_part)) => {
                    part.iter().zip(done).for_each(|(&at, done)| outcomes[at] = done);
                    freed.extend(freed_of_part);
                    inbox.append(inbox_of_part, &part);
                }
                Err(WriteError::Data(reason)) => {
                    self.execute("ROLLBACK TO part").await?;
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
            self.execute("RELEASE part").await?;
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
        self.execute("SAVEPOINT part").await?;
        let granted = match self.write(&plan).await {
            Ok(()) => plan.committed.granted,
            Err(WriteError::Data(reason)) => {
                tracing::error!(%reason, "those who wait for locks go on waiting, though they are free");
                self.execute("ROLLBACK TO part").await?;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        self.execute("RELEASE part").await?;
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
        for statement in sqlite::statements(plan)? {
            self.counters.count_statement();
            let query = sqlx::query(statement.sql).bind(statement.rows).bind(statement.identities);
            let done = query.execute(&mut *self.connection).await?;
            if statement.touches.is_some_and(|expected| done.rows_affected() < expected) {
                return Err(WriteError::Data("a row to update is not stored".to_owned()));
            }
        }
        self.last_rank = plan.locks.last_rank();
        Ok(())
    }

    /// Stores how the engine leaves.
    pub(crate) async fn release(&mut self, clean: bool) -> Result<(), WriteError> {
        self.counters.count_statement();
        sqlx::query("UPDATE engines SET clean = ?1 WHERE engine_id = zeroblob(16)")
            .bind(clean)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Who has the keys that `steps` submit commands with.
    async fn taken_keys(&mut self, steps: &[&Step]) -> Result<TakenKeys, WriteError> {
        let keys = sqlite::array(submit_keys(steps))?;
        let taken = self.read(sqlite::READ_TAKEN_KEYS, keys, taken_key).await?;
        Ok(taken.into_iter().collect())
    }

    /// What a statement finds for its rows; nothing, and no statement, for none.
    pub(super) async fn read<T>(
        &mut self,
        sql: &'static str,
        rows: Option<String>,
        decode: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, WriteError> {
        let Some(rows) = rows else { return Ok(Vec::new()) };
        let found = self.fetch(sql, &[rows]).await?;
        Ok(found.iter().map(decode).collect::<Result<_, _>>()?)
    }

    pub(super) async fn fetch(
        &mut self,
        sql: &'static str,
        values: &[String],
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        self.counters.count_statement();
        let query = values.iter().fold(sqlx::query(sql), sqlx::query::Query::bind);
        let found = query.fetch_all(&mut *self.connection).await?;
        self.counters.count_rows(found.len());
        Ok(found)
    }

    pub(super) const fn connection(&mut self) -> &mut SqliteConnection {
        self.connection
    }

    pub(super) fn count_statement(&self) {
        self.counters.count_statement();
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.counters.count_statement();
        sqlx::query(sql).execute(&mut *self.connection).await.map(drop)
    }
}

/// What the caller of a commit is told.
pub(crate) fn commit_error(error: WriteError) -> CommitError {
    match error {
        WriteError::Commit(error) => error,
        WriteError::Data(reason) => CommitError::Unavailable(reason),
    }
}
