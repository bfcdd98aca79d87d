//! A submitted command, as its submitter holds it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use crate::command::{Command, Stored};
use crate::entity::CommandEntity;
use crate::error::{EngineError, Result};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::machine::Address;
use crate::runtime::request::{Line, Operation, Request};
use crate::runtime::watch::Standing;
use crate::status::CommandStatus;
use crate::store::Store;

/// A command that was submitted. Dropping the handle changes nothing.
pub struct CommandHandle<C> {
    id: CommandId,
    standing: watch::Receiver<Standing>,
    store: Arc<dyn Store>,
    engine: Line,
    command: PhantomData<fn() -> C>,
}

impl<C> CommandHandle<C> {
    pub(super) const fn new(
        id: CommandId,
        standing: watch::Receiver<Standing>,
        store: Arc<dyn Store>,
        engine: Line,
    ) -> Self {
        Self { id, standing, store, engine, command: PhantomData }
    }

    /// The identity of the command.
    pub const fn id(&self) -> CommandId {
        self.id
    }

    /// Where the command stands in the store now.
    ///
    /// # Errors
    /// A [`StoreError`](crate::store::StoreError).
    pub async fn status(&self) -> Result<CommandStatus> {
        let row = self.store.entity(self.id).await?;
        Ok(row.map_or(CommandStatus::Unknown, |row| row.progress.status))
    }

    /// Cancels the command and all below it: [`Coordinator::cancel`](crate::Coordinator::cancel)
    /// without a reason.
    ///
    /// # Errors
    /// [`EngineError::AlreadyEnded`] or [`EngineError::Shutdown`].
    pub async fn cancel(&self) -> Result<()> {
        let at = Address { root: self.id, command: self.id };
        operate(&self.engine, at, Operation::Cancel("".into())).await
    }
}

impl<C: Command> CommandHandle<C> {
    /// Waits until the command is terminal and gives its output. Cancel-safe, and may be called
    /// again.
    ///
    /// # Errors
    /// The stored [`Failure`] of the command. [`EngineError::Stuck`] and
    /// [`EngineError::Shutdown`] when there is no outcome now; neither is final.
    /// [`EngineError::Output`] when the stored output is not what the type reads.
    pub async fn output(&self) -> Result<C::Output> {
        let mut standing = self.standing.clone();
        let stands = standing.wait_for(|standing| !matches!(standing, Standing::Open)).await;
        let json = match stands.map(|standing| standing.clone()) {
            Ok(Standing::Ended(result)) => result?,
            Ok(Standing::Without(error)) => return Err(error.into()),
            Ok(Standing::Open) | Err(_) => return Err(EngineError::Shutdown.into()),
        };
        <C::Output as Stored>::decode(&json).map_err(|error| {
            let (command, expected) = (self.id, std::any::type_name::<C::Output>());
            EngineError::Output { command, expected, reason: error.to_string() }.into()
        })
    }
}

/// Does something to a command, and waits until that is stored.
pub(super) async fn operate(engine: &Line, at: Address, operation: Operation) -> Result<()> {
    let (reply, answer) = oneshot::channel();
    let request = Request::Operate { at, operation, reply };
    engine.requests.send(request).map_err(|_| EngineError::Shutdown)?;
    engine.answer(answer).await?
}

/// How a root stands that has ended.
pub(super) fn stored_standing(row: &CommandEntity) -> Option<watch::Receiver<Standing>> {
    let progress = &row.progress;
    let standing = match (progress.status, &progress.failure) {
        (CommandStatus::EndedSuccessfully, _) => {
            Standing::Ended(Ok(progress.return_value.clone().unwrap_or_else(|| "null".into())))
        }
        (CommandStatus::EndedWithFailure, failure) => {
            let read = serde_json::from_str(failure.as_deref().unwrap_or_default());
            Standing::Ended(Err(read.unwrap_or_else(|error: serde_json::Error| {
                Failure::new(
                    FailureKind::Unknown,
                    format!("the stored failure cannot be read: {error}"),
                )
            })))
        }
        _ => return None,
    };
    Some(watch::channel(standing).1)
}

impl<C> Clone for CommandHandle<C> {
    fn clone(&self) -> Self {
        let (store, engine) = (Arc::clone(&self.store), self.engine.clone());
        Self::new(self.id, self.standing.clone(), store, engine)
    }
}

impl<C> fmt::Debug for CommandHandle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandHandle").field(&self.id).finish()
    }
}
