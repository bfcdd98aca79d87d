//! The commit queue: steps with the effects that wait for them, one commit in flight.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::outages::Outages;
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
    waiting: VecDeque<Queued>,
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
        self.waiting.push_back((step, effects));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The trees of which not all is stored.
    pub(super) fn unstored(&self) -> impl Iterator<Item = CommandId> {
        let committing = self.committing.iter().flat_map(|steps| steps.iter());
        let waiting = self.waiting.iter().map(|(step, _)| step);
        committing.chain(waiting).map(|step| step.root)
    }

    /// The commit that was begun is through.
    pub(super) fn committed(&mut self) {
        self.committing = None;
    }

    /// Takes the steps of one tree out.
    pub(super) fn take_tree(&mut self, root: CommandId) -> Vec<Queued> {
        let waiting = std::mem::take(&mut self.waiting);
        let (taken, kept): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(step, _)| step.root == root);
        self.waiting = kept.into();
        taken
    }

    /// The effects of the step at the head, if it writes nothing: all before it is durable.
    pub(super) fn take_free(&mut self) -> Option<Vec<Effect>> {
        let is_free = |(step, _): &mut Queued| step.writes.is_empty() && step.request.is_none();
        self.waiting.pop_front_if(is_free).map(|(_, effects)| effects)
    }

    /// Begins the commit of all that waits.
    pub(super) fn begin(
        &mut self,
        store: &Arc<dyn Store>,
        lease: &Arc<Lease>,
        outages: &Outages,
    ) -> InFlight {
        let (steps, effects): (Vec<_>, _) = self.waiting.drain(..).unzip();
        let steps: Arc<[Step]> = steps.into();
        self.committing = Some(Arc::clone(&steps));
        let (store, lease) = (Arc::clone(store), Arc::clone(lease));
        let done = commit(store, lease, Arc::clone(&steps), outages.clone());
        InFlight { steps, effects, done: Box::pin(done) }
    }
}

/// Commits a batch, again and again while the store is unavailable.
async fn commit(
    store: Arc<dyn Store>,
    lease: Arc<Lease>,
    steps: Arc<[Step]>,
    outages: Outages,
) -> Result<Committed, CommitError> {
    let mut outage = outages.watch();
    let mut pause = FIRST_PAUSE;
    loop {
        match store.commit(&lease, Arc::clone(&steps)).await {
            Err(CommitError::Unavailable(reason)) => {
                tracing::warn!(reason, ?pause, "the store cannot be written; trying again");
                outage.failed(reason);
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            result => return result,
        }
    }
}
