//! Trees of their own that a command launches.

use super::Context;
use super::flow::{Request, asked_child, read};
use super::requests::Ask;
use crate::callback::Callback;
use crate::command::Command;
use crate::error::{EngineError, Result};

impl<C: Command> Context<C> {
    /// Launches `command` as the root of a tree of its own: nobody waits for it, it goes on whatever
    /// becomes of this command, and is not undone with it. It waits for its locks, or is refused, as
    /// one that is submitted; that it was refused is its own failure.
    ///
    /// In a flow it is stored when this is back, once, however often the flow runs. Anywhere else it
    /// is stored together with what the method has changed, when that has returned: one that fails
    /// launches nothing.
    ///
    /// # Errors
    /// A [`NotStorable`](crate::NotStorable), and [`EngineError::LaunchInUndo`].
    pub async fn launch_detached<D: Command>(&self, command: D) -> Result<()> {
        let asked = asked_child(&self.scope, &command, false, None);
        drop(command);
        if let Err(failure) = asked.parameters {
            return Err(failure.into());
        }
        let requests = self.scope.requests();
        if !C::Callback::KIND.is_flow() {
            // What is executed and can ask for nothing is an undo command.
            if self.scope.0.asks.is_none() {
                return Err(EngineError::LaunchInUndo(self.id()).into());
            }
            requests.launch(asked);
            return Ok(());
        }
        let name = asked.spec.name;
        let root = Box::new(asked);
        let mut request = Request::one(requests, |position| Ask::Launch { position, root });
        let ended = request.answer().await;
        read(&request, name, ended).await
    }
}
