//! The file under one lease.

use std::time::Duration;

use coco_core::store::{CommitError, StoreError};
use sea_orm::QueryResult;
use sea_orm::sqlx::query::Query;
use sea_orm::sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sea_orm::sqlx::{self, Row};

use crate::backend::{Backend, Begun, Bound, FailedCommit, Marker};
use crate::batch::sqlite::{BEGIN, Values};
use crate::error::{Code, WriteError, unavailable};
use crate::options::Database;

/// What owns the file.
#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    database: Database,
    epoch: i64,
}

/// How the engine before left the store.
pub(crate) struct Predecessor {
    pub(crate) clean: bool,
}

impl Sqlite {
    /// Begins a new epoch.
    pub(crate) async fn open(
        database: Database,
    ) -> Result<(Self, SqliteConnection, Predecessor), StoreError> {
        let mut connection = database.writer().await?;
        let (epoch, clean) = begin_epoch(&mut connection).await.map_err(unavailable)?;
        Ok((Self { database, epoch }, connection, Predecessor { clean }))
    }

    pub(crate) const fn epoch(&self) -> i64 {
        self.epoch
    }
}

impl Backend for Sqlite {
    type Connection = SqliteConnection;

    fn heartbeat(&self) -> Option<Duration> {
        None
    }

    async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        self.database.writer().await
    }

    fn check(&self) -> Result<(), StoreError> {
        self.database.check_in_place()
    }

    #[cfg(feature = "testing")]
    async fn strike(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.database.strike(connection).await
    }

    async fn begin(&self, connection: &mut SqliteConnection) -> Result<Begun, sqlx::Error> {
        let found = sqlx::query(BEGIN).fetch_optional(connection).await?;
        let stored = found.as_ref().and_then(|row| row.try_get::<i64, _>("epoch").ok());
        let last_rank = found.and_then(|row| row.try_get("last_rank").ok().flatten());
        Ok(Begun { is_own: stored == Some(self.epoch), last_rank, marker: None })
    }

    async fn fetch(
        &self,
        connection: &mut SqliteConnection,
        statement: Bound<Values>,
    ) -> Result<Vec<QueryResult>, sqlx::Error> {
        let found = bind(statement).fetch_all(connection).await?;
        Ok(found.into_iter().map(QueryResult::from).collect())
    }

    async fn execute(
        &self,
        connection: &mut SqliteConnection,
        statement: Bound<Values>,
    ) -> Result<u64, sqlx::Error> {
        Ok(bind(statement).execute(connection).await?.rows_affected())
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        sql: &'static str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(connection).await.map(drop)
    }

    async fn commit(
        &self,
        connection: &mut SqliteConnection,
        _: Begun,
    ) -> Result<(), FailedCommit> {
        let Err(error) = self.run(connection, "COMMIT").await else { return Ok(()) };
        // A transaction that can still be rolled back was not committed, not in part either. Else
        // SQLite has rolled back by itself, and mostly before the commit was in the log.
        let code = Code::of(&error);
        let is_sound = self.run(connection, "ROLLBACK").await.is_ok();
        let reason = format!("COMMIT failed: {error}");
        let error = if code.is_some_and(Code::is_damage) {
            CommitError::Damaged(reason)
        } else if is_sound || code.is_some_and(Code::is_unwritten) {
            CommitError::Unavailable(reason)
        } else {
            CommitError::Unresolved(reason)
        };
        Err(if is_sound { FailedCommit::Undone(error) } else { FailedCommit::Broken(error) })
    }

    /// There are no markers.
    async fn is_committed(&self, _: &mut SqliteConnection, _: Marker) -> Result<bool, WriteError> {
        Ok(false)
    }
}

fn bind(statement: Bound<Values>) -> Query<'static, sqlx::Sqlite, SqliteArguments> {
    let Values { rows, identities } = statement.values;
    let query = rows.into_iter().fold(sqlx::query(statement.sql), Query::bind);
    match identities {
        Some(identities) => query.bind(identities),
        None => query,
    }
}

/// There is one engine, so its identity in `engines` is the nil UUID.
async fn begin_epoch(connection: &mut SqliteConnection) -> Result<(i64, bool), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let before = sqlx::query("SELECT epoch, clean FROM engines WHERE engine_id = zeroblob(16)")
        .fetch_optional(&mut *connection)
        .await?;
    let (epoch, clean) = match before {
        Some(row) => (row.try_get::<i64, _>(0)? + 1, row.try_get(1)?),
        None => (1, true),
    };
    sqlx::query(
        "INSERT INTO engines (engine_id, epoch, clean) VALUES (zeroblob(16), ?1, false) \
         ON CONFLICT (engine_id) DO UPDATE SET epoch = excluded.epoch, clean = false",
    )
    .bind(epoch)
    .execute(&mut *connection)
    .await?;
    sqlx::query("COMMIT").execute(connection).await?;
    Ok((epoch, clean))
}
