//! The one task that writes, on one connection that it holds for good.
//!
//! Whoever asks for a commit may drop its future at any time: the transaction lives here and ends
//! here. Steps that fail on their data are found by halving the batch inside the transaction, so
//! that the others are applied in the same commit.

mod inbox;
mod locks;
mod rows;
mod transaction;

use std::sync::Arc;

use coco_core::store::{CommitError, Committed, Step, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::transaction::{Transaction, commit_error};
use crate::backend::{Backend, FailedCommit, Marker};
use crate::error::WriteError;
use crate::statistics::Counters;

/// Commits that wait while one is in flight. The core sends one at a time.
const WAITING: usize = 16;

/// The way to a writer. It ends when this is dropped and what was ordered is done.
#[derive(Debug)]
pub(crate) struct Orders {
    sender: mpsc::Sender<Order>,
    is_lost: watch::Receiver<bool>,
}

enum Order {
    Commit { steps: Arc<[Step]>, reply: oneshot::Sender<Result<Committed, CommitError>> },
    Release { clean: bool, reply: oneshot::Sender<Result<(), StoreError>> },
}

impl Orders {
    pub(crate) async fn commit(&self, steps: Arc<[Step]>) -> Result<Committed, CommitError> {
        let ended = "the writer has ended";
        let (reply, answer) = oneshot::channel();
        if self.sender.send(Order::Commit { steps, reply }).await.is_err() {
            return Err(CommitError::Unavailable(ended.to_owned()));
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Unresolved(ended.to_owned())))
    }

    pub(crate) async fn release(&self, clean: bool) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let ended = || StoreError::Unavailable("the writer has ended".to_owned());
        self.sender.send(Order::Release { clean, reply }).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Resolves when the lease is seen to be lost.
    pub(crate) async fn lost(&self) {
        if self.is_lost.clone().wait_for(|is_lost| *is_lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Starts the task of `writer`.
pub(crate) fn spawn<B: Backend>(mut writer: Writer<B>) -> Orders {
    let (sender, mut orders) = mpsc::channel(WAITING);
    let is_lost = writer.is_lost.subscribe();
    tokio::spawn(async move {
        let mut heartbeat = writer.backend.heartbeat().map(|every| {
            let mut heartbeat = interval_at(Instant::now() + every, every);
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            heartbeat
        });
        loop {
            let order = match &mut heartbeat {
                None => orders.recv().await,
                Some(heartbeat) => tokio::select! {
                    biased;
                    _ = heartbeat.tick() => {
                        writer.beat().await;
                        continue;
                    }
                    order = orders.recv() => order,
                },
            };
            // Nobody hears the answer to a future that was dropped.
            match order {
                Some(Order::Commit { steps, reply }) => {
                    drop(reply.send(writer.commit(&steps).await));
                }
                Some(Order::Release { clean, reply }) => {
                    drop(reply.send(writer.release(clean).await));
                }
                None => return,
            }
        }
    });
    Orders { sender, is_lost }
}

/// Writes under one lease.
#[derive(Debug)]
pub(crate) struct Writer<B: Backend> {
    backend: B,
    counters: Arc<Counters>,
    /// None after it broke, until the next commit.
    connection: Option<B::Connection>,
    /// A batch of which it is not known whether it was committed.
    unknown: Option<Unknown>,
    /// Whether the lease was seen to be lost.
    is_lost: watch::Sender<bool>,
}

/// A commit that had no answer.
#[derive(Debug)]
struct Unknown {
    marker: Marker,
    batch: Arc<[Step]>,
    /// What it has done, if it was committed.
    done: Committed,
}

impl<B: Backend> Writer<B> {
    pub(crate) fn new(backend: B, counters: Arc<Counters>, connection: B::Connection) -> Self {
        let (connection, is_lost) = (Some(connection), watch::Sender::new(false));
        Self { backend, counters, connection, unknown: None, is_lost }
    }

    async fn commit(&mut self, batch: &Arc<[Step]>) -> Result<Committed, CommitError> {
        match self.resolve(batch).await {
            Ok(None) => {}
            Ok(Some(committed)) => return Ok(committed),
            Err(error) => return Err(self.answer(error)),
        }
        let steps: Vec<&Step> = batch.iter().collect();
        let done = match self.attempt(async |transaction| transaction.apply(&steps).await).await {
            Err(Failed::Write(WriteError::Data(reason))) => {
                tracing::warn!(%reason, "a batch holds data that cannot be stored");
                self.attempt(async |transaction| transaction.apply_apart(&steps).await).await
            }
            done => done,
        };
        done.map_err(|failed| match failed {
            Failed::Write(error) => self.answer(error),
            Failed::Unknown { marker, reason, done } => {
                self.unknown = Some(Unknown { marker, batch: Arc::clone(batch), done });
                CommitError::Unavailable(reason)
            }
        })
    }

    /// Finds out what became of the commit before this one, if that is not known. Gives what it has
    /// done, where it was committed and this is the same batch again.
    async fn resolve(&mut self, batch: &Arc<[Step]>) -> Result<Option<Committed>, WriteError> {
        let Some(unknown) = self.unknown.take() else { return Ok(None) };
        match self.is_committed(unknown.marker).await {
            Ok(true) => {
                self.counters.count_commit();
                Ok(Arc::ptr_eq(&unknown.batch, batch).then_some(unknown.done))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                self.unknown = Some(unknown);
                Err(error)
            }
        }
    }

    async fn is_committed(&mut self, marker: Marker) -> Result<bool, WriteError> {
        let mut connection = self.backend.connect().await?;
        let found = self.backend.is_committed(&mut connection, marker).await?;
        tracing::info!(committed = found, "a commit without an answer is resolved");
        self.connection = Some(connection);
        Ok(found)
    }

    /// One transaction, begun under the lease and committed if `work` was done.
    async fn attempt<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Transaction<'_, B>) -> Result<T, WriteError>,
    ) -> Result<T, Failed<T>> {
        self.backend.check()?;
        // Taken out, so that it is closed, and with it the transaction, if it cannot be trusted.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.backend.connect().await?,
        };
        #[cfg(feature = "testing")]
        self.backend.strike(&mut connection).await.map_err(WriteError::from)?;
        let mut transaction = Transaction::new(&self.backend, &mut connection, &self.counters);
        let done = match transaction.begin().await {
            Ok(()) => work(&mut transaction).await,
            Err(error) => Err(error),
        };
        let (is_sound, result) = match done {
            Err(error) => (transaction.rollback().await, Err(error.into())),
            Ok(done) => match transaction.commit().await {
                Ok(()) => (true, Ok(done)),
                Err(FailedCommit::Undone(error)) => (true, Err(WriteError::Commit(error).into())),
                Err(FailedCommit::Broken(error)) => (false, Err(WriteError::Commit(error).into())),
                Err(FailedCommit::Unknown(marker, reason)) => {
                    (false, Err(Failed::Unknown { marker, reason, done }))
                }
            },
        };
        if is_sound {
            self.connection = Some(connection);
        }
        result
    }

    async fn release(&mut self, clean: bool) -> Result<(), StoreError> {
        match self.attempt(async |transaction| transaction.release(clean).await).await {
            Ok(()) => Ok(()),
            Err(Failed::Unknown { reason, .. }) => Err(StoreError::Unavailable(reason)),
            Err(Failed::Write(error)) => match self.answer(error) {
                CommitError::Lost => Ok(()),
                CommitError::Damaged(reason) => Err(StoreError::Damaged(reason)),
                error => Err(StoreError::Unavailable(error.to_string())),
            },
        }
    }

    /// Shows that the engine lives, and finds out whether it still has its lease. Where that cannot
    /// be done now, the next commit says why.
    async fn beat(&mut self) {
        match self.attempt(async |transaction| transaction.beat().await).await {
            Ok(()) => {}
            Err(Failed::Unknown { reason, .. }) => tracing::warn!(reason, "no heartbeat"),
            Err(Failed::Write(error)) => {
                let reason = self.answer(error);
                tracing::warn!(%reason, "no heartbeat");
            }
        }
    }

    /// What the caller is told. That the lease is lost, all are told who wait for that.
    fn answer(&self, error: WriteError) -> CommitError {
        let error = commit_error(error);
        if matches!(error, CommitError::Lost) {
            self.is_lost.send_replace(true);
        }
        error
    }
}

/// Why a transaction was not done.
enum Failed<T> {
    Write(WriteError),
    /// It may be: this is what it has done then.
    Unknown {
        marker: Marker,
        reason: String,
        done: T,
    },
}

impl<T, E: Into<WriteError>> From<E> for Failed<T> {
    fn from(error: E) -> Self {
        Self::Write(error.into())
    }
}
