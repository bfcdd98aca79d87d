//! What a database says while no engine runs on it. A copy is asked, so that whatever a dead
//! process left to be recovered is left to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{ConnectOptions, Connection, Error, query_as, query_scalar};

/// What is stored of commands.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The commands, by their identity as it is written in a ledger.
    pub(crate) commands: BTreeMap<String, Row>,
    /// How many locks are held.
    pub(crate) locks: i64,
}

/// A command as it is stored.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// The root of its tree.
    pub(crate) root: String,
    pub(crate) status: String,
    pub(crate) end_order: Option<i64>,
    pub(crate) is_compensated: bool,
    pub(crate) is_cancelled: bool,
    pub(crate) failure: Option<String>,
}

impl Stored {
    /// Those that have ended.
    pub(crate) fn ended(&self) -> BTreeSet<String> {
        let ended = self.commands.iter().filter(|(_, row)| row.status.starts_with("ended_"));
        ended.map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = (&String, &Row)> {
        self.commands.iter().filter(|(id, row)| row.root == **id)
    }
}

/// Checks the database for damage and reads it. None: there is nothing in it yet.
pub(crate) fn read(database: &Path) -> Option<Stored> {
    if !database.exists() {
        return None;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room");
    let copy = folder.path().join("copy.db");
    for part in ["", "-wal", "-journal"] {
        let with_suffix = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(part);
            name
        };
        let original = with_suffix(database);
        if Path::new(&original).exists() {
            fs::copy(original, with_suffix(&copy)).expect("the database can be copied");
        }
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
        .block_on(read_checked(&copy))
        .expect("the database can be read")
}

async fn read_checked(database: &Path) -> Result<Option<Stored>, Error> {
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = options.disable_statement_logging().connect().await?;
    let stored = read_all(&mut connection).await;
    connection.close().await?;
    stored
}

async fn read_all(connection: &mut SqliteConnection) -> Result<Option<Stored>, Error> {
    let damage: Vec<String> =
        query_scalar("PRAGMA integrity_check").fetch_all(&mut *connection).await?;
    assert_eq!(damage, ["ok"], "the database is damaged");
    let dangling: Vec<(String, i64, String, i64)> =
        query_as("PRAGMA foreign_key_check").fetch_all(&mut *connection).await?;
    assert!(dangling.is_empty(), "rows point nowhere: {dangling:?}");

    let tables: i64 = query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE name IN ('command_locks', 'compensations')",
    )
    .fetch_one(&mut *connection)
    .await?;
    if tables < 2 {
        return Ok(None);
    }
    type Columns = (String, String, String, String, Option<i64>, bool, bool, Option<String>);
    let rows: Vec<Columns> = query_as(
        "SELECT lower(hex(command_id)), lower(hex(root_command_id)), command_type, status, \
         end_order, compensated_at IS NOT NULL, cancelled IS NOT NULL, failure \
         FROM command_entities",
    )
    .fetch_all(&mut *connection)
    .await?;
    let rows = rows.into_iter().map(
        |(id, root, name, status, end_order, compensated, cancelled, failure)| {
            let (is_compensated, is_cancelled) = (compensated, cancelled);
            let root = written(&root);
            (
                written(&id),
                Row { name, root, status, end_order, is_compensated, is_cancelled, failure },
            )
        },
    );
    let commands = rows.collect();
    let locks = query_scalar("SELECT count(*) FROM command_locks").fetch_one(connection).await?;
    Ok(Some(Stored { commands, locks }))
}

/// 32 hexadecimal digits as a UUID is written.
fn written(hex: &str) -> String {
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}
