//! A store that fails where a test says so.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::entity::{Audit, CommandEntity, Delivery, TreeRows};
use crate::id::CommandId;
use crate::store::{
    CommitError, Committed, EngineId, Lease, LockRows, Outcome, Step, Store, StoreError,
    StoreFuture,
};

/// Wraps a store, counts its commits and makes them fail. Clones control the same faults.
///
/// A crash is the death of the process as the store sees it: from the crash on, every commit is
/// lost, so the engine stops, and another engine starts on the store inside.
#[derive(Clone)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Arc<Faults>,
}

struct Faults {
    commits: AtomicUsize,
    crash: Mutex<Option<Crash>>,
    is_dead: AtomicBool,
    is_held: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    reject: Mutex<Option<Reject>>,
    refuses_commits: AtomicBool,
    refuses_reads: AtomicBool,
    refused: watch::Sender<usize>,
}

const AWAY: &str = "it cannot be reached";

type Reject = Box<dyn FnMut(&Step) -> bool + Send>;

/// Where the process dies. Commits are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before this commit: nothing of it is stored.
    Before(usize),
    /// After this commit, before the engine hears of it.
    After(usize),
}

impl<S> FaultyStore<S> {
    /// Wraps `inner`, with no faults yet.
    pub fn new(inner: S) -> Self {
        let faults = Faults {
            commits: AtomicUsize::new(0),
            crash: Mutex::new(None),
            is_dead: AtomicBool::new(false),
            is_held: watch::Sender::new(false),
            waiting: watch::Sender::new(0),
            reject: Mutex::new(None),
            refuses_commits: AtomicBool::new(false),
            refuses_reads: AtomicBool::new(false),
            refused: watch::Sender::new(0),
        };
        Self { inner, faults: Arc::new(faults) }
    }

    /// How many commits were begun.
    pub fn commits(&self) -> usize {
        self.faults.commits.load(Ordering::SeqCst)
    }

    /// Lets the process die there.
    pub fn crash(&self, crash: Crash) {
        *self.faults.crash.lock().unwrap_or_else(PoisonError::into_inner) = Some(crash);
    }

    /// True when the process has died.
    pub fn is_dead(&self) -> bool {
        self.faults.is_dead.load(Ordering::SeqCst)
    }

    /// Holds commits back from now on, before anything of them is stored.
    pub fn hold(&self) {
        self.faults.is_held.send_replace(true);
    }

    /// Waits until a commit is held back.
    pub async fn held(&self) {
        // The sender lives as long as `self`.
        let _ = self.faults.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }

    /// Lets commits go again.
    pub fn let_go(&self) {
        self.faults.is_held.send_replace(false);
    }

    /// Lets every commit and read fail from now on, as a store does that cannot be reached.
    pub fn go_away(&self) {
        self.faults.refuses_commits.store(true, Ordering::SeqCst);
        self.refuse_reads();
    }

    /// Lets every read fail from now on.
    pub fn refuse_reads(&self) {
        self.faults.refuses_reads.store(true, Ordering::SeqCst);
    }

    /// Waits until so many more commits and reads have failed because the store is away.
    pub async fn refused(&self, times: usize) {
        let mut refused = self.faults.refused.subscribe();
        let wanted = *refused.borrow() + times;
        // The sender lives as long as `self`.
        let _ = refused.wait_for(|refused| *refused >= wanted).await;
    }

    /// The store can be reached again.
    pub fn come_back(&self) {
        self.faults.refuses_commits.store(false, Ordering::SeqCst);
        self.faults.refuses_reads.store(false, Ordering::SeqCst);
    }

    /// Rejects the steps that `reject` picks, as a store does with data that it cannot take. The
    /// steps of the same tree that follow in the batch are skipped.
    pub fn reject(&self, reject: impl FnMut(&Step) -> bool + Send + 'static) {
        let mut slot = self.faults.reject.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(Box::new(reject));
    }
}

impl Faults {
    fn dies(&self, crash: Crash) -> bool {
        let planned = *self.crash.lock().unwrap_or_else(PoisonError::into_inner);
        if planned == Some(crash) {
            self.is_dead.store(true, Ordering::SeqCst);
        }
        self.is_dead.load(Ordering::SeqCst)
    }

    fn is_refused(&self, fault: &AtomicBool) -> bool {
        let is_refused = fault.load(Ordering::SeqCst);
        if is_refused {
            self.refused.send_modify(|refused| *refused += 1);
        }
        is_refused
    }

    /// What `read` finds, unless the store is away.
    fn reading<'a, T: 'a>(
        &self,
        read: StoreFuture<'a, Result<T, StoreError>>,
    ) -> StoreFuture<'a, Result<T, StoreError>> {
        if self.is_refused(&self.refuses_reads) {
            return Box::pin(async { Err(StoreError::Unavailable(AWAY.to_owned())) });
        }
        read
    }

    async fn pass_the_gate(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _ = self.is_held.subscribe().wait_for(|held| !held).await;
        self.waiting.send_modify(|waiting| *waiting -= 1);
    }

    /// Which steps are rejected, and which are skipped because of it.
    fn sort_out(&self, steps: &[Step]) -> Vec<Option<Outcome>> {
        let mut slot = self.reject.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reject) = slot.as_mut() else { return vec![None; steps.len()] };
        let mut roots = Vec::new();
        let decide = |step: &Step| {
            if roots.contains(&step.root) {
                return Some(Outcome::Skipped);
            }
            reject(step).then(|| {
                roots.push(step.root);
                Outcome::Rejected("a fault of the test".to_owned())
            })
        };
        steps.iter().map(decide).collect()
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        self.inner.acquire()
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.is_dead() {
                return Err(StoreError::Unavailable("the process has died".to_owned()));
            }
            self.inner.release(lease, clean).await
        })
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        Box::pin(async move {
            let number = self.faults.commits.fetch_add(1, Ordering::SeqCst) + 1;
            self.faults.pass_the_gate().await;
            if self.faults.is_refused(&self.faults.refuses_commits) {
                return Err(CommitError::Unavailable(AWAY.to_owned()));
            }
            if self.faults.dies(Crash::Before(number)) {
                return Err(CommitError::Lost);
            }
            let sorted = self.faults.sort_out(&steps);
            let kept = steps.iter().zip(&sorted).filter(|(_, outcome)| outcome.is_none());
            let kept: Vec<_> = kept.map(|(step, _)| step.clone()).collect();
            let Committed { outcomes, granted, mut delivered } =
                self.inner.commit(lease, kept.into()).await?;
            let places: Vec<_> =
                (0..sorted.len()).filter(|place| sorted[*place].is_none()).collect();
            delivered.iter_mut().for_each(|delivered| delivered.step = places[delivered.step]);
            let mut outcomes = outcomes.into_iter();
            if self.faults.dies(Crash::After(number)) {
                return Err(CommitError::Lost);
            }
            let outcomes = sorted.into_iter().map(|sorted| sorted.or_else(|| outcomes.next()));
            let outcomes = outcomes.map(|outcome| outcome.unwrap_or(Outcome::Skipped)).collect();
            Ok(Committed { outcomes, granted, delivered })
        })
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        self.inner.lost(lease)
    }

    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        self.faults.reading(self.inner.open_trees(of, after, limit))
    }

    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.faults.reading(self.inner.own_tree(engine, root))
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.faults.reading(self.inner.tree(root))
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        self.faults.reading(self.inner.entity(id))
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        self.faults.reading(self.inner.audit(root))
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        self.faults.reading(self.inner.inbox(command, limit))
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        self.faults.reading(self.inner.locks(behind))
    }
}

impl<S> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("commits", &self.commits()).finish_non_exhaustive()
    }
}
