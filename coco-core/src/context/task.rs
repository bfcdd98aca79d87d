//! Tasks outside that a command has.

use super::Context;
use crate::callback::HasTasks;
use crate::command::Command;
use crate::error::Result;
use crate::storable::storable;
use crate::task::ExternalTask;

impl<C: Command> Context<C> {
    /// Stores `task`, and lets the engine follow it. Begin the work outside only when this is back:
    /// then it can be asked for whatever dies, by the name that is in its fields. A second task with
    /// the same fields is the same task, and is not stored again.
    ///
    /// When the process dies before the end of the round is stored, the round comes again, and so does
    /// an `idempotent` `execute`: before the task is asked for. It begins the work then, if it adds the
    /// same task; what becomes of one that it does not add again, [the page of tasks](crate::task) says.
    ///
    /// # Errors
    /// A [`NotStorable`](crate::NotStorable), and an [`EngineError`](crate::EngineError) when the
    /// engine stops or the command was ended meanwhile.
    pub async fn task(&self, task: impl ExternalTask + 'static) -> Result<()>
    where
        C::Callback: HasTasks,
    {
        let task: Box<dyn ExternalTask> = Box::new(task);
        let json = serde_json::to_string(&task)?;
        drop(task);
        storable(&json)?;
        self.scope.add_task(json.into()).await
    }
}
