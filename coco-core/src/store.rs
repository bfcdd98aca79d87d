//! Where commands are stored: a few operations, each one whole and atomic.
//!
//! A store knows no command and decides nothing of its own: what is to be written comes as
//! [`Step`]s from the machine, and who gets a lock is decided by
//! [`LockTable`](crate::lock::LockTable), which the store uses inside the commit. The suite in
//! [`testing::conformance`](crate::testing) (feature `testing`) says what a store has to do, and
//! runs it.

mod memory;
mod overlay;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use self::memory::MemoryStore;
use crate::entity::{Audit, CommandEntity, Delivery, TreeRows};
use crate::id::CommandId;
pub use crate::id::EngineId;
use crate::lock::{Grant, HeldLock, LockConflict, LockRefusal, WaitingRequest, WouldDeadlock};
pub use crate::machine::step::{Step, Write};
use crate::time::Timestamp;

/// A boxed future, so that a store can stand behind `dyn`.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Stores commands.
///
/// Dropping a future that a method returned must leave no transaction open and no connection in
/// an unknown state; whether its work was done is then open.
pub trait Store: Send + Sync + 'static {
    /// Takes ownership for one engine. From then on every earlier lease is lost: what is
    /// committed under it changes nothing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another engine owns the store now and it is known to live;
    /// [`StoreError::Unavailable`]; [`StoreError::Damaged`].
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>>;

    /// Gives ownership back. `clean`: the engine stopped on purpose; what still stands as active
    /// counts as interrupted, and the next engine counts no death.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the next engine counts a death.
    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>>;

    /// Applies `steps` in their order and in one durable commit, and says for each what became
    /// of it. When it returns, what was `Applied` survives the death of the process.
    ///
    /// # Errors
    /// Then nothing of the batch was applied, but for [`CommitError::Unresolved`].
    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>>;

    /// Resolves when the store sees that `lease` is lost, though nothing is committed under it: the
    /// engine stops then, as it does on [`CommitError::Lost`]. Never otherwise; a store that cannot
    /// be reached is no lost lease. One that does not look by itself leaves it to the commits.
    fn lost<'a>(&'a self, _lease: &'a Lease) -> StoreFuture<'a, ()> {
        Box::pin(std::future::pending())
    }

    /// The trees whose root is not terminal, ordered by root, after `after`, at most `limit`; fewer
    /// only where there are no more. `of`: those of this engine, where a store has several; else all. A tree with a row that cannot be read is there, and says so:
    /// [`TreeRows::unreadable`]. An open root whose own identity cannot be read is left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>>;

    /// The tree of this root, if it is stored. When a row of it cannot be read, it says so:
    /// [`TreeRows::unreadable`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>>;

    /// The tree of this root, if it is stored and belongs to this engine.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>>;

    /// The row of this command, if it is stored.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>>;

    /// What operators did to the tree of this root, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>>;

    /// The events in the inbox of a command that are not handled, in the order of their numbers, at
    /// most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>>;

    /// Who holds what, and who waits for what, each in no order. `behind`: only on the keys that
    /// this command waits for.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`], [`StoreError::Unavailable`], [`StoreError::Damaged`].
    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>>;
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        (**self).acquire()
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        (**self).release(lease, clean)
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        (**self).commit(lease, steps)
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        (**self).lost(lease)
    }

    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        (**self).open_trees(of, after, limit)
    }

    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        (**self).own_tree(engine, root)
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        (**self).tree(root)
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        (**self).entity(id)
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        (**self).audit(root)
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        (**self).inbox(command, limit)
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        (**self).locks(behind)
    }
}

/// The right of one engine to write, until another acquires the store.
pub struct Lease {
    /// Which engine it is.
    pub engine_id: EngineId,
    /// Grows with every [`Store::acquire`]; a store checks it in every commit.
    pub epoch: i64,
    /// True when the engine before this one gave its lease back cleanly, or there was none.
    pub clean: bool,
    /// What the store frees when the lease is dropped.
    pub guard: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("epoch", &self.epoch).field("clean", &self.clean).finish()
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// For each step, in their order.
    pub outcomes: Vec<Outcome>,
    /// The requests in line that were granted, because somebody let go: of this batch as well as of
    /// earlier ones.
    pub granted: Vec<Grant>,
    /// The commands that events of this batch are for and were not before: subscriptions of the
    /// same batch count, and it counts before any command of it listens no more.
    pub delivered: Vec<Delivered>,
}

/// An event has come into the inbox of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Which step of the batch published it.
    pub step: usize,
    /// The root of the command's tree.
    pub root: CommandId,
    /// The command.
    pub command: CommandId,
}

/// The lock table as it is stored, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockRows {
    /// Who holds what.
    pub held: Vec<HeldLock>,
    /// Who waits for what.
    pub waiting: Vec<WaitingRequest>,
}

/// What became of one step of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is stored durably.
    Applied,
    /// Another is in the way of its request; nothing of the step is stored.
    Conflict(LockConflict),
    /// Its request would wait for itself; nothing of the step is stored.
    WouldDeadlock(WouldDeadlock),
    /// Its request waits in line; nothing else of the step is stored.
    Queued {
        /// Until when it waits, where that has an end.
        until: Option<Timestamp>,
    },
    /// The root that it inserts has the submit key of this command; nothing of the step is stored.
    Duplicate(CommandId),
    /// The store refused its data, for this reason; nothing of the step is stored.
    Rejected(String),
    /// An earlier step of the same tree was rejected in this batch; nothing of it is stored.
    Skipped,
}

impl From<LockRefusal> for Outcome {
    fn from(refusal: LockRefusal) -> Self {
        match refusal {
            LockRefusal::Conflict(conflict) => Self::Conflict(conflict),
            LockRefusal::WouldDeadlock(cycle) => Self::WouldDeadlock(cycle),
        }
    }
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Another engine owns the store; the caller must stop.
    #[error("the store belongs to another engine now")]
    Lost,
    /// The store cannot be written now. The same batch may be tried again.
    #[error("the store cannot be written now: {0}")]
    Unavailable(String),
    /// It is not known whether the batch was applied. The caller must stop and recover.
    #[error("it is not known whether the store applied the batch: {0}")]
    Unresolved(String),
    /// What is stored is damaged, and trying again does not help. The caller must stop.
    #[error("the store is damaged: {0}; nothing of it was deleted, restore it from a backup")]
    Damaged(String),
}

/// Why a store could not be opened, owned or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another engine owns it. Stop that one, or open the store only to read.
    #[error("the store is in use by {holder}; one engine at a time can own it")]
    InUse {
        /// Who owns it, as far as it is known.
        holder: String,
    },
    /// It was written by a newer version. Use a program at least as new.
    #[error("the store has {found}, which this program does not know; use a newer version of it")]
    NewerSchema {
        /// What it does not know.
        found: String,
    },
    /// The address of the store makes no sense.
    #[error("`{address}` is not an address of a store: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it, and what to write instead.
        reason: String,
    },
    /// The database does not do what a store depends on: in what way. Use another one, or set it up
    /// otherwise.
    #[error("the database cannot be used: {0}")]
    Unsuitable(String),
    /// It cannot be reached, read or written now.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored is damaged, and trying again does not help. Restore it from a backup.
    #[error("the store is damaged: {0}; nothing of it was deleted, restore it from a backup")]
    Damaged(String),
    /// What is asked for is stored, but a column holds what is not of its type: which one, in which
    /// row, and in what way. It stays as it is, and trying again does not help: somebody has to
    /// repair the row.
    #[error("{0}")]
    Unreadable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_who_and_what_to_do() {
        let text = "text".to_owned();
        let damaged =
            "the store is damaged: text; nothing of it was deleted, restore it from a backup";
        for (error, message) in [
            (CommitError::Lost.to_string(), "the store belongs to another engine now"),
            (
                CommitError::Unavailable(text.clone()).to_string(),
                "the store cannot be written now: text",
            ),
            (
                CommitError::Unresolved(text.clone()).to_string(),
                "it is not known whether the store applied the batch: text",
            ),
            (CommitError::Damaged(text.clone()).to_string(), damaged),
            (StoreError::Damaged(text.clone()).to_string(), damaged),
            (StoreError::Unreadable(text.clone()).to_string(), "text"),
            (
                StoreError::InUse { holder: "process 7".to_owned() }.to_string(),
                "the store is in use by process 7; one engine at a time can own it",
            ),
            (
                StoreError::NewerSchema { found: "m0009".to_owned() }.to_string(),
                "the store has m0009, which this program does not know; use a newer version of it",
            ),
            (
                StoreError::Address { address: "x".to_owned(), reason: text.clone() }.to_string(),
                "`x` is not an address of a store: text",
            ),
            (StoreError::Unsuitable(text.clone()).to_string(), "the database cannot be used: text"),
            (StoreError::Unavailable(text).to_string(), "the store is unavailable: text"),
        ] {
            assert_eq!(error, message);
        }
    }
}
