//! What the last round has said for events, while children are open.
//!
//! That it was the last one is not stored before the command ends, and after a restart in between it
//! is heard again. So nothing of it may be stored before.

use std::sync::Arc;

use crate::entity::Progress;
use crate::machine::node::Node;

/// What a round has changed.
#[derive(Debug)]
pub(super) struct LastSaid {
    state: Option<Arc<str>>,
    output: Option<Arc<str>>,
    seen: Option<i64>,
}

impl LastSaid {
    /// As it is before a round.
    pub(super) fn of(progress: &Progress) -> Self {
        let Progress { state, return_value, seen, .. } = progress;
        Self { state: state.clone(), output: return_value.clone(), seen: *seen }
    }

    /// Puts it into `progress`, and takes what is there.
    pub(super) fn exchange(&mut self, progress: &mut Progress) {
        std::mem::swap(&mut self.state, &mut progress.state);
        std::mem::swap(&mut self.output, &mut progress.return_value);
        std::mem::swap(&mut self.seen, &mut progress.seen);
    }
}

impl Node {
    /// Its code is over: what its last round has said counts.
    pub(in crate::machine) fn take_last_said(&mut self) {
        let last = self.rounds.as_deref_mut().and_then(|rounds| rounds.last.take());
        if let Some(mut last) = last {
            last.exchange(&mut self.progress);
        }
    }
}
