//! One transaction of the writer.

use std::collections::HashSet;
use std::sync::Arc;

use coco_core::lock::{HeldLock, Lock, LockMode};
use coco_core::store::{CommitError, Outcome, Step};
use coco_core::{CommandId, Timestamp};
use sea_orm::sqlx::sqlite::{SqliteConnection, SqliteRow};
use sea_orm::sqlx::{self, Row};
use uuid::Uuid;

use crate::batch::locks::{LockChanges, asked_keys, passing};
use crate::batch::{Plan, TakenKeys, sqlite, submit_keys};
use crate::error::{Code, WriteError};
use crate::statistics::Counters;

pub(crate) struct Transaction<'c> {
    connection: &'c mut SqliteConnection,
    counters: &'c Counters,
}

/// What a `COMMIT` that failed leaves.
pub(crate) struct FailedCommit {
    pub(crate) error: CommitError,
    pub(crate) connection_is_sound: bool,
}

impl<'c> Transaction<'c> {
    pub(crate) const fn new(connection: &'c mut SqliteConnection, counters: &'c Counters) -> Self {
        Self { connection, counters }
    }

    /// Takes the turn to write, and makes sure that it is still this engine's.
    pub(crate) async fn begin(&mut self, epoch: i64) -> Result<(), WriteError> {
        self.execute(sqlite::BEGIN).await?;
        self.counters.count_statement();
        let stored = sqlx::query("SELECT epoch FROM engines WHERE engine_id = zeroblob(16)")
            .fetch_optional(&mut *self.connection)
            .await?;
        let stored = stored.and_then(|row| row.try_get::<i64, _>(0).ok());
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
    pub(crate) async fn apply(&mut self, steps: &[&Step]) -> Result<Vec<Outcome>, WriteError> {
        let taken_keys = self.taken_keys(steps).await?;
        let locks = self.locks(steps).await?;
        let plan = Plan::new(steps, locks, taken_keys);
        for statement in sqlite::statements(&plan)? {
            self.counters.count_statement();
            let query = sqlx::query(statement.sql).bind(statement.rows);
            let done = query.execute(&mut *self.connection).await?;
            if statement.touches.is_some_and(|expected| done.rows_affected() < expected) {
                return Err(WriteError::Data("a row to update is not stored".to_owned()));
            }
        }
        Ok(plan.outcomes)
    }

    /// Applies what can be applied: halves the batch until the steps that fail stand alone.
    pub(crate) async fn apply_apart(
        &mut self,
        steps: &[&Step],
    ) -> Result<Vec<Outcome>, WriteError> {
        let mut outcomes = vec![Outcome::Skipped; steps.len()];
        let mut rejected_trees = HashSet::new();
        let mut parts = vec![(0..steps.len()).collect::<Vec<_>>()];
        while let Some(mut part) = parts.pop() {
            part.retain(|&at| !rejected_trees.contains(&steps[at].root));
            let chosen: Vec<&Step> = part.iter().map(|&at| steps[at]).collect();
            self.execute("SAVEPOINT part").await?;
            match self.apply(&chosen).await {
                Ok(done) => part.iter().zip(done).for_each(|(&at, done)| outcomes[at] = done),
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
        Ok(outcomes)
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

    /// The locks that decide `steps`: who holds the keys that they ask for, and all that those
    /// hold who pass locks on.
    async fn locks(&mut self, steps: &[&Step]) -> Result<LockChanges, WriteError> {
        let keys = sqlite::array(asked_keys(steps).into_iter())?;
        let holders = self.read(sqlite::READ_HOLDERS, keys, held_lock).await?;
        let owners = sqlite::array(passing(steps).into_iter().map(sqlite::Id))?;
        let passing = self.read(sqlite::READ_HELD, owners, held_lock).await?;
        Ok(LockChanges::new(holders, passing))
    }

    /// Who has the keys that `steps` submit commands with.
    async fn taken_keys(&mut self, steps: &[&Step]) -> Result<TakenKeys, WriteError> {
        let keys = sqlite::array(submit_keys(steps))?;
        let taken = self.read(sqlite::READ_TAKEN_KEYS, keys, taken_key).await?;
        Ok(taken.into_iter().collect())
    }

    /// What a statement finds for its rows; nothing, and no statement, for none.
    async fn read<T>(
        &mut self,
        sql: &'static str,
        rows: Option<String>,
        decode: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, WriteError> {
        let Some(rows) = rows else { return Ok(Vec::new()) };
        self.counters.count_statement();
        let found = sqlx::query(sql).bind(rows).fetch_all(&mut *self.connection).await?;
        Ok(found.iter().map(decode).collect::<Result<_, _>>()?)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.counters.count_statement();
        sqlx::query(sql).execute(&mut *self.connection).await.map(drop)
    }
}

fn held_lock(row: &SqliteRow) -> Result<HeldLock, sqlx::Error> {
    let group: String = row.try_get("lock_group")?;
    let mode: &str = row.try_get("mode")?;
    let command_type: String = row.try_get("command_type")?;
    Ok(HeldLock {
        owner: CommandId::from_uuid(row.try_get::<Uuid, _>("command_id")?),
        command_type: command_type.into(),
        lock: Lock {
            group: group.into(),
            key: row.try_get("lock_key")?,
            mode: mode.parse().unwrap_or(LockMode::Exclusive),
        },
        since: Timestamp::from_micros(row.try_get("since")?),
    })
}

fn taken_key(row: &SqliteRow) -> Result<(Arc<str>, CommandId), sqlx::Error> {
    let key: String = row.try_get("submit_key")?;
    Ok((key.into(), CommandId::from_uuid(row.try_get::<Uuid, _>("command_id")?)))
}

/// What the caller of a commit is told.
pub(crate) fn commit_error(error: WriteError) -> CommitError {
    match error {
        WriteError::Commit(error) => error,
        WriteError::Data(reason) => CommitError::Unavailable(reason),
    }
}
