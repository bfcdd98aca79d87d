//! Tells those who wait for a tree how it stands.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::sync::watch;

use crate::error::EngineError;
use crate::failure::Failure;
use crate::id::CommandId;

/// So many may wait before those are forgotten for whom nobody waits any more.
const FEW: usize = 1024;

/// How a tree stands, for those who wait for its outcome.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    Open,
    Ended(Result<Arc<str>, Failure>),
    /// There is no outcome now, for this reason.
    Without(EngineError),
}

/// Where to tell it, by root: for those that somebody waits for, and those that are stuck.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_root: FxHashMap<CommandId, watch::Sender<Standing>>,
    /// How many there were when they were last looked through.
    kept: usize,
}

impl Watchers {
    /// Watches a tree that is open, as far as the engine knows.
    pub(super) fn watch(&mut self, root: CommandId) -> watch::Receiver<Standing> {
        if self.by_root.len() >= FEW.max(2 * self.kept) {
            let is_stuck =
                |told: &watch::Sender<Standing>| matches!(*told.borrow(), Standing::Without(_));
            self.by_root.retain(|_, told| told.receiver_count() > 0 || is_stuck(told));
            self.kept = self.by_root.len();
        }
        self.by_root.entry(root).or_insert_with(|| watch::Sender::new(Standing::Open)).subscribe()
    }

    pub(super) fn ended(&mut self, root: CommandId, result: Result<Arc<str>, Failure>) {
        if let Some(told) = self.by_root.remove(&root) {
            told.send_replace(Standing::Ended(result));
        }
    }

    pub(super) fn stuck(&mut self, root: CommandId, command: CommandId, reason: Failure) {
        let stuck = Standing::Without(EngineError::Stuck { command, reason });
        let told = self.by_root.entry(root).or_insert_with(|| watch::Sender::new(Standing::Open));
        told.send_replace(stuck);
    }

    pub(super) fn unstuck(&mut self, root: CommandId) {
        if let Some(told) = self.by_root.get(&root) {
            told.send_replace(Standing::Open);
        }
    }

    pub(super) fn forget(&mut self, root: CommandId) {
        self.by_root.remove(&root);
    }

    /// The engine stops.
    pub(super) fn stop(&mut self) {
        for (_, told) in self.by_root.drain() {
            if !matches!(*told.borrow(), Standing::Ended(_)) {
                told.send_replace(Standing::Without(EngineError::Shutdown));
            }
        }
    }
}
