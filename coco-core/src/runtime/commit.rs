//! The commit queue: steps with the effects that wait for them, one commit in flight.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::id::CommandId;
use crate::machine::Effect;
use crate::machine::step::Step;
use crate::store::{CommitError, Committed, Lease, Store};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A step, with the effects that wait for it.
pub(super) type Queued = (Step, Vec<Effect>);

/// Steps that wait for the next commit.
#[derive(Debug, Default)]
pub(super) struct Queue {
    steps: Vec<Step>,
    effects: Vec<Vec<Effect>>,
    /// The steps that are being committed.
    committing: Option<Arc<[Step]>>,
}

/// The batch that is being committed.
pub(super) struct InFlight {
    pub(super) steps: Arc<[Step]>,
    pub(super) effects: Vec<Vec<Effect>>,
    pub(super) done: Pin<Box<dyn Future<Output = Result<Committed, CommitError>> + Send>>,
}

impl Queue {
    pub(super) fn push(&mut self, step: Step, effects: Vec<Effect>) {
        self.steps.push(step);
        self.effects.push(effects);
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The trees of which not all is stored.
    pub(super) fn unstored(&self) -> impl Iterator<Item = CommandId> {
        self.committing
            .iter()
            .flat_map(|steps| steps.iter())
            .chain(&self.steps)
            .map(|step| step.root)
    }

    /// The commit that was begun is through.
    pub(super) fn committed(&mut self) {
        self.committing = None;
    }

    /// Takes the steps of one tree out.
    pub(super) fn take_tree(&mut self, root: CommandId) -> Vec<Queued> {
        let all =
            std::mem::take(&mut self.steps).into_iter().zip(std::mem::take(&mut self.effects));
        let (taken, kept): (Vec<_>, Vec<_>) = all.partition(|(step, _)| step.root == root);
        (self.steps, self.effects) = kept.into_iter().unzip();
        taken
    }

    /// The effects of the steps at the head that write nothing: all before them is durable.
    pub(super) fn take_free(&mut self) -> Vec<Effect> {
        let writes = |step: &Step| !step.writes.is_empty() || step.request.is_some();
        let free = self.steps.iter().position(writes).unwrap_or(self.steps.len());
        self.steps.drain(..free);
        self.effects.drain(..free).flatten().collect()
    }

    /// Begins the commit of all that waits.
    pub(super) fn begin(&mut self, store: &Arc<dyn Store>, lease: &Arc<Lease>) -> InFlight {
        let steps: Arc<[Step]> = std::mem::take(&mut self.steps).into();
        let effects = std::mem::take(&mut self.effects);
        self.committing = Some(Arc::clone(&steps));
        let done = commit(Arc::clone(store), Arc::clone(lease), Arc::clone(&steps));
        InFlight { steps, effects, done: Box::pin(done) }
    }
}

/// Commits a batch, again and again while the store is unavailable.
async fn commit(
    store: Arc<dyn Store>,
    lease: Arc<Lease>,
    steps: Arc<[Step]>,
) -> Result<Committed, CommitError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match store.commit(&lease, Arc::clone(&steps)).await {
            Err(CommitError::Unavailable(reason)) => {
                tracing::warn!(reason, ?pause, "the store cannot be written; trying again");
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            result => return result,
        }
    }
}
