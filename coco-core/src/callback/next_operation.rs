//! `callback = NextOperation`: one operation after the other, with the fields as the state.

use std::future::{Future, ready};

use super::{IsNextOperation, Outcomes};
use crate::command::Declaration;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::execute::Execute;
use crate::failure::Failure;

/// What a command with `callback = NextOperation` does, one operation after the other.
///
/// Its fields are its state: where a flow says by its code what comes next, this one says it by
/// its fields. They are stored together with the children that an operation starts, in one commit, so
/// that a crash neither skips a child nor starts it twice.
///
/// ```
/// # use coco_core::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Command, Serialize, Deserialize)]
/// # struct Merge { layer: u32 }
/// # impl Execute for Merge {
/// #     type Output = ();
/// #     async fn execute(&mut self, _: &Context<Self>) -> Result<()> { Ok(()) }
/// # }
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(callback = NextOperation)]
/// struct MergeAll { layers: Vec<u32> }
///
/// impl Execute for MergeAll {
///     type Output = ();
///     async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// impl NextOperation for MergeAll {
///     async fn perform_next_operation(
///         &mut self,
///         _: &mut (),
///         completed: &Outcomes,
///         cx: &Context<Self>,
///     ) -> Result<bool> {
///         let Some(layer) = self.layers.get(completed.len()) else { return Ok(false) };
///         cx.start(Merge { layer: *layer });
///         Ok(true)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the command `{Self}` has `callback = NextOperation`, but no next operation",
    label = "no `impl NextOperation for {Self}`",
    note = "write `impl NextOperation for {Self} {{ async fn perform_next_operation(&mut self, output: &mut Self::Output, completed: &Outcomes, cx: &Context<Self>) -> Result<bool> {{ … }} }}`"
)]
pub trait NextOperation: Execute + Declaration<Callback: IsNextOperation> {
    /// The next operation: called after `execute`, and then each time when all children have ended
    /// and all [tasks outside](crate::task) are over. `completed`: the children that have ended, since
    /// the command began.
    ///
    /// True: it goes on; where nothing was started, it is called again after a pause, as a poll is.
    /// False: the command has succeeded with `output`, which is what `execute` returned, and may be
    /// changed here; where something was started, it is called again all the same.
    ///
    /// An interrupted call comes again.
    ///
    /// # Errors
    /// Any error fails the command, after [`NextOperation::handle_failure`].
    fn perform_next_operation(
        &mut self,
        output: &mut Self::Output,
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Whether the command goes on though a child has failed with this. Asked once for each such
    /// child, before the next operation, and what it changes of the fields is stored with that. Without
    /// a body of your own the command fails.
    fn ignore_child_failure(&mut self, failure: &Failure) -> bool {
        let _ = failure;
        false
    }

    /// Called when the command is about to fail, because a child has failed or an operation has:
    /// for what cannot wait until the command is undone. An interrupted call comes again.
    ///
    /// # Errors
    /// The command fails for this error, in place of the one that it was called with.
    fn handle_failure(
        &mut self,
        error: &Error,
        cx: &Context<Self>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (error, cx);
        ready(Ok(()))
    }
}
