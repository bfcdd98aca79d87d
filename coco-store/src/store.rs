//! The store, as the core sees it.

use std::sync::Arc;

use coco_core::CommandId;
use coco_core::entity::{Audit, CommandEntity, Delivery, TreeRows};
use coco_core::store::{
    CommitError, Committed, EngineId, Lease, LockRows, Step, Store, StoreError, StoreFuture,
};

use crate::address;
use crate::options::{Database as File, Options};
use crate::ownership::Ownership;
#[cfg(feature = "postgres")]
use crate::postgres::{Claim, Server, claim};
use crate::read;
use crate::readers::Readers;
use crate::schema;
use crate::sqlite::Sqlite;
use crate::statistics::{Counters, Statistics};
use crate::writer::{self, Writer};

/// Stores commands in a database, with sea-orm. Clones share their connections.
#[derive(Clone, Debug)]
pub struct SeaOrmStore {
    database: Database,
    readers: Readers,
    counters: Arc<Counters>,
}

/// Where it is.
#[derive(Clone, Debug)]
enum Database {
    File(File),
    #[cfg(feature = "postgres")]
    Server(Arc<Server>),
}

impl SeaOrmStore {
    /// Opens the store at `address`, such as `sqlite://coco.db` or `sqlite:///var/lib/coco.db`,
    /// and makes it if there is none; or, with the feature `postgres`, in the database of a server,
    /// such as `postgres://user@host/database`.
    ///
    /// # Errors
    /// [`StoreError::Address`] for anything else; [`StoreError::NewerSchema`] when a newer version
    /// wrote it; [`StoreError::InUse`] when an engine of an older version owns it, and has to stop
    /// before the tables can be migrated; [`StoreError::Damaged`] when it is no database, or what
    /// was read of it is damaged: nothing is changed then; [`StoreError::Unavailable`].
    pub async fn connect(address: &str) -> Result<Self, StoreError> {
        Self::connect_with(address, Options::default()).await
    }

    /// Opens the store at `address` as `options` say.
    ///
    /// # Errors
    /// See [`connect`](Self::connect).
    pub async fn connect_with(address: &str, options: Options) -> Result<Self, StoreError> {
        #[cfg(feature = "postgres")]
        if address::is_postgres(address) {
            let server = Server::parse(address, options)?;
            let readers = Readers::of_server(&server);
            schema::prepare_server(&server, &readers).await?;
            return Ok(Self {
                database: Database::Server(Arc::new(server)),
                readers,
                counters: Arc::default(),
            });
        }
        let file = File::create(&address::parse(address)?, options)?;
        let readers = file.readers();
        file.check(&readers).await?;
        schema::prepare(&file, &readers).await?;
        let readers = Readers::of_file(readers);
        Ok(Self { database: Database::File(file), readers, counters: Arc::default() })
    }

    /// Closes the connections that read; a store that is dropped closes them later.
    #[cfg(all(feature = "testing", feature = "postgres"))]
    pub(crate) async fn close(self) {
        let _ = self.readers.connections().close().await;
    }

    /// How much it has written since it was opened.
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }
}

impl Store for SeaOrmStore {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        let counters = Arc::clone(&self.counters);
        match &self.database {
            Database::File(file) => Box::pin(async {
                let ownership = Ownership::take(&file.path)?;
                let (sqlite, connection, predecessor) = Sqlite::open(file.clone()).await?;
                let (epoch, clean) = (sqlite.epoch(), predecessor.clean);
                let orders = writer::spawn(Writer::new(sqlite, counters, connection));
                let guard = Box::new(Guard { orders, _owner: Box::new(ownership) });
                Ok(Lease { engine_id: EngineId::ONLY, epoch, clean, guard })
            }),
            #[cfg(feature = "postgres")]
            Database::Server(server) => Box::pin(async {
                let claim = claim(server).await?;
                let Claim { postgres, connection, epoch, clean, incarnation } = claim;
                let engine_id = postgres.engine_id();
                let orders = writer::spawn(Writer::new(postgres, counters, connection));
                let guard = Box::new(Guard { orders, _owner: Box::new(incarnation) });
                Ok(Lease { engine_id, epoch, clean, guard })
            }),
        }
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match lease.guard.downcast_ref::<Guard>() {
                Some(guard) => guard.orders.release(clean).await,
                None => Ok(()),
            }
        })
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        Box::pin(async move {
            match lease.guard.downcast_ref::<Guard>() {
                Some(guard) => guard.orders.commit(steps).await,
                None => Err(CommitError::Lost),
            }
        })
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            if let Some(guard) = lease.guard.downcast_ref::<Guard>() {
                guard.orders.lost().await;
            }
        })
    }

    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        let of = self.several(of);
        self.readers.read(async move |readers| read::open_trees(&readers, of, after, limit).await)
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.readers.read(async move |readers| read::tree(&readers, None, root).await)
    }

    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        let of = self.several(Some(engine));
        self.readers.read(async move |readers| read::tree(&readers, of, root).await)
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        self.readers.read(async move |readers| read::entity(&readers, id).await)
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        self.readers.read(async move |readers| read::audit(&readers, root).await)
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        self.readers.read(async move |readers| read::inbox(&readers, command, limit).await)
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        self.readers.read(async move |readers| read::locks(&readers, behind).await)
    }
}

impl SeaOrmStore {
    /// The engine whose trees are asked for, where there may be others.
    fn several(&self, of: Option<EngineId>) -> Option<EngineId> {
        of.filter(|_| !matches!(self.database, Database::File(_)))
    }
}

/// What a lease holds: the way to its writer, and what says that it is held. Dropping it ends both.
struct Guard {
    orders: writer::Orders,
    _owner: Box<dyn Send + Sync>,
}
