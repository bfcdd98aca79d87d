//! What a leaf that runs can ask of the engine.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Scope;
use crate::error::{EngineError, Result};

/// Hands what a leaf asks to the engine.
pub(crate) type LeafAsks = Arc<dyn Fn(LeafAsk) + Send + Sync>;

/// One request of a leaf.
pub(crate) enum LeafAsk {
    /// To store an undo command.
    Register { name: &'static str, parameters: Arc<str>, reply: oneshot::Sender<Result<()>> },
}

impl Scope {
    /// Stores an undo command of a leaf.
    pub(super) async fn register(&self, name: &'static str, parameters: Arc<str>) -> Result<()> {
        let Some(ask) = &self.0.asks else { return Err(EngineError::Shutdown.into()) };
        let (reply, answer) = oneshot::channel();
        ask(LeafAsk::Register { name, parameters, reply });
        answer.await.map_err(|_| EngineError::Shutdown)?
    }
}
