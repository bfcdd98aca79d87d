//! Trees that are read again while the engine runs: after a rejection, and for a retry.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, ticket_of};
use crate::entity::TreeRows;
use crate::error::{EngineError, Error};
use crate::id::CommandId;
use crate::machine::step::{Step, Write};
use crate::machine::{Address, Effect, Happened, Input, Loaded, Stored};
use crate::recovery;

/// How long to wait before a tree that could not be read is read again.
const PAUSE: Duration = Duration::from_millis(200);

/// A tree whose step was rejected, while it is being read.
pub(super) struct Reloading {
    step: Step,
    reason: String,
    /// What was to be stored after it.
    skipped: Vec<Step>,
    pub(super) happened: Vec<(Address, Happened)>,
}

/// A tree that was read.
pub(super) struct Read {
    root: CommandId,
    rows: TreeRows,
    why: ReadWhy,
}

/// Why a tree is read.
pub(super) enum ReadWhy {
    Rejected,
    Replay { at: Address, ticket: u64 },
}

impl Engine {
    /// The tree is forgotten and read again, with the rejection in place of what was rejected.
    pub(super) fn rejected(&mut self, step: &Step, effects: &[Effect], reason: String) {
        let root = step.root;
        let held = self.machine.forget(root);
        let is_root = |write: &Write| matches!(write, Write::Insert(row) if row.command_id == root);
        if let Some(caller) = ticket_of(effects).and_then(|ticket| self.callers.remove(&ticket)) {
            caller.refuse(Error::other(format!("the store refused the command: {reason}")));
        }
        if step.writes.iter().any(is_root) {
            return self.watchers.forget(root);
        }
        let (skipped, happened) = (Vec::new(), Vec::new());
        let reloading = Reloading { step: step.clone(), reason, skipped, happened };
        self.reloading.insert(root, reloading);
        for (step, effects) in self.queue.take_tree(root).into_iter().chain(held) {
            self.skipped(step, &effects);
        }
        self.read(root, ReadWhy::Rejected);
    }

    pub(super) fn skipped(&mut self, step: Step, effects: &[Effect]) {
        if let Some(caller) = ticket_of(effects).and_then(|ticket| self.callers.remove(&ticket)) {
            caller.refuse(EngineError::NotStuck(step.command).into());
        }
        if let Some(reloading) = self.reloading.get_mut(&step.root) {
            reloading.skipped.push(step);
        }
    }

    pub(super) fn read(&self, root: CommandId, why: ReadWhy) {
        let (store, reads) = (Arc::clone(&self.store), self.reads.clone());
        tokio::spawn(async move {
            let rows = loop {
                match store.tree(root).await {
                    Ok(rows) => break rows.unwrap_or_default(),
                    Err(error) => {
                        tracing::warn!(%error, %root, "a tree cannot be read; trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                if reads.is_closed() {
                    return;
                }
            };
            let _ = reads.send(Read { root, rows, why });
        });
    }

    pub(super) fn was_read(&mut self, Read { root, rows, why }: Read) {
        match (why, recovery::decode(&self.registry, root, rows)) {
            (ReadWhy::Replay { at, ticket }, Ok(tree)) => {
                let mut flows = Stored::by_flow(&tree.commands, &tree.once_results);
                let stored = flows.remove(&at.command).unwrap_or_default();
                self.happened(at, Happened::Replay { ticket, stored });
            }
            (ReadWhy::Replay { ticket, .. }, Err(quarantine)) => {
                if let Some(caller) = self.callers.remove(&ticket) {
                    caller.refuse(quarantine.reason.into());
                }
            }
            (ReadWhy::Rejected, Err(quarantine)) => {
                self.tasks.drop_flows(root);
                for (at, happened) in
                    self.reloading.remove(&root).map_or_else(Vec::new, |r| r.happened)
                {
                    if let Happened::Retry { ticket } | Happened::Replay { ticket, .. } = happened
                        && let Some(caller) = self.callers.remove(&ticket)
                    {
                        caller.refuse(EngineError::NotStuck(at.command).into());
                    }
                }
                self.watchers.stuck(quarantine.root, quarantine.command, quarantine.reason);
            }
            (ReadWhy::Rejected, Ok(tree)) => {
                let Some(reloading) = self.reloading.remove(&root) else { return };
                let Reloading { step, reason, skipped, happened } = reloading;
                // What is over but not told yet is told after the tree is back.
                let over = happened.iter().filter(|(_, what)| what.is_over());
                let mut running = self.tasks.drop_flows(root);
                running.extend(over.map(|(at, _)| at.command));
                let cause = Loaded::Rejected { step, reason, skipped, running };
                self.tell(Input::Load(Box::new(tree.because(cause))));
                for (at, happened) in happened {
                    self.happened(at, happened);
                }
            }
        }
    }
}
