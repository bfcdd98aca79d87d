//! What the engine knows of a command that does not go on.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::engine::Engine;
use crate::lock::LockTable;
use crate::machine::{Address, Why};
use crate::time::Timestamp;

/// Who asks about a command, and what is stored about its locks.
pub(crate) struct Question {
    pub(crate) at: Address,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) reply: oneshot::Sender<Known>,
}

/// What the engine knows.
#[derive(Debug)]
pub(crate) enum Known {
    /// Why it does not go on; none when it has ended.
    Why(Option<Why>),
    /// The store has to say. `rests`: the tree was in memory, and comes back when something
    /// happens, or at this time for this command.
    NotHere { rests: Option<Option<Timestamp>> },
}

impl Engine {
    pub(super) fn asked_why(&mut self, Question { at, locks, reply }: Question) {
        let root = at.root;
        let known = if self.machine.has(root) {
            Known::Why(self.machine.why(self.settings.clock.now(), at, &locks))
        } else if let Some(why) = self.admission.why_quarantined(root) {
            Known::Why(Some(why))
        } else if self.has_ended(root) {
            Known::Why(None)
        } else {
            let rests = self.reloading.contains_key(&root) || self.admission.has_rested(root);
            Known::NotHere { rests: rests.then(|| self.alarms.next_of(at.command)) }
        };
        // Who asked may have gone.
        drop(reply.send(known));
    }
}
