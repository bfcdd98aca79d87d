//! Events that a program publishes: stored in the inboxes of those who listen, before it is told.

use tokio::sync::oneshot;

use super::body::new_id;
use super::effects::{Caller, ticket_of};
use super::engine::Engine;
use crate::entity::Published;
use crate::error::{EngineError, Result};
use crate::machine::Effect;
use crate::machine::step::{Step, Write};
use crate::store::Delivered;

impl Engine {
    /// Stores an event. It is of no tree, so it has an identity of its own as one.
    pub(super) fn published(&mut self, event: Published, reply: oneshot::Sender<Result<usize>>) {
        if self.stopping.is_some() {
            return drop(reply.send(Err(EngineError::Shutdown.into())));
        }
        let ticket = self.ticket(Caller::Publish(0, reply));
        let id = new_id();
        let writes = vec![Write::Publish(Box::new(event))];
        let step = Step { root: id, command: id, request: None, writes };
        self.queue.push(step, vec![Effect::Accept { ticket }]);
    }

    /// Notes for whoever published an event how many have got it.
    pub(super) fn count_deliveries(&mut self, effects: &[Vec<Effect>], delivered: &[Delivered]) {
        for delivered in delivered {
            let ticket = effects.get(delivered.step).and_then(|effects| ticket_of(effects));
            if let Some(Caller::Publish(count, _)) =
                ticket.and_then(|ticket| self.callers.get_mut(&ticket))
            {
                *count += 1;
            }
        }
    }
}
