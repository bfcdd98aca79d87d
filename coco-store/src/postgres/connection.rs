//! The connection that writes under one lease.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coco_core::store::{CommitError, EngineId, StoreError};
use sea_orm::QueryResult;
use sea_orm::sqlx::postgres::{PgArguments, PgConnection};
use sea_orm::sqlx::{self, AssertSqlSafe};
use tokio::time::timeout;

use super::server::Server;
use crate::backend::{Backend, Begun, Bound, FailedCommit, Marker};
use crate::error::{Code, WriteError};

/// An engine of the server.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    server: Server,
    engine_id: EngineId,
    epoch: i64,
    /// The transactions that were begun.
    begun: Arc<AtomicU64>,
}

/// So many of its last commits, or twice as many, are known of an engine.
const KNOWN: u64 = 1024;

/// A connection, and whether it can still be used.
#[derive(Debug)]
pub(crate) struct Held {
    connection: PgConnection,
    is_broken: bool,
}

const LOCK_OWN: &str =
    "SELECT 1 FROM engines WHERE engine_id = $1 AND epoch = $2 FOR NO KEY UPDATE";

const FIND_COMMIT: &str = "SELECT 1 FROM commits WHERE epoch = $1 AND number = $2";

impl Postgres {
    pub(super) fn new(server: Server, engine_id: EngineId, epoch: i64) -> Self {
        Self { server, engine_id, epoch, begun: Arc::default() }
    }

    /// Begins a transaction, locks the row of the engine if it still has its epoch, and stores the
    /// number of the transaction beside what it does. The server's own number would not do: one that
    /// dies gives that of a transaction which it had not written to another.
    fn begin_as(&self, number: u64) -> String {
        let (engine, epoch) = (self.engine_id.as_uuid(), self.epoch);
        let mut sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; \
             WITH own AS MATERIALIZED (SELECT epoch FROM engines \
             WHERE engine_id = '{engine}' AND epoch = {epoch} FOR NO KEY UPDATE) \
             INSERT INTO commits (epoch, number) SELECT epoch, {number} FROM own RETURNING number"
        );
        if number.is_multiple_of(KNOWN) {
            let old = number.saturating_sub(2 * KNOWN)..number - KNOWN;
            let (begin, end) = (old.start, old.end);
            sql += &format!(
                "; DELETE FROM commits WHERE epoch = {epoch} AND number >= {begin} AND number < {end}"
            );
        }
        sql
    }

    pub(crate) const fn engine_id(&self) -> EngineId {
        self.engine_id
    }

    /// What the server answers, as long as it does. It keeps the limit itself, where it can be
    /// reached.
    async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let limit = self.server.options.limits.statement_timeout + Duration::from_secs(1);
        let late = || sqlx::Error::Io(io::Error::other(format!("no answer within {limit:?}")));
        timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

impl Held {
    pub(super) const fn new(connection: PgConnection) -> Self {
        Self { connection, is_broken: false }
    }

    /// The connection, for one question. Until that is answered it is of no use for another: a
    /// future that is dropped leaves it in the middle of an answer.
    fn ask(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if std::mem::replace(&mut self.is_broken, true) {
            return Err(sqlx::Error::Io(io::ErrorKind::NotConnected.into()));
        }
        Ok(&mut self.connection)
    }

    fn answered<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        self.is_broken = answer.as_ref().is_err_and(ends_connection);
        answer
    }
}

/// Whether the connection is of no use after this.
fn ends_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => Code::of(error).is_none_or(Code::ends_connection),
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::RowNotFound => false,
        _ => true,
    }
}

impl Backend for Postgres {
    type Connection = Held;

    fn heartbeat(&self) -> Option<Duration> {
        Some(self.server.options.limits.lease / 4)
    }

    async fn connect(&self) -> Result<Held, StoreError> {
        self.server.writer().await.map(Held::new)
    }

    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    #[cfg(feature = "testing")]
    async fn strike(&self, _: &mut Held) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn begin(&self, held: &mut Held) -> Result<Begun, sqlx::Error> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let begin = AssertSqlSafe(self.begin_as(number));
        let answer = self.in_time(sqlx::raw_sql(begin).fetch_all(held.ask()?)).await;
        let is_own = !held.answered(answer)?.is_empty();
        Ok(Begun { is_own, last_rank: None, marker: is_own.then_some(Marker(number)) })
    }

    async fn fetch(
        &self,
        held: &mut Held,
        statement: Bound<PgArguments>,
    ) -> Result<Vec<QueryResult>, sqlx::Error> {
        let query = sqlx::query_with(statement.sql, statement.values);
        let answer = self.in_time(query.fetch_all(held.ask()?)).await;
        Ok(held.answered(answer)?.into_iter().map(QueryResult::from).collect())
    }

    async fn execute(
        &self,
        held: &mut Held,
        statement: Bound<PgArguments>,
    ) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_with(statement.sql, statement.values);
        let answer = self.in_time(query.execute(held.ask()?)).await;
        Ok(held.answered(answer)?.rows_affected())
    }

    async fn run(&self, held: &mut Held, sql: &'static str) -> Result<(), sqlx::Error> {
        let answer = self.in_time(sqlx::raw_sql(sql).execute(held.ask()?)).await;
        held.answered(answer).map(drop)
    }

    async fn commit(&self, held: &mut Held, begun: Begun) -> Result<(), FailedCommit> {
        let Err(error) = self.run(held, "COMMIT").await else { return Ok(()) };
        held.is_broken = true;
        let reason = format!("COMMIT had no answer: {error}");
        Err(match begun.marker {
            Some(marker) => FailedCommit::Unknown(marker, reason),
            None => FailedCommit::Broken(CommitError::Unresolved(reason)),
        })
    }

    /// The transaction has locked the row of the engine: who has that lock sees its end.
    async fn is_committed(&self, held: &mut Held, marker: Marker) -> Result<bool, WriteError> {
        self.run(held, "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        let engine = *self.engine_id.as_uuid();
        let lock = sqlx::query(LOCK_OWN).bind(engine).bind(self.epoch);
        let answer = self.in_time(lock.fetch_optional(held.ask()?)).await;
        let is_own = held.answered(answer)?.is_some();
        let find = sqlx::query(FIND_COMMIT).bind(self.epoch).bind(marker.0.cast_signed());
        let answer = self.in_time(find.fetch_optional(held.ask()?)).await;
        let is_committed = held.answered(answer)?.is_some();
        self.run(held, "ROLLBACK").await?;
        if is_own { Ok(is_committed) } else { Err(WriteError::Commit(CommitError::Lost)) }
    }
}
