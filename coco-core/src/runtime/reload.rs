//! Trees that are read again while the engine runs: after a rejection, and for a retry.

use std::sync::Arc;
use std::time::Duration;

use super::commit::Queued;
use super::effects::ticket_of;
use super::engine::Engine;
use super::outages::Outages;
use crate::entity::TreeRows;
use crate::error::{EngineError, Error};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::machine::step::{Step, Write};
use crate::machine::{Address, Effect, Forgotten, Happened, Input, Loaded, Started};
use crate::recovery::{self, Quarantine};
use crate::store::{StoreError, StoreFuture};

/// How long to wait before what could not be read is read again.
const PAUSE: Duration = Duration::from_millis(200);

/// So often in a row the store may refuse what is to be stored of one command.
const MOST_REFUSALS: u32 = 3;

/// Reads until the store can be read.
///
/// # Errors
/// When it is damaged, or the row is: it cannot be read later either.
pub(super) async fn read_again<'a, T>(
    outages: &Outages,
    what: &str,
    read: impl Fn() -> StoreFuture<'a, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut outage = outages.watch();
    loop {
        match read().await {
            Ok(read) => return Ok(read),
            Err(error @ (StoreError::Damaged(_) | StoreError::Unreadable(_))) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "{what} cannot be read; trying again");
                outage.failed(error.to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A tree that is being read, while nothing is told to the machine of it.
pub(super) struct Reloading {
    rejected: Option<Rejected>,
    pub(super) happened: Vec<(Address, Happened)>,
}

/// A step that the store refused for its data.
struct Rejected {
    step: Step,
    reason: String,
    /// What was to be stored after it.
    skipped: Vec<Step>,
    /// What its code had started.
    started: Started,
}

impl Reloading {
    /// A tree that the machine does not hold.
    pub(super) fn absent(at: Address, what: Happened) -> Self {
        Self { rejected: None, happened: vec![(at, what)] }
    }

    /// Something happens to a command of the tree. That it has events is told once: they may come
    /// in a storm.
    pub(super) fn happens(&mut self, at: Address, what: Happened) {
        let is_event = |what: &Happened| matches!(what, Happened::HasEvents);
        let is_told = || self.happened.iter().any(|(to, told)| *to == at && is_event(told));
        if !is_event(&what) || !is_told() {
            self.happened.push((at, what));
        }
    }

    /// Whether locks that the tree waited for were granted.
    pub(super) fn is_granted(&self) -> bool {
        self.happened.iter().any(|(_, what)| matches!(what, Happened::HasLocks { .. }))
    }

    /// The first cancel of what happened.
    pub(super) fn take_cancel(&mut self) -> Option<Loaded> {
        let is_cancel = |(_, what): &(Address, Happened)| matches!(what, Happened::Cancel { .. });
        let place = self.happened.iter().position(is_cancel)?;
        match self.happened.remove(place) {
            (_, Happened::Cancel { ticket, reason }) => Some(Loaded::Cancelled { ticket, reason }),
            _ => None,
        }
    }
}

/// A tree that was read.
pub(super) struct Read {
    pub(super) root: CommandId,
    pub(super) rows: TreeRows,
    why: ReadWhy,
}

/// Why a tree is read.
pub(super) enum ReadWhy {
    Rejected,
    /// It is open, and the machine does not hold it.
    Absent,
    Replay {
        at: Address,
        ticket: Option<u64>,
    },
}

impl Engine {
    /// The tree is forgotten and read again, with the rejection in place of what was rejected.
    /// `behind`: what was skipped in the same batch.
    pub(super) fn rejected(
        &mut self,
        step: &Step,
        effects: &[Effect],
        reason: String,
        mut behind: Vec<Queued>,
    ) {
        let root = step.root;
        let Forgotten { held, started } = self.machine.forget(root);
        behind.extend(self.queue.take_tree(root));
        behind.extend(held);
        let is_root = |write: &Write| matches!(write, Write::Insert(row) if row.command_id == root);
        if let Some(caller) = ticket_of(effects).and_then(|ticket| self.callers.remove(&ticket)) {
            caller.refuse(Error::other(format!("the store refused the command: {reason}")));
        }
        if step.writes.iter().any(is_root) {
            behind.into_iter().for_each(|(step, effects)| self.skipped(step, &effects));
            return self.watchers.forget(root);
        }
        let times = self.refused.entry(step.command).or_default();
        *times += 1;
        if *times > MOST_REFUSALS {
            return self.give_up(step, behind, &reason);
        }
        let rejected = Some(Rejected { step: step.clone(), reason, skipped: Vec::new(), started });
        self.reloading.insert(root, Reloading { rejected, happened: Vec::new() });
        behind.into_iter().for_each(|(step, effects)| self.skipped(step, &effects));
        self.read(root, ReadWhy::Rejected);
    }

    /// A tree of which the store takes not even the failure rests as it is stored. Its code is
    /// dropped: what it would say could not be stored, and the tree may be brought back.
    fn give_up(&mut self, step: &Step, behind: Vec<Queued>, reason: &str) {
        let Step { root, command, .. } = *step;
        self.refused.remove(&command);
        let leaves = self.tasks.drop_flows(root);
        leaves.into_iter().for_each(|leaf| self.tasks.drop_code(leaf));
        behind.into_iter().for_each(|(step, effects)| self.skipped(step, &effects));
        let reason =
            format!("the store refuses what is to be stored of it again and again: {reason}");
        let reason = Failure::new(FailureKind::Rejected, reason).of(command);
        self.quarantine(Quarantine { root, command, reason });
    }

    fn skipped(&mut self, step: Step, effects: &[Effect]) {
        if let Some(caller) = ticket_of(effects).and_then(|ticket| self.callers.remove(&ticket)) {
            let message =
                "nothing was done: the store refused another step of this tree; ask again";
            caller.refuse(Error::other(message));
        }
        let reloading = self.reloading.get_mut(&step.root);
        if let Some(rejected) = reloading.and_then(|reloading| reloading.rejected.as_mut()) {
            rejected.skipped.push(step);
        }
    }

    pub(super) fn read(&self, root: CommandId, why: ReadWhy) {
        let (store, reads) = (Arc::clone(&self.store), self.reads.clone());
        let (engine, outages) = (self.lease.engine_id, self.world.outages.clone());
        tokio::spawn(async move {
            let rows = tokio::select! {
                rows = read_again(&outages, "a tree", || store.own_tree(engine, root)) => rows,
                () = reads.closed() => return,
            };
            let rows = rows.map(Option::unwrap_or_default);
            let _ = reads.send(rows.map(|rows| Read { root, rows, why }));
        });
    }

    pub(super) fn was_read(&mut self, read: Read) {
        if matches!(read.why, ReadWhy::Absent) {
            return self.is_back(read);
        }
        let Read { root, rows, why } = read;
        match (why, recovery::decode(&self.registry, root, rows)) {
            (ReadWhy::Replay { at, ticket }, Ok(tree)) => {
                let stored = tree.requests_of(at.command);
                self.happened(at, Happened::Replay { ticket, stored });
            }
            (ReadWhy::Replay { ticket, .. }, Err(quarantine)) => {
                if let Some(caller) = ticket.and_then(|ticket| self.callers.remove(&ticket)) {
                    caller.refuse(quarantine.reason.into());
                }
            }
            (ReadWhy::Rejected | ReadWhy::Absent, Err(quarantine)) => {
                self.tasks.drop_flows(root);
                for (at, happened) in
                    self.reloading.remove(&root).map_or_else(Vec::new, |r| r.happened)
                {
                    let ticket = happened.ticket();
                    let caller = ticket.and_then(|ticket| self.callers.remove(&ticket));
                    let refusal = match happened {
                        Happened::Registers { .. }
                        | Happened::AsksLock { .. }
                        | Happened::Subscribes { .. }
                        | Happened::AddsTask { .. } => quarantine.reason.clone().into(),
                        _ => EngineError::NotStuck(at.command).into(),
                    };
                    if let Some(caller) = caller {
                        caller.refuse(refusal);
                    }
                }
                self.quarantine(*quarantine);
            }
            (ReadWhy::Rejected | ReadWhy::Absent, Ok(tree)) => {
                let Some(reloading) = self.reloading.remove(&root) else { return };
                let Reloading { rejected: Some(rejected), happened } = reloading else { return };
                let Rejected { step, reason, skipped, started } = rejected;
                // What is over but not told yet is told after the tree is back.
                let over = happened.iter().filter(|(_, what)| what.is_over());
                let mut running = self.tasks.drop_flows(root);
                running.extend(over.map(|(at, _)| at.command));
                let cause = Loaded::Rejected { step, reason, skipped, started, running };
                self.tell(Input::Load(Box::new(tree.because(cause))));
                for (at, happened) in happened {
                    self.happened(at, happened);
                }
            }
        }
    }
}
