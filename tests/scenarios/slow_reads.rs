//! A store whose reads of trees are counted, and can be held.

use std::sync::Arc;

use coco_core::CommandId;
use coco_core::entity::{Audit, CommandEntity, Delivery, TreeRows};
use coco_core::store::{
    CommitError, Committed, EngineId, Lease, LockRows, Step, Store, StoreError, StoreFuture,
};

use super::home::FaultyHome;
use super::world::World;

/// Notes each read of a tree in its world, and passes the gate `read` before it.
#[derive(Clone)]
pub(crate) struct SlowReads {
    pub(crate) store: FaultyHome,
    pub(crate) world: World,
}

impl Store for SlowReads {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        self.store.acquire()
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        self.store.release(lease, clean)
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        self.store.commit(lease, steps)
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        self.store.lost(lease)
    }

    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        self.store.open_trees(of, after, limit)
    }

    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        Box::pin(async move {
            self.world.note(root, "read", 1);
            self.world.pass("read").await;
            self.store.own_tree(engine, root).await
        })
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.store.tree(root)
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        self.store.entity(id)
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        self.store.audit(root)
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        self.store.inbox(command, limit)
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        self.store.locks(behind)
    }
}
