//! `callback = Polling`: work outside, and the question whether it is done.

use std::future::Future;

use super::{IsPolling, Poll};
use crate::command::Declaration;
use crate::context::Context;
use crate::error::Result;
use crate::event::Event;
use crate::execute::Execute;

/// How a command with `callback = Polling` finds out that its work is done.
///
/// `execute` begins some work outside and returns; then the command is polled, first after one
/// second, then after pauses of 2, 4, 8 and at last always 10 seconds. `poll(every = "…", max = "…")`
/// in its `#[command(…)]` says otherwise, and `timeout = "…"` how long it may take at all. A command
/// has one poll at a time, and a slow one holds up no other command. A poll that changes nothing
/// writes nothing; after one that has changed a field or the output the pauses begin again.
///
/// ```
/// # use coco_core::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # struct Hosts;
/// # impl Hosts {
/// #     async fn reboot(&self, _: u32) -> Result<()> { Ok(()) }
/// #     async fn is_up(&self, _: u32) -> Result<bool> { Ok(true) }
/// # }
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(callback = Polling, needs(Hosts), timeout = "10m")]
/// struct Reboot { host: u32 }
///
/// impl Execute for Reboot {
///     type Output = ();
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         cx.get::<Hosts>().reboot(self.host).await
///     }
/// }
///
/// impl Polling for Reboot {
///     async fn poll(&mut self, _: &mut (), cx: &Context<Self>) -> Result<Poll> {
///         let is_up = cx.get::<Hosts>().is_up(self.host).await?;
///         Ok(if is_up { Poll::Ready } else { Poll::Pending })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the command `{Self}` has `callback = Polling`, but no `poll`",
    label = "no `impl Polling for {Self}`",
    note = "write `impl Polling for {Self} {{ async fn poll(&mut self, output: &mut Self::Output, cx: &Context<Self>) -> Result<Poll> {{ … }} }}`"
)]
pub trait Polling: Execute + Declaration<Callback: IsPolling> {
    /// Asks whether the work is done. [`Poll::Ready`]: the command has succeeded with `output`,
    /// which is what `execute` returned, and may be changed here.
    ///
    /// An interrupted call comes again.
    ///
    /// # Errors
    /// Any error fails the command: there is no retry. For what may pass, as a system that cannot be
    /// reached now, answer [`Poll::Pending`].
    fn poll(
        &mut self,
        output: &mut Self::Output,
        cx: &Context<Self>,
    ) -> impl Future<Output = Result<Poll>> + Send;

    /// Called for each event that the command has subscribed to ([`Context::subscribe`]), in the
    /// order in which they were published, and answers as [`Polling::poll`] does; without a body of
    /// your own it is that. A command that has subscribed is polled only when no event has come for
    /// `event_timeout = "…"`, which is 5 minutes without one, and when it comes from the store, as
    /// after a restart.
    ///
    /// An event is heard once: what the calls for all events that waited have changed is stored with
    /// the fact that these were heard. When one of the calls is interrupted, they come again.
    ///
    /// # Errors
    /// Any error fails the command.
    fn on_event(
        &mut self,
        output: &mut Self::Output,
        event: &Event,
        cx: &Context<Self>,
    ) -> impl Future<Output = Result<Poll>> + Send {
        let _ = event;
        self.poll(output, cx)
    }
}
