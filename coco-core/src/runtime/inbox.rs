//! What is in the inbox of a command, as a round hears it.

use super::body::Body;
use super::reload::read_again;
use crate::entity::Delivery;
use crate::erased::{Call, Round};
use crate::event::Event;

/// Events that one round hears.
const MOST_EVENTS: usize = 256;

impl Body {
    /// The round for what is in the inbox of the command; none when there is nothing, or it cannot
    /// be read. An event that cannot be read is left out, and counts as heard.
    pub(super) async fn heard(&self, round: &Round) -> Option<Call> {
        let command = self.run.at.command;
        let world = &self.outside.world;
        let read = || world.store.inbox(command, MOST_EVENTS);
        let inbox = match read_again(&world.outages, "an inbox", read).await {
            Ok(inbox) => inbox,
            Err(error) => {
                tracing::error!(%command, %error, "its inbox cannot be read");
                return None;
            }
        };
        let last = inbox.last()?.number;
        let events = inbox.into_iter().filter_map(|Delivery { event, number }| {
            match serde_json::from_str(&event.payload) {
                Ok(payload) => {
                    let (id, key) = (event.event_id.as_ref().into(), event.key.as_ref().into());
                    Some((number, Event { id, key, payload }))
                }
                Err(error) => {
                    tracing::error!(%command, number, %error, "an event cannot be read");
                    None
                }
            }
        });
        let (events, last_event) = (events.collect(), Some(last));
        Some(Call::Round(Box::new(Round { events, last_event, ..round.clone() })))
    }
}
