//! What a command listens for.

use super::Context;
use crate::callback::HearsEvents;
use crate::command::Command;
use crate::error::Result;
use crate::event::EventKey;

impl<C: Command> Context<C> {
    /// Subscribes to the events with this key, in which `*` stands for any one segment:
    /// `*|storage|create_disk|7`. When this is back, it is stored, and what is published from now on
    /// is heard; so subscribe before you do what makes the event happen. A subscription lasts until the
    /// command ends, and a second one with the same key changes nothing.
    ///
    /// # Errors
    /// An [`EventKeyError`](crate::event::EventKeyError), and an
    /// [`EngineError`](crate::EngineError) when the engine stops or the command was ended meanwhile.
    pub async fn subscribe(&self, key: impl AsRef<str> + Send) -> Result<()>
    where
        C::Callback: HearsEvents,
    {
        let key: EventKey = key.as_ref().parse()?;
        self.scope.subscribe(key.as_str().into()).await
    }
}
