//! Why a command does not go on: from the engine, or else from what is stored.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Coordinator;
use crate::error::{EngineError, Result};
use crate::id::CommandId;
use crate::lock::LockTable;
use crate::machine::{Address, Loaded, Why, why_stored};
use crate::recovery;
use crate::runtime::request::Request;
use crate::runtime::why::{Known, Question};
use crate::store::{LockRows, StoreError};

/// Of so many descendants it is told why they wait, at most.
const MOST_TOLD: usize = 50;

impl Coordinator {
    /// Why a command does not go on now: what it waits for, since when and who is in its way; or
    /// that it does go on. Of a command that waits for its children it tells why they wait, of theirs
    /// as well, as long as they are not too many.
    ///
    /// It is as it was when it was looked at, not all at the same instant.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::Shutdown`], or a [`StoreError`].
    pub async fn why_waiting(&self, id: CommandId) -> Result<Why> {
        let row = match self.0.store.entity(id).await {
            Ok(row) => row.ok_or(EngineError::NotFound(id))?,
            // Where it is a root, the engine may know as much.
            Err(error @ StoreError::Unreadable(_)) => {
                let at = Address { root: id, command: id };
                return match self.ask_why(at, Arc::default()).await? {
                    Known::Why(Some(why)) => Ok(why),
                    _ => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        if row.progress.status.is_terminal() {
            return Ok(Why::Ended);
        }
        let at = Address { root: row.root_command_id, command: id };
        let mut left = MOST_TOLD;
        self.why_with_children(at, &mut left).await
    }

    fn why_with_children<'a>(
        &'a self,
        at: Address,
        left: &'a mut usize,
    ) -> Pin<Box<dyn Future<Output = Result<Why>> + Send + 'a>> {
        Box::pin(async move {
            let mut why = self.why(at).await?;
            for child in why.children_mut() {
                let Some(fewer) = left.checked_sub(1) else { break };
                *left = fewer;
                let at = Address { command: child.id, ..at };
                child.why = Some(self.why_with_children(at, left).await?);
            }
            Ok(why)
        })
    }

    async fn why(&self, at: Address) -> Result<Why> {
        let Address { root, command } = at;
        let LockRows { held, waiting } = self.0.store.locks(Some(command)).await?;
        let locks = Arc::new(LockTable::new(held, waiting, 0));
        let rests = match self.ask_why(at, Arc::clone(&locks)).await? {
            Known::Why(why) => return Ok(why.unwrap_or(Why::Ended)),
            Known::NotHere { rests } => rests,
        };
        let rows = self.0.store.tree(root).await?.ok_or(EngineError::NotFound(root))?;
        Ok(match recovery::decode(&self.0.registry, root, rows) {
            Ok(tree) => {
                let (now, tree) = (self.0.clock.now(), tree.because(Loaded::Admitted));
                why_stored(now, tree, command, rests, &locks).unwrap_or(Why::Ended)
            }
            Err(quarantine) => {
                let recovery::Quarantine { command, reason, .. } = *quarantine;
                Why::Quarantined { command, reason }
            }
        })
    }

    async fn ask_why(&self, at: Address, locks: Arc<LockTable>) -> Result<Known> {
        let (reply, answer) = oneshot::channel();
        self.0.ask(Request::Why(Question { at, locks, reply }))?;
        self.0.line.answer(answer).await
    }
}
