//! The one trait that a user implements.

use std::future::{Future, ready};

use crate::command::Stored;
use crate::context::{Context, LeafContext};
use crate::error::Result;
use crate::failure::Failure;

/// What a command does.
///
/// Write the methods as `async fn`. Every future must be `Send`. A command always runs as decoded
/// from its stored form; a method that panics fails its command and nothing else (an end hook
/// parks it as stuck), and its changes to `self` are dropped.
#[diagnostic::on_unimplemented(
    message = "the command `{Self}` has nothing to execute",
    label = "no `impl Execute for {Self}`",
    note = "write `impl Execute for {Self} {{ type Output = …; async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {{ … }} }}`"
)]
pub trait Execute: Sized + Send + Sync + 'static {
    /// What it returns when it succeeds; stored as JSON.
    type Output: Stored + Send + Sync + 'static;

    /// The work. A leaf runs once, and when the process dies in the middle it fails, unless the
    /// command is `idempotent`; then it runs again. A flow (`callback = SerialChildren`) runs
    /// again from its parameters as submitted, and what had ended answers from the store.
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

    /// Called, at least once, when the command has succeeded.
    ///
    /// # Errors
    /// An error parks the command as stuck; it has succeeded all the same.
    fn end_successfully(
        &mut self,
        output: &Self::Output,
        cx: &LeafContext<Self>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = output;
        cx.mark_default_hook();
        ready(Ok(()))
    }

    /// Called, at least once, when the command has failed and all its children have ended.
    ///
    /// # Errors
    /// An error parks the command as stuck; it has failed all the same.
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
