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
    /// When the process dies in between, an `idempotent` `execute` runs again, and begins the work. A
    /// round does not come again before the task was asked for: one that was never begun is
    /// [`Unknown`](crate::task::TaskStatus::Unknown), and the command fails.
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
