//! The store, as the core sees it.

use std::sync::Arc;

use coco_core::CommandId;
use coco_core::entity::{Audit, CommandEntity, Delivery, TreeRows};
use coco_core::store::{
    CommitError, Committed, Lease, LockRows, Step, Store, StoreError, StoreFuture,
};
use sea_orm::DatabaseConnection;

use crate::address;
use crate::options::{Database, Options};
use crate::ownership::Ownership;
use crate::read;
use crate::schema;
use crate::statistics::{Counters, Statistics};
use crate::writer::{self, Writer};

/// Stores commands in a database, with sea-orm. Clones share their connections.
#[derive(Clone, Debug)]
pub struct SeaOrmStore {
    database: Database,
    readers: DatabaseConnection,
    counters: Arc<Counters>,
}

impl SeaOrmStore {
    /// Opens the store at `address`, such as `sqlite://coco.db` or `sqlite:///var/lib/coco.db`,
    /// and makes it if there is none.
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
        let database = Database::create(&address::parse(address)?, options)?;
        let readers = database.readers();
        database.check(&readers).await?;
        schema::prepare(&database, &readers).await?;
        Ok(Self { database, readers, counters: Arc::default() })
    }

    /// How much it has written since it was opened.
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }
}

impl Store for SeaOrmStore {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        Box::pin(async {
            let ownership = Ownership::take(&self.database.path)?;
            let (writer, predecessor) =
                Writer::open(self.database.clone(), Arc::clone(&self.counters)).await?;
            let (epoch, clean) = (writer.epoch(), predecessor.clean);
            let guard = Guard { orders: writer::spawn(writer), _ownership: ownership };
            Ok(Lease { epoch, clean, guard: Box::new(guard) })
        })
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

    fn open_trees(
        &self,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        Box::pin(read::open_trees(&self.readers, after, limit))
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        Box::pin(read::tree(&self.readers, root))
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        Box::pin(read::entity(&self.readers, id))
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        Box::pin(read::audit(&self.readers, root))
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        Box::pin(read::inbox(&self.readers, command, limit))
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        Box::pin(read::locks(&self.readers, behind))
    }
}

/// What a lease holds: the way to its writer, and the lock. Dropping it ends both.
struct Guard {
    orders: writer::Orders,
    _ownership: Ownership,
}
