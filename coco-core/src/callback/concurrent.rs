//! `callback = ConcurrentChildren`: children side by side, and then the command once more.

use std::future::{Future, ready};

use super::{IsConcurrentChildren, Outcomes};
use crate::command::Declaration;
use crate::context::Context;
use crate::error::Result;
use crate::execute::Execute;

/// What a command with `callback = ConcurrentChildren` does when its children have ended.
///
/// `execute` starts any number of children with `cx.start(child)` and returns. They are stored with
/// the fact that it was executed, in one commit, and then run side by side. Where it starts none,
/// `children_ended` is called at once.
///
/// ```
/// # use coco_core::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Command, Serialize, Deserialize)]
/// # struct Upgrade { host: u32 }
/// # impl Execute for Upgrade {
/// #     type Output = ();
/// #     async fn execute(&mut self, _: &Context<Self>) -> Result<()> { Ok(()) }
/// # }
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(callback = ConcurrentChildren)]
/// struct UpgradeAll { hosts: Vec<u32> }
///
/// impl Execute for UpgradeAll {
///     type Output = ();
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         for host in &self.hosts {
///             cx.start(Upgrade { host: *host });
///         }
///         Ok(())
///     }
/// }
///
/// // Fails when any host has failed.
/// impl ConcurrentChildren for UpgradeAll {}
/// ```
#[diagnostic::on_unimplemented(
    message = "the command `{Self}` has `callback = ConcurrentChildren`, but does not say what happens when its children have ended",
    label = "no `impl ConcurrentChildren for {Self}`",
    note = "write `impl ConcurrentChildren for {Self} {{}}` to fail when any of them has failed"
)]
pub trait ConcurrentChildren: Execute + Declaration<Callback: IsConcurrentChildren> {
    /// Called when all children that were started have ended, well or not; `outcomes` are those of
    /// all, since the command began. It may start more: then it is called again when those have
    /// ended. Otherwise the command has succeeded with `output`, which is what `execute` returned, and
    /// may be changed here.
    ///
    /// An interrupted call comes again.
    ///
    /// # Errors
    /// Any error fails the command. Without a body of your own it is the failure of the child that
    /// failed first.
    fn children_ended(
        &mut self,
        output: &mut Self::Output,
        outcomes: &Outcomes,
        cx: &Context<Self>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (output, cx);
        ready(outcomes.all_succeeded())
    }
}
