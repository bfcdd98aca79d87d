//! Tells those who wait for a tree how it stands.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::EngineError;
use crate::failure::Failure;
use crate::id::CommandId;

/// How a tree stands, for those who wait for its outcome.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Open,
    Ended(Result<Arc<str>, Failure>),
    /// There is no outcome now, for this reason.
    Without(EngineError),
}

/// Where to tell it, by root.
#[derive(Debug, Default)]
pub(super) struct Watchers(HashMap<CommandId, watch::Sender<Standing>>);

impl Watchers {
    /// The tree is open from now on.
    pub(super) fn open(&mut self, root: CommandId) {
        self.0.entry(root).or_insert_with(|| watch::Sender::new(Standing::Open));
    }

    /// Watches a tree, if it is open.
    pub(super) fn watch_open(&self, root: CommandId) -> Option<watch::Receiver<Standing>> {
        self.0.get(&root).map(watch::Sender::subscribe)
    }

    pub(super) fn ended(&mut self, root: CommandId, result: Result<Arc<str>, Failure>) {
        if let Some(watchers) = self.0.remove(&root) {
            watchers.send_replace(Standing::Ended(result));
        }
    }

    pub(super) fn stuck(&mut self, root: CommandId, command: CommandId, reason: Failure) {
        self.open(root);
        let Some(watchers) = self.0.get(&root) else { return };
        watchers.send_replace(Standing::Without(EngineError::Stuck { command, reason }));
    }

    pub(super) fn unstuck(&mut self, root: CommandId) {
        if let Some(watchers) = self.0.get(&root) {
            watchers.send_replace(Standing::Open);
        }
    }

    pub(super) fn forget(&mut self, root: CommandId) {
        self.0.remove(&root);
    }

    /// The engine stops.
    pub(super) fn stop(&mut self) {
        for (_, watchers) in self.0.drain() {
            if !matches!(*watchers.borrow(), Standing::Ended(_)) {
                watchers.send_replace(Standing::Without(EngineError::Shutdown));
            }
        }
    }
}
