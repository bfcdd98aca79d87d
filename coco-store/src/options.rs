//! How a store is opened, and the connections that follow from it.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coco_core::store::StoreError;
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, SqlxSqliteConnector, Statement};

use crate::error::unavailable;
use crate::ownership::beside;

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
    pub(crate) durability: Durability,
    check: bool,
    #[cfg(feature = "postgres")]
    pub(crate) limits: Limits,
    #[cfg(feature = "testing")]
    faults: crate::Faults,
}

/// How long a server may take.
#[cfg(feature = "postgres")]
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) connect_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) lease: Duration,
}

#[cfg(feature = "postgres")]
impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// What a commit outlives; [`Durability::Full`] unless said otherwise.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Reads the whole file when it is opened, and refuses one that is damaged anywhere. Else
    /// damage shows when what is damaged is read.
    #[must_use]
    pub const fn check(mut self) -> Self {
        self.check = true;
        self
    }

    /// How long it may take to connect to PostgreSQL, and to get a connection to read with; 5
    /// seconds unless said otherwise.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub const fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.limits.connect_timeout = connect_timeout;
        self
    }

    /// How long a statement may take on PostgreSQL; 30 seconds unless said otherwise. After that
    /// its connection is given up, and the same is tried again on a new one.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub const fn statement_timeout(mut self, statement_timeout: Duration) -> Self {
        self.limits.statement_timeout = statement_timeout;
        self
    }

    /// How long an engine on another machine may show no life on PostgreSQL before one that starts
    /// takes over its trees; 10 seconds unless said otherwise, and the same for all engines of a
    /// database. It shows it four times as often.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.limits.lease = lease;
        self
    }

    /// A disk with faults.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn faults(mut self, faults: crate::Faults) -> Self {
        self.faults = faults;
        self
    }
}

/// The file of a store, and how it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    identity: Identity,
    options: Options,
}

impl Database {
    /// Makes the file if there is none, so that it has a canonical path.
    pub(crate) fn create(path: &Path, options: Options) -> Result<Self, StoreError> {
        let failed = |error: io::Error| {
            StoreError::Unavailable(format!("failed to open `{}`: {error}", path.display()))
        };
        // One that exists is not opened here. To close it would free the locks that SQLite has on
        // it in this process, and another process would delete the log under an engine.
        match File::create_new(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let path = path.canonicalize().map_err(failed)?;
        let file = path.metadata().map_err(failed)?;
        if !file.is_file() {
            return Err(failed(io::Error::other("it is no file")));
        }
        // SQLite deletes the log of an empty file, and with it what is stored in the log only.
        let log = beside(&path, "-wal");
        if file.len() == 0 && log.metadata().is_ok_and(|log| log.len() > 0) {
            let (path, log) = (path.display(), log.display());
            let reason = format!("`{path}` is empty, and its log `{log}` is not");
            return Err(StoreError::Damaged(reason));
        }
        Ok(Self { identity: identity(&file), path, options })
    }

    /// Makes sure that the file was not deleted or replaced: what is written to one that is gone
    /// is lost with the process.
    pub(crate) fn check_in_place(&self) -> Result<(), StoreError> {
        match self.path.metadata() {
            Ok(file) if identity(&file) == self.identity => Ok(()),
            _ => {
                let path = self.path.display();
                let reason = format!("`{path}` was deleted or replaced while it was open");
                Err(StoreError::Damaged(reason))
            }
        }
    }

    /// Reads the whole file, where that is asked for.
    pub(crate) async fn check(&self, readers: &DatabaseConnection) -> Result<(), StoreError> {
        if !self.options.check {
            return Ok(());
        }
        let check = readers
            .query_one_raw(Statement::from_string(DbBackend::Sqlite, "PRAGMA quick_check(1)"));
        let found = check.await.map_err(unavailable)?;
        let found = found.map(|row| row.try_get_by_index::<String>(0)).transpose();
        match found.map_err(unavailable)?.as_deref() {
            Some("ok") => Ok(()),
            found => Err(StoreError::Damaged(found.unwrap_or("no answer").to_owned())),
        }
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
        self.check_in_place()?;
        let mut connection =
            SqliteConnection::connect_with(&self.writing()).await.map_err(unavailable)?;
        let (_, synchronous) = self.synchronous();
        check_pragmas(&mut connection, synchronous).await?;
        Ok(connection)
    }

    /// Lets the faults of a test strike before a transaction.
    #[cfg(feature = "testing")]
    pub(crate) async fn strike(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        self.options.faults.strike(connection).await
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

/// Which file it is, whatever its name.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// A file that is open cannot be deleted there.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}

async fn check_pragmas(
    connection: &mut SqliteConnection,
    synchronous: &str,
) -> Result<(), StoreError> {
    for (pragma, expected) in [
        ("PRAGMA journal_mode", "wal"),
        ("PRAGMA synchronous", synchronous),
        ("PRAGMA foreign_keys", "1"),
    ] {
        let found = pragma_value(connection, pragma).await.map_err(unavailable)?;
        if found != expected {
            let reason = format!("{pragma} is `{found}` and not `{expected}`");
            return Err(StoreError::Unavailable(reason));
        }
    }
    Ok(())
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
    async fn a_database_that_has_no_log_is_refused() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let error = check_pragmas(&mut connection, "2").await.unwrap_err();
        let text = "the store is unavailable: PRAGMA journal_mode is `memory` and not `wal`";
        assert_eq!(error.to_string(), text);
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("coco.db");
        let database = Database::create(&path, Options::default()).unwrap();
        let error = database.readers().execute_unprepared("CREATE TABLE t (x)").await.unwrap_err();
        assert!(error.to_string().contains("readonly"), "{error}");
    }
}
