//! Events that the program hands over.

use tokio::sync::oneshot;

use super::Coordinator;
use crate::entity::Published;
use crate::error::{EngineError, Result};
use crate::event::{Event, publishable};
use crate::runtime::request::Offer;
use crate::storable::storable;

impl Coordinator {
    /// Gives an event to every command that has subscribed to its key, once to each, however often
    /// it is published: an event is the same where its `id` is. `Ok`: it is stored for them, and they
    /// hear it, also after a restart. The number says to how many commands it was given now: with 0
    /// nobody has subscribed, or all who have were given it before. An event is not kept for commands
    /// that subscribe later.
    ///
    /// Waits while the engine is busy. When the future is dropped, the event may be stored or not.
    ///
    /// # Errors
    /// An [`EventKeyError`](crate::event::EventKeyError) or a
    /// [`NotStorable`](crate::NotStorable), and then nobody hears it;
    /// [`EngineError::Shutdown`].
    pub async fn publish(&self, event: Event) -> Result<usize> {
        publishable(&event)?;
        let payload = serde_json::to_string(&event.payload)?;
        storable(&payload)?;
        let event = Published {
            event_id: event.id.into(),
            key: event.key.into(),
            payload: payload.into(),
            published_at: self.0.clock.now(),
        };
        let (reply, answer) = oneshot::channel();
        let line = &self.0.line.submits;
        line.send(Offer::Publish { event, reply }).await.map_err(|_| EngineError::Shutdown)?;
        self.0.line.answer(answer).await?
    }
}
