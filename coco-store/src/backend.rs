//! What a database of one kind brings: its statements with what they bind, and the connection that
//! executes them under one lease. All else about a transaction is the writer's.

use std::future::Future;
use std::time::Duration;

use coco_core::CommandId;
use coco_core::lock::WaitingRequest;
use coco_core::store::{CommitError, StoreError};
use sea_orm::QueryResult;
use sea_orm::sqlx;

use crate::batch::Plan;
use crate::batch::inbox::{Audience, InboxChanges};
use crate::batch::locks::Interest;
use crate::error::WriteError;

/// A statement and what it binds.
#[derive(Debug)]
pub(crate) struct Bound<V> {
    pub(crate) sql: &'static str,
    pub(crate) values: V,
    /// How many rows it must touch, where less would be an error.
    pub(crate) touches: Option<u64>,
}

impl<V> Bound<V> {
    pub(crate) const fn new(sql: &'static str, values: V) -> Self {
        Self { sql, values, touches: None }
    }

    pub(crate) const fn touching(mut self, rows: usize) -> Self {
        self.touches = Some(rows as u64);
        self
    }
}

/// A statement, where there is anything for it to do.
pub(crate) type Statement<V> = Result<Option<Bound<V>>, WriteError>;

/// The statements of a database. One has the same text for any number of rows; it is none for no
/// rows. Pure.
pub(crate) trait Dialect {
    /// What a statement binds.
    type Values: Send;

    /// Those that write `plan`, in their order. What is changed was stored before the batch, so it
    /// is changed before anything is inserted.
    fn writes(&self, plan: &Plan<'_, '_>) -> Result<Vec<Bound<Self::Values>>, WriteError>;

    /// Take the turn to decide about locks; the last one finds the last rank in the line, as
    /// `last_rank`. None where who has begun has that turn.
    fn turn() -> Result<Vec<Bound<Self::Values>>, WriteError>;

    /// Finds which of these submit keys are taken.
    fn taken_keys<'k>(keys: impl Iterator<Item = &'k str>) -> Statement<Self::Values>;

    /// Finds the part of the line that decides a batch.
    fn line(interest: &Interest<'_>) -> Statement<Self::Values>;

    /// Finds who holds the keys that are asked for and those that `waiting` waits for, and, where
    /// somebody waits, what the roots hold that ask for their start.
    fn holders(
        interest: &Interest<'_>,
        waiting: &[WaitingRequest],
        is_line: bool,
    ) -> Statement<Self::Values>;

    /// Finds what these commands hold.
    fn held(commands: impl Iterator<Item = CommandId>) -> Statement<Self::Values>;

    /// Finds the trees that wait for those of these roots, and for each other.
    fn trees(roots: impl Iterator<Item = CommandId>) -> Statement<Self::Values>;

    /// Finds who listens for the keys of an audience, each by its place `key`, and the number of
    /// the newest delivery, as `newest`.
    fn listening(audience: &Audience<'_, '_>) -> Statement<Self::Values>;

    /// Puts the events of an audience into the inboxes of those who listen.
    fn publish(audience: &Audience<'_, '_>) -> Statement<Self::Values>;

    /// Finds what was delivered since `newest`; none where `publish` finds what it has delivered.
    fn delivered_after(newest: i64) -> Statement<Self::Values>;

    /// Fails as `publish` does where the events are not such as can be bound.
    fn check_events(audience: &Audience<'_, '_>) -> Statement<Self::Values>;

    /// Forgets what is handled, and what those who listen no more had.
    fn forget(changes: &InboxChanges<'_>) -> Result<Vec<Bound<Self::Values>>, WriteError>;

    /// Stores how the engine leaves.
    fn release(&self, clean: bool) -> Statement<Self::Values>;

    /// Shows that the engine lives, where others look for that.
    fn beat(&self) -> Statement<Self::Values>;
}

/// What the head of a transaction finds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    /// Whether the store is still this engine's.
    pub(crate) is_own: bool,
    /// The last rank in the line of those who wait for locks, where no other engine can change it.
    pub(crate) last_rank: Option<i64>,
    /// What can be asked for later, to find out whether the transaction was committed.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file answers"))]
    pub(crate) marker: Option<Marker>,
}

/// A transaction, by the number that its engine has given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker(pub(crate) u64);

/// What a `COMMIT` that failed leaves.
#[derive(Debug)]
pub(crate) enum FailedCommit {
    /// It was not committed, and the connection can be trusted with another transaction.
    Undone(CommitError),
    /// The connection cannot be trusted.
    Broken(CommitError),
    /// The connection cannot be trusted, and the marker says what became of it.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a file answers"))]
    Unknown(Marker, String),
}

/// The database under one lease.
pub(crate) trait Backend: Dialect + Send + Sync + 'static {
    /// A connection that writes.
    type Connection: Send;

    /// How often it has to show that the engine lives; none where the system knows.
    fn heartbeat(&self) -> Option<Duration>;

    /// Opens a connection.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Makes sure that what a connection writes to is still what was opened.
    fn check(&self) -> Result<(), StoreError>;

    /// Lets the faults of a test strike before a transaction.
    #[cfg(feature = "testing")]
    fn strike(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Takes the turn to write, and finds whose it is.
    fn begin(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Begun, sqlx::Error>> + Send;

    /// Executes a statement for the rows that it finds.
    fn fetch(
        &self,
        connection: &mut Self::Connection,
        statement: Bound<Self::Values>,
    ) -> impl Future<Output = Result<Vec<QueryResult>, sqlx::Error>> + Send;

    /// Executes a statement; says how many rows it has touched.
    fn execute(
        &self,
        connection: &mut Self::Connection,
        statement: Bound<Self::Values>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Executes a statement that binds nothing.
    fn run(
        &self,
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Ends a transaction.
    fn commit(
        &self,
        connection: &mut Self::Connection,
        begun: Begun,
    ) -> impl Future<Output = Result<(), FailedCommit>> + Send;

    /// Whether the transaction of `marker` was committed. It may have to wait for its end.
    fn is_committed(
        &self,
        connection: &mut Self::Connection,
        marker: Marker,
    ) -> impl Future<Output = Result<bool, WriteError>> + Send;
}
