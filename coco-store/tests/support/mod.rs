//! Steps to commit, and a file to commit them to.

use coco_core::entity::{CommandEntity, Progress};
use coco_core::store::{Lease, Outcome, Step, Store, Write};
use coco_core::{CommandId, CommandStatus, Timestamp};
use coco_store::{Options, SeaOrmStore};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection};
use tempfile::TempDir;
use uuid::Uuid;

/// A directory with a store in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("failed to make a directory"))
    }

    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn address(&self) -> String {
        format!("sqlite://{}", self.file("coco.db").display())
    }

    pub(crate) async fn open(&self) -> SeaOrmStore {
        self.open_with(Options::default()).await
    }

    pub(crate) async fn open_with(&self, options: Options) -> SeaOrmStore {
        SeaOrmStore::connect_with(&self.address(), options).await.expect("failed to connect")
    }

    /// Another program that uses the same file.
    pub(crate) async fn stranger(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.file("coco.db"));
        let options = options.create_if_missing(true);
        SqliteConnection::connect_with(&options).await.expect("failed to connect")
    }
}

pub(crate) async fn run(connection: &mut SqliteConnection, sql: impl Into<String>) {
    let sql = sql.into();
    let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(connection).await;
    done.expect(&sql);
}

pub(crate) fn id(n: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn progress(status: CommandStatus) -> Progress {
    Progress {
        status,
        stuck_from: None,
        stuck_reason: None,
        executed: false,
        callback_notified: false,
        attempt: 0,
        hook_attempt: 0,
        started_at: None,
        wake_at: None,
        cancelled: None,
        seen: None,
        undo: None,
        compensated_at: None,
        state: None,
        return_value: None,
        failure: None,
        end_order: None,
        ended_at: None,
        deaths: 0,
        deaths_end_order: 0,
    }
}

pub(crate) fn step(n: u128, write: Write) -> Step {
    Step { root: id(n), command: id(n), request: None, writes: vec![write] }
}

/// Inserts the root `n`.
pub(crate) fn insert(n: u128) -> Step {
    let entity = CommandEntity {
        command_id: id(n),
        command_type: "move_disk".into(),
        parent_command_id: None,
        root_command_id: id(n),
        position: 0,
        command_parameters: "{}".into(),
        created_at: Timestamp::from_micros(1),
        callback_enabled: false,
        submit_key: None,
        resubmit_of: None,
        retry: None,
        progress: progress(CommandStatus::Active),
    };
    step(n, Write::Insert(Box::new(entity)))
}

pub(crate) async fn apply(store: &SeaOrmStore, lease: &Lease, steps: Vec<Step>) {
    let outcomes = store.commit(lease, steps.into()).await.expect("failed to commit").outcomes;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
}
