//! Locks of a command that runs: one more, and the proof of one that it has.

use std::slice::from_ref;
use std::sync::PoisonError;

use super::flow::{Request, read};
use super::requests::Ask;
use super::{Context, LeafContext, Scope};
use crate::callback::Callback;
use crate::command::Command;
use crate::error::{EngineError, Result};
use crate::lock::{Held, Lock, LockKey, LockScope, Mode, storable_keys};

impl<C: Command> Context<C> {
    /// Takes one more lock, which became known only while the command ran:
    /// `cx.lock(disk, Exclusive).await?`.
    ///
    /// The rules are those of declared locks: what an ancestor holds may be taken, and whoever else
    /// is in the way refuses it, or is waited for where the command says `wait`. It is stored, and
    /// it is kept as long as the command's other locks, over restarts: as `lock = …` says, not as
    /// long as the [`Held`]. To ask again for what the command has changes nothing.
    ///
    /// When the future is dropped, nothing is given back: the request stays in line as long as the
    /// code runs, and what it is granted then is the command's, until it lets go of all. A leaf that
    /// runs again asks again before it can show a [`Held`], though its command has the lock all the
    /// time; where it was in line when the engine died, it keeps its order.
    ///
    /// # Errors
    /// In a leaf a [`LockConflict`](crate::lock::LockConflict), a
    /// [`WouldDeadlock`](crate::lock::WouldDeadlock) or a
    /// [`LockTimedOut`](crate::lock::LockTimedOut), and an [`EngineError`] when the engine stops or
    /// the command was ended meanwhile. In a flow the stored [`Failure`](crate::Failure) of the same
    /// kind, on every run of it the same.
    ///
    /// In both, without asking: [`EngineError::NoLockScope`], [`EngineError::LockInUndo`], and a
    /// [`NotStorable`](crate::NotStorable) for a key that no store takes.
    pub async fn lock<K: LockKey, M: Mode>(&self, key: K, mode: M) -> Result<Held<'_, M, K>> {
        let _ = mode;
        let lock = Lock::of(&key, M::MODE);
        let is_leaf = !C::Callback::KIND.is_flow();
        self.scope.may_lock(&lock, is_leaf)?;
        let asked = lock.clone();
        if is_leaf {
            self.scope.ask_lock(asked).await?;
        } else {
            let ask = |position| Ask::Lock { position, lock: asked };
            let mut request = Request::one(self.scope.requests(), ask);
            let ended = request.answer().await;
            read::<()>(&request, "lock", ended).await?;
        }
        self.scope.was_given(lock);
        Ok(Held::new(key))
    }
}

impl<C> Context<C> {
    /// The proof that this command holds the lock of `key`, in this mode or a stronger one: because
    /// it is declared, or because [`Context::lock`] gave it in this run. Costs nothing, and in a
    /// flow it is the same on every run.
    ///
    /// ```
    /// use coco_core::lock::{Exclusive, Held, LockKey};
    /// # use coco_core::prelude::{Context, Result};
    /// # struct DiskId(u32);
    /// # impl LockKey for DiskId {
    /// #     const GROUP: &'static str = "disk";
    /// #     fn key(&self) -> String { self.0.to_string() }
    /// # }
    /// # struct Wipe { disk: u32 }
    /// # impl Wipe {
    ///
    /// /// Cannot be called by who has not locked the disk.
    /// async fn zero(disk: &Held<'_, Exclusive, DiskId>) -> Result<()> {
    /// #   let _ = disk;
    ///     // …
    ///     Ok(())
    /// }
    ///
    /// async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
    ///     Self::zero(&cx.held(DiskId(self.disk))?).await
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`EngineError::NotHeld`], which says what to declare. What only an ancestor holds is not
    /// held.
    pub fn held<M: Mode, K: LockKey>(&self, key: K) -> Result<Held<'_, M, K>> {
        self.scope.held(key)
    }
}

impl<C> LeafContext<C> {
    /// The proof that this command holds the lock of `key`, in this mode or a stronger one: see
    /// [`Context::held`].
    ///
    /// In `validate`, in the hooks and in `compensate` it goes by the declared locks, in the closure
    /// of a `once` also by what [`Context::lock`] has given to the flow in this run. In
    /// `end_successfully` a command with `lock = Execution` holds nothing any more. A `compensate`
    /// of a command that has ended runs under its locks as well: they were passed on to the command
    /// above it that fails.
    ///
    /// # Errors
    /// [`EngineError::NotHeld`].
    pub fn held<M: Mode, K: LockKey>(&self, key: K) -> Result<Held<'_, M, K>> {
        self.scope.held(key)
    }
}

impl Scope {
    /// Whether a lock can be asked for at all.
    fn may_lock(&self, lock: &Lock, is_leaf: bool) -> Result<()> {
        // What is executed as a leaf and cannot ask is an undo command.
        if is_leaf && self.0.asks.is_none() {
            return Err(EngineError::LockInUndo(self.id()).into());
        }
        if self.0.locks.scope() == LockScope::None {
            return Err(EngineError::NoLockScope(self.id()).into());
        }
        Ok(storable_keys(from_ref(lock))?)
    }

    fn was_given(&self, lock: Lock) {
        self.0.late.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
    }

    fn held<M: Mode, K: LockKey>(&self, key: K) -> Result<Held<'_, M, K>> {
        let lock = Lock::of(&key, M::MODE);
        let is_it = |held: &Lock| held.is_of_key(&lock) && held.mode >= lock.mode;
        let late = self.0.late.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.locks.locks().iter().chain(late.iter()).any(is_it) {
            return Ok(Held::new(key));
        }
        Err(EngineError::NotHeld { command: self.id(), lock }.into())
    }
}
