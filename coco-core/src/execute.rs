//! The one trait that a user implements.

use std::future::{Future, ready};

use crate::command::Stored;
use crate::context::{Context, LeafContext};
use crate::error::Result;
use crate::failure::Failure;
use crate::lock::LockProperties;

/// What a command does.
///
/// Write the methods as `async fn`. Every future must be `Send`. A command always runs as decoded
/// from its stored form; a method that panics has failed, and its changes to `self` are dropped.
#[diagnostic::on_unimplemented(
    message = "the command `{Self}` has nothing to execute",
    label = "no `impl Execute for {Self}`",
    note = "write `impl Execute for {Self} {{ type Output = …; async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {{ … }} }}`"
)]
pub trait Execute: Sized + Send + Sync + 'static {
    /// What it returns when it succeeds; stored as JSON.
    type Output: Stored + Send + Sync + 'static;

    /// The work. It runs once, and when the process dies in the middle it fails, unless the
    /// command is `idempotent`; then it runs again. A flow (`callback = SerialChildren`) runs
    /// again from its parameters as submitted, and what had ended answers from the store. With any other
    /// [callback](crate::callback) rounds follow when it has returned.
    ///
    /// # Errors
    /// Any error fails the command, and is stored as its [`Failure`].
    fn execute(&mut self, cx: &Context<Self>) -> impl Future<Output = Result<Self::Output>> + Send;

    /// Checks before anything is done, under the command's locks. Runs before every run of
    /// `execute`, but for a flow that goes on where it was.
    ///
    /// # Errors
    /// Any error ends the command as refused: with failure, without end hook. On a later run,
    /// when an earlier one may have half happened, it fails as by `execute`.
    fn validate(&self, cx: &LeafContext<Self>) -> impl Future<Output = Result<()>> + Send {
        let _ = cx;
        ready(Ok(()))
    }

    /// Changes what the command says about its locks, by its fields: the rest is said by
    /// `#[command(lock = …, wait = …)]` and `#[lock(…)]`. Called before the command is stored, and
    /// again after a restart, so it has to say the same each time: it sees no context.
    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties
    }

    /// Called, at least once, when the command has succeeded.
    ///
    /// # Errors
    /// It is called again after a pause, and after the last attempt the command is stuck; it has
    /// succeeded all the same.
    fn end_successfully(
        &mut self,
        output: &Self::Output,
        cx: &LeafContext<Self>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = output;
        cx.mark_default_hook();
        ready(Ok(()))
    }

    /// Undoes what the command did. Called, at least once, when the command that asked for it
    /// fails after this one has succeeded: then `output` is what it returned. And when this one
    /// has failed itself, after its succeeded children were undone: then `output` is none, and
    /// what it does may have half happened; it is there when `execute` had returned it, and the
    /// command was cancelled, but too late, or a round of its callback has failed.
    ///
    /// A command without a `compensate` of its own is undone child by child, newest first.
    ///
    /// # Errors
    /// It is called again after a pause, and after the last attempt the command whose failure is
    /// being undone is stuck.
    fn compensate(
        &mut self,
        output: Option<&Self::Output>,
        cx: &LeafContext<Self>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = output;
        cx.mark_default_hook();
        ready(Ok(()))
    }

    /// Called, at least once, when the command has failed, all its children have ended, and what
    /// had succeeded is undone.
    ///
    /// # Errors
    /// It is called again after a pause, and after the last attempt the command is stuck; it has
    /// failed all the same.
    fn end_with_failure(
        &mut self,
        failure: &Failure,
        cx: &LeafContext<Self>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = failure;
        cx.mark_default_hook();
        ready(Ok(()))
    }
}
