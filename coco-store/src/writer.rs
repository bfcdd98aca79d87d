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
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, Row};
use tokio::sync::{mpsc, oneshot};

use self::transaction::{Transaction, commit_error};
use crate::error::{WriteError, unavailable};
use crate::options::Database;
use crate::statistics::Counters;

/// Commits that wait while one is in flight. The core sends one at a time.
const WAITING: usize = 16;

/// The way to a writer. It ends when this is dropped and what was ordered is done.
#[derive(Debug)]
pub(crate) struct Orders {
    sender: mpsc::Sender<Order>,
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
}

/// Starts the task of `writer`.
pub(crate) fn spawn(mut writer: Writer) -> Orders {
    let (sender, mut orders) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            // Nobody hears the answer to a future that was dropped.
            match order {
                Order::Commit { steps, reply } => drop(reply.send(writer.commit(&steps).await)),
                Order::Release { clean, reply } => drop(reply.send(writer.release(clean).await)),
            }
        }
    });
    Orders { sender }
}

/// How the engine before left the store.
pub(crate) struct Predecessor {
    pub(crate) clean: bool,
}

/// Writes under one epoch.
#[derive(Debug)]
pub(crate) struct Writer {
    database: Database,
    counters: Arc<Counters>,
    epoch: i64,
    /// None after it broke, until the next commit.
    connection: Option<SqliteConnection>,
}

impl Writer {
    /// Begins a new epoch.
    pub(crate) async fn open(
        database: Database,
        counters: Arc<Counters>,
    ) -> Result<(Self, Predecessor), StoreError> {
        let mut connection = database.writer().await?;
        let (epoch, clean) = begin_epoch(&mut connection).await.map_err(unavailable)?;
        let connection = Some(connection);
        Ok((Self { database, counters, epoch, connection }, Predecessor { clean }))
    }

    pub(crate) const fn epoch(&self) -> i64 {
        self.epoch
    }

    async fn commit(&mut self, steps: &[Step]) -> Result<Committed, CommitError> {
        let steps: Vec<&Step> = steps.iter().collect();
        match self.attempt(async |transaction| transaction.apply(&steps).await).await {
            Err(WriteError::Data(reason)) => {
                tracing::warn!(%reason, "a batch holds data that cannot be stored");
                let apart = self.attempt(async |transaction| transaction.apply_apart(&steps).await);
                apart.await.map_err(commit_error)
            }
            done => done.map_err(commit_error),
        }
    }

    /// One transaction, begun under the epoch and committed if `work` was done.
    async fn attempt<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        self.database.check_in_place()?;
        // Taken out, so that it is closed, and with it the transaction, if it cannot be trusted.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.writer().await?,
        };
        #[cfg(feature = "testing")]
        self.database.strike(&mut connection).await?;
        let mut transaction = Transaction::new(&mut connection, &self.counters);
        let mut result = match transaction.begin(self.epoch).await {
            Ok(()) => work(&mut transaction).await,
            Err(error) => Err(error),
        };
        let sound = match result {
            Err(_) => transaction.rollback().await,
            Ok(_) => match transaction.commit().await {
                Ok(()) => true,
                Err(failed) => {
                    result = Err(WriteError::Commit(failed.error));
                    failed.connection_is_sound
                }
            },
        };
        if sound {
            self.connection = Some(connection);
        }
        result
    }

    async fn release(&mut self, clean: bool) -> Result<(), StoreError> {
        match self.attempt(async |transaction| transaction.release(clean).await).await {
            Ok(()) | Err(WriteError::Commit(CommitError::Lost)) => Ok(()),
            Err(error) => Err(match commit_error(error) {
                CommitError::Damaged(reason) => StoreError::Damaged(reason),
                error => StoreError::Unavailable(error.to_string()),
            }),
        }
    }
}

/// There is one engine, so its identity in `engines` is the nil UUID.
async fn begin_epoch(connection: &mut SqliteConnection) -> Result<(i64, bool), sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let before = sqlx::query("SELECT epoch, clean FROM engines WHERE engine_id = zeroblob(16)")
        .fetch_optional(&mut *connection)
        .await?;
    let (epoch, clean) = match before {
        Some(row) => (row.try_get::<i64, _>(0)? + 1, row.try_get(1)?),
        None => (1, true),
    };
    sqlx::query(
        "INSERT INTO engines (engine_id, epoch, clean) VALUES (zeroblob(16), ?1, false) \
         ON CONFLICT (engine_id) DO UPDATE SET epoch = excluded.epoch, clean = false",
    )
    .bind(epoch)
    .execute(&mut *connection)
    .await?;
    sqlx::query("COMMIT").execute(connection).await?;
    Ok((epoch, clean))
}
