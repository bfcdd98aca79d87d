//! What a leaf that runs can ask of the engine.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Scope;
use crate::error::{EngineError, Result};
use crate::id::CommandId;
use crate::lock::Lock;

/// Where a run of a leaf asks: one for the whole engine, which hears who it was.
#[derive(Clone)]
pub(crate) struct LeafAsks {
    pub(crate) asker: Asker,
    pub(crate) engine: Arc<dyn Fn(Asker, LeafAsk) + Send + Sync>,
}

/// Who asks: this attempt of a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) root: CommandId,
    pub(crate) command: CommandId,
    pub(crate) attempt: i32,
}

/// One request of a leaf.
pub(crate) enum LeafAsk {
    /// To store an undo command.
    Register { name: &'static str, parameters: Arc<str>, reply: oneshot::Sender<Result<()>> },
    /// To listen for events.
    Subscribe { key: Arc<str>, reply: oneshot::Sender<Result<()>> },
    /// To follow a task outside.
    Task { task: Arc<str>, reply: oneshot::Sender<Result<()>> },
    /// A lock.
    Lock { lock: Lock, reply: oneshot::Sender<Result<()>> },
}

impl Scope {
    /// Stores what a command listens for.
    pub(super) async fn subscribe(&self, key: Arc<str>) -> Result<()> {
        self.ask(|reply| LeafAsk::Subscribe { key, reply }).await
    }

    /// Stores a task outside.
    pub(super) async fn add_task(&self, task: Arc<str>) -> Result<()> {
        self.ask(|reply| LeafAsk::Task { task, reply }).await
    }

    /// Stores an undo command of a leaf.
    pub(super) async fn register(&self, name: &'static str, parameters: Arc<str>) -> Result<()> {
        self.ask(|reply| LeafAsk::Register { name, parameters, reply }).await
    }

    /// Waits for a lock that a leaf asks for.
    pub(super) async fn ask_lock(&self, lock: Lock) -> Result<()> {
        self.ask(|reply| LeafAsk::Lock { lock, reply }).await
    }

    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<Result<()>>) -> LeafAsk) -> Result<()> {
        let Some(asks) = &self.0.asks else { return Err(EngineError::Shutdown.into()) };
        let (reply, answer) = oneshot::channel();
        (asks.engine)(asks.asker, ask(reply));
        answer.await.map_err(|_| EngineError::Shutdown)?
    }
}
