//! What an operator sees of the locks, and does to one.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Coordinator, new_id};
use crate::entity::Audit;
use crate::error::{EngineError, Result};
use crate::lock::{HeldLock, WaitingRequest};
use crate::runtime::request::Request;
use crate::status::CommandStatus;
use crate::storable::storable_text;
use crate::store::{LockRows, Step, StoreError, Write};

/// Who holds which locks, and who waits for them: [`Coordinator::locks`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Locks {
    /// The locks that are held, by group and key, and of one key those first that are held longest.
    pub held: Vec<HeldLock>,
    /// The requests in line, in its order.
    pub waiting: Vec<WaitingRequest>,
}

impl From<LockRows> for Locks {
    fn from(LockRows { mut held, mut waiting }: LockRows) -> Self {
        held.sort_unstable_by(|a, b| {
            let by_key = (&a.lock.group, &a.lock.key).cmp(&(&b.lock.group, &b.lock.key));
            by_key.then((a.since, a.owner).cmp(&(b.since, b.owner)))
        });
        waiting.sort_unstable_by_key(|waiting| waiting.rank);
        Self { held, waiting }
    }
}

impl Coordinator {
    /// Who holds which locks, and who waits for them, as it is stored now: all of it.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub async fn locks(&self) -> Result<Locks> {
        Ok(self.0.store.locks(None).await?.into())
    }

    /// Takes one lock from the command that holds it, wherever that stands: while it runs, rests, is
    /// stuck or quarantined, or has ended and should not hold it any more. Who is next in line gets
    /// it in the same commit. `Ok`: that is stored, with `reason`, also in the audit. When the future
    /// is dropped, it may be released or not. Only this lock is: if the command has let go of it
    /// meanwhile and has taken it again, it keeps that one.
    ///
    /// **The command is not told.** Its code goes on as if it had the lock, also after a restart and
    /// when it is undone, and so do the [`Held`](crate::lock::Held) that it has; whoever gets the
    /// lock works on the same thing. Use it when you know that the holder does not touch the thing
    /// any more. To end a command that runs, [`cancel`](Coordinator::cancel) it, and to give up one
    /// that is stuck, [`abandon`](Coordinator::abandon) it: both free its locks when it is safe.
    ///
    /// # Errors
    /// [`EngineError::LockGone`] when the command does not hold this lock, in this mode and since
    /// this time; [`EngineError::Shutdown`], a [`NotStorable`](crate::NotStorable), or a
    /// [`StoreError`].
    pub async fn force_release(&self, lock: &HeldLock, reason: impl Into<Arc<str>>) -> Result<()> {
        let reason = reason.into();
        storable_text(&reason)?;
        let (owner, lock, since) = (lock.owner, &lock.lock, lock.since);
        let held = self.0.store.locks(None).await?.held;
        let is_it = |held: &&HeldLock| (held.owner, &held.lock, held.since) == (owner, lock, since);
        let Some(held) = held.iter().find(is_it) else {
            return Err(EngineError::LockGone { command: owner, lock: lock.clone() }.into());
        };
        let status = match self.0.store.entity(owner).await {
            Ok(Some(row)) => row.progress.status,
            Ok(None) | Err(StoreError::Unreadable(_)) => CommandStatus::Unknown,
            Err(error) => return Err(error.into()),
        };
        let audit = Audit {
            at: self.0.clock.now(),
            action: "force_release".into(),
            command_id: owner,
            root_command_id: held.root(),
            status,
            reason,
            linked: None,
        };
        let release = Write::ReleaseOne { owner, lock: lock.clone(), since };
        // A step of no tree: where the holder stands, and what becomes of its own steps, does not
        // matter to it.
        let root = new_id();
        let writes = vec![release, Write::Audit(Box::new(audit))];
        let step = Step { root, command: owner, request: None, writes };
        let (reply, answer) = oneshot::channel();
        self.0.ask(Request::Store { step, reply })?;
        self.0.line.answer(answer).await?
    }
}
