//! Where the commands of a scenario are stored, over the deaths of processes.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coco_core::entity::{CommandEntity, TreeRows};
use coco_core::prelude::*;
use coco_core::store::{Lease, MemoryStore, Store, StoreError};
use coco_core::testing::FaultyStore;
use coco_core::{Builder, EngineError};
use coco_store::{Options, SeaOrmStore, TestDatabase};
use tempfile::TempDir;

use super::world::World;

/// A store of any kind, as one process opens it.
pub(crate) type AnyStore = Arc<dyn Store>;

/// The same with faults.
pub(crate) type FaultyHome = FaultyStore<AnyStore>;

/// A store that stays when the process goes.
#[derive(Clone)]
pub(crate) enum Home {
    Memory(MemoryStore),
    Sqlite(Arc<TempDir>),
    Postgres(Arc<Database>),
}

/// A database of a server, with connections that all processes of a test read over.
pub(crate) struct Database {
    store: SeaOrmStore,
    database: TestDatabase,
}

impl Home {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryStore::default())
    }

    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Arc::new(tempfile::tempdir().expect("a temporary directory")))
    }

    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        let store = SeaOrmStore::connect(database.address()).await.expect("the database opens");
        Self::Postgres(Arc::new(Database { store, database }))
    }

    /// An empty one of the same kind.
    pub(crate) async fn another(&self) -> Self {
        match self {
            Self::Memory(_) => Self::memory(),
            Self::Sqlite(_) => Self::sqlite(),
            Self::Postgres(_) => Self::postgres().await,
        }
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The store, as a new process opens it.
    pub(crate) async fn open(&self) -> AnyStore {
        match self {
            Self::Memory(store) => Arc::new(store.clone()),
            Self::Sqlite(_) => {
                let address = format!("sqlite://{}", self.file().display());
                Arc::new(SeaOrmStore::connect(&address).await.expect("the file opens"))
            }
            Self::Postgres(database) => Arc::new(database.store.clone()),
        }
    }

    /// The store of a database, for one process that counts what it does: no heartbeat comes
    /// between.
    pub(crate) async fn counted(&self) -> SeaOrmStore {
        let address = match self {
            Self::Memory(_) => panic!("it is no database"),
            Self::Sqlite(_) => format!("sqlite://{}", self.file().display()),
            Self::Postgres(server) => server.database.address().to_owned(),
        };
        let options = Options::default().lease(Duration::from_secs(600));
        SeaOrmStore::connect_with(&address, options).await.expect("the database opens")
    }

    /// The file of the store.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Memory(_) | Self::Postgres(_) => panic!("it has no file"),
            Self::Sqlite(dir) => dir.path().join("coco.db"),
        }
    }

    /// The same with faults.
    pub(crate) async fn faulty(&self) -> FaultyHome {
        FaultyStore::new(self.open().await)
    }

    /// A new process.
    pub(crate) async fn start(&self, world: &World) -> Coordinator {
        start(self.open().await, world).await
    }

    /// The same, as `chosen`.
    pub(crate) async fn start_with(
        &self,
        world: &World,
        chosen: impl Fn(Builder) -> Builder,
    ) -> Coordinator {
        start_with(self.open().await, world, chosen).await
    }

    pub(crate) async fn tree(&self, root: CommandId) -> TreeRows {
        let tree = self.open().await.tree(root).await;
        tree.expect("the store is read").expect("the tree is stored")
    }

    pub(crate) async fn entity(&self, id: CommandId) -> CommandEntity {
        let row = self.open().await.entity(id).await;
        row.expect("the store is read").expect("the command is stored")
    }
}

/// Starts an engine on `store`. The engine of a process that was just dropped may have the store
/// for a moment longer. Hooks are tried once.
pub(crate) async fn start(store: impl Store + Clone, world: &World) -> Coordinator {
    start_with(store, world, |builder| builder).await
}

/// The same, as `chosen`.
pub(crate) async fn start_with(
    store: impl Store + Clone,
    world: &World,
    chosen: impl Fn(Builder) -> Builder,
) -> Coordinator {
    loop {
        let builder = Coordinator::builder(store.clone()).provide(world.clone());
        match chosen(builder.hook_retry(Retry::new(1))).start().await {
            Err(error) if is_in_use(&error) => tokio::task::yield_now().await,
            started => return started.expect("the engine starts"),
        }
    }
}

/// Waits until the store is free, and takes it.
pub(crate) async fn until_acquired(store: &AnyStore) -> Lease {
    loop {
        match store.acquire().await {
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            lease => return lease.expect("the store is free"),
        }
    }
}

fn is_in_use(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::InUse { .. }))
}

/// Waits until `done` says so. What it looks at has nothing to wait for.
pub(crate) async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    while !done().await {
        tokio::task::yield_now().await;
    }
}

/// Fails a scenario that hangs.
pub(crate) async fn in_time(scenario: impl Future<Output = ()>) {
    let limit = Duration::from_secs(90);
    assert!(tokio::time::timeout(limit, scenario).await.is_ok(), "the scenario hangs");
}

/// The stored failure that `result` is.
pub(crate) fn failure_of<T>(result: Result<T>) -> Failure {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error.failure().unwrap_or_else(|| panic!("no failure: {error}")).clone(),
    }
}

/// The command that is stuck, and why.
pub(crate) fn stuck_of<T>(result: Result<T>) -> (CommandId, Failure) {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => match error.downcast_ref() {
            Some(EngineError::Stuck { command, reason }) => (*command, reason.clone()),
            _ => panic!("not stuck: {error}"),
        },
    }
}

pub(crate) fn engine_error_of<T>(result: Result<T>) -> EngineError {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => match error.downcast_ref::<EngineError>() {
            Some(error) => error.clone(),
            None => panic!("no error of the engine: {error}"),
        },
    }
}

/// Makes a test for each store of each scenario.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use super::super::home::{Home, in_time};

            #[tokio::test]
            async fn memory() {
                in_time(super::$name(Home::memory())).await;
            }

            #[tokio::test]
            async fn sqlite() {
                in_time(super::$name(Home::sqlite())).await;
            }

            #[tokio::test]
            async fn postgres() {
                in_time(super::$name(Home::postgres().await)).await;
            }
        }
    )+ };
}
pub(crate) use on_every_store;

/// Makes a test for each database of each scenario.
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use super::super::home::{Home, in_time};

            #[tokio::test]
            async fn on_sqlite() {
                in_time(super::$name(Home::sqlite())).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                in_time(super::$name(Home::postgres().await)).await;
            }
        }
    )+ };
}
pub(crate) use on_each_database;

/// Makes a test in memory of each scenario in which time passes as soon as nothing else happens.
macro_rules! in_no_time {
    ($($name:ident),+ $(,)?) => { $(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            scenario::$name(crate::scenarios::home::Home::memory()).await;
        }
    )+ };
}
pub(crate) use in_no_time;
