//! How a store is opened, and the connections that follow from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use coco_core::store::StoreError;
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use sea_orm::{DatabaseConnection, SqlxSqliteConnector};

use crate::error::unavailable;

/// How long a statement waits for another process that writes to the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers at the same time.
const READERS: u32 = 4;

/// What a commit outlives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process, and power failure: every commit is synced to the disk.
    #[default]
    Full,
    /// The death of the process. After a power failure the last commits may be missing; the file
    /// is sound.
    Relaxed,
}

/// How a store is opened: [`SeaOrmStore::connect_with`](crate::SeaOrmStore::connect_with).
#[derive(Clone, Debug, Default)]
pub struct Options {
    durability: Durability,
}

impl Options {
    /// What a commit outlives; [`Durability::Full`] unless said otherwise.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

/// The file of a store, and how it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    options: Options,
}

impl Database {
    /// Makes the file if there is none, so that it has a canonical path.
    pub(crate) fn create(path: &Path, options: Options) -> Result<Self, StoreError> {
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let path = opened.and_then(|_| path.canonicalize()).map_err(|error| {
            StoreError::Unavailable(format!("failed to open `{}`: {error}", path.display()))
        })?;
        Ok(Self { path, options })
    }

    fn connections(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging()
    }

    /// The connections that read. They cannot write.
    pub(crate) fn readers(&self) -> DatabaseConnection {
        let options = self.connections().pragma("query_only", "true");
        let pool = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options);
        SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
    }

    /// One connection for the schema.
    pub(crate) async fn migrator(&self) -> Result<DatabaseConnection, StoreError> {
        let options = self.writing();
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.map_err(unavailable)?))
    }

    /// The connection that writes, with its pragmas checked: a file system that cannot have them
    /// would lose data without a word.
    pub(crate) async fn writer(&self) -> Result<SqliteConnection, StoreError> {
        let mut connection =
            SqliteConnection::connect_with(&self.writing()).await.map_err(unavailable)?;
        let (_, synchronous) = self.synchronous();
        for (pragma, expected) in [
            ("PRAGMA journal_mode", "wal"),
            ("PRAGMA synchronous", synchronous),
            ("PRAGMA foreign_keys", "1"),
        ] {
            let found = pragma_value(&mut connection, pragma).await.map_err(unavailable)?;
            if found != expected {
                let reason = format!("{pragma} is `{found}` and not `{expected}`");
                return Err(StoreError::Unavailable(reason));
            }
        }
        Ok(connection)
    }

    fn writing(&self) -> SqliteConnectOptions {
        let (synchronous, _) = self.synchronous();
        self.connections().journal_mode(SqliteJournalMode::Wal).synchronous(synchronous)
    }

    const fn synchronous(&self) -> (SqliteSynchronous, &'static str) {
        match self.options.durability {
            Durability::Full => (SqliteSynchronous::Full, "2"),
            Durability::Relaxed => (SqliteSynchronous::Normal, "1"),
        }
    }
}

async fn pragma_value(
    connection: &mut SqliteConnection,
    pragma: &'static str,
) -> Result<String, sqlx::Error> {
    use sqlx::{Row, TypeInfo, ValueRef};
    let row = sqlx::query(pragma).fetch_one(connection).await?;
    if row.try_get_raw(0)?.type_info().name() == "INTEGER" {
        row.try_get::<i64, _>(0).map(|number| number.to_string())
    } else {
        row.try_get(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commits_are_synced_unless_relaxed() {
        let directory = tempfile::tempdir().unwrap();
        for (durability, synchronous) in [(Durability::Full, "2"), (Durability::Relaxed, "1")] {
            let options = Options::default().durability(durability);
            let database = Database::create(&directory.path().join("coco.db"), options).unwrap();
            let mut writer = database.writer().await.unwrap();
            for (pragma, expected) in [
                ("PRAGMA journal_mode", "wal"),
                ("PRAGMA synchronous", synchronous),
                ("PRAGMA foreign_keys", "1"),
                ("PRAGMA busy_timeout", "5000"),
            ] {
                let found = pragma_value(&mut writer, pragma).await.unwrap();
                assert_eq!(found, expected, "{pragma} of {durability:?}");
            }
        }
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        use sea_orm::ConnectionTrait;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("coco.db");
        let database = Database::create(&path, Options::default()).unwrap();
        let error = database.readers().execute_unprepared("CREATE TABLE t (x)").await.unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
    }
}
