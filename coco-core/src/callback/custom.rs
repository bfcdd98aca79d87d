//! `callback = path::To::Callback`: one of your own, with all that a callback can say.

use std::future::{Future, ready};

use super::{Outcomes, Poll};
use crate::context::{Context, LeafContext};
use crate::error::Result;
use crate::event::Event;
use crate::execute::Execute;
use crate::failure::Failure;

/// A callback of your own for the command `C`: `callback = path::To::Callback`. One type can be the
/// callback of many commands.
///
/// It has no state of its own: that is in the fields of the command. Each method gets them as the
/// one before has left them, and what it changes is stored. Only [`CommandCallback::do_polling`] has
/// to be written.
///
/// ```
/// # use coco_core::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Command, Serialize, Deserialize)]
/// # struct Ping { host: u32 }
/// # impl Execute for Ping {
/// #     type Output = ();
/// #     async fn execute(&mut self, _: &Context<Self>) -> Result<()> { Ok(()) }
/// # }
/// /// Has succeeded as soon as one child has.
/// struct AnyOf;
///
/// impl<C: Execute> CommandCallback<C> for AnyOf {
///     async fn do_polling(
///         _: &mut C,
///         _: &mut C::Output,
///         outcomes: &Outcomes,
///         _: &Context<C>,
///     ) -> Result<Poll> {
///         let has_one = outcomes.failures().count() < outcomes.len();
///         Ok(if has_one { Poll::Ready } else { Poll::Pending })
///     }
/// }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(callback = AnyOf, timeout = "30s")]
/// struct FindHost { hosts: Vec<u32> }
///
/// impl Execute for FindHost {
///     type Output = ();
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         for host in &self.hosts {
///             cx.start(Ping { host: *host });
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a callback for the command `{C}`",
    label = "no `impl CommandCallback<{C}> for {Self}`",
    note = "write `impl CommandCallback<{C}> for {Self} {{ async fn do_polling(command: &mut {C}, output: &mut <{C} as Execute>::Output, outcomes: &Outcomes, cx: &Context<{C}>) -> Result<Poll> {{ … }} }}`, or name one of `SerialChildren`, `ConcurrentChildren`, `NextOperation`, `Polling`"
)]
pub trait CommandCallback<C: Execute>: 'static {
    /// Called when `execute` has returned `output`, before that is stored: what it starts and changes
    /// is stored with it.
    ///
    /// # Errors
    /// Any error fails the command, as one of `execute` does.
    fn executed(
        command: &mut C,
        output: &mut C::Output,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (command, output, cx);
        ready(Ok(()))
    }

    /// Called at growing intervals, and when children have ended; `outcomes` are those of all that
    /// have, since the command began. [`Poll::Ready`]: this was the last call, unless it has
    /// started a child, and the command succeeds with `output` when all its children have ended.
    ///
    /// An interrupted call comes again, and so does one that has answered [`Poll::Ready`], when the process
    /// dies before the last of its children has ended.
    ///
    /// # Errors
    /// Any error fails the command when all its children have ended.
    fn do_polling(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send;

    /// Called for each event that the command has subscribed to: see
    /// [`Polling::on_event`](crate::Polling::on_event). Without a body of your own it is
    /// [`CommandCallback::do_polling`].
    ///
    /// # Errors
    /// As those of [`CommandCallback::do_polling`].
    fn on_event(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        event: &Event,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send {
        let _ = event;
        Self::do_polling(command, output, outcomes, cx)
    }

    /// Called at growing intervals when `execute` has failed: until it answers [`Poll::Ready`], what
    /// had succeeded is not undone, and the command does not end. For work outside that may still go
    /// on, where nobody knows how far `execute` came. What it starts is dropped.
    ///
    /// # Errors
    /// An error ends the waiting as [`Poll::Ready`] does; the command fails for the first one.
    fn poll_on_execution_failed(
        command: &mut C,
        failure: &Failure,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send {
        let _ = (command, failure, outcomes);
        cx.mark_default_hook();
        ready(Ok(Poll::Ready))
    }

    /// Called, at least once, when the command has succeeded. Without a body of your own it is
    /// [`Execute::end_successfully`].
    ///
    /// # Errors
    /// As those of an end hook.
    fn on_succeeded(
        command: &mut C,
        output: &C::Output,
        cx: &LeafContext<C>,
    ) -> impl Future<Output = Result<()>> + Send {
        command.end_successfully(output, cx)
    }

    /// Called, at least once, when the command has failed and what had succeeded is undone. Without
    /// a body of your own it is [`Execute::end_with_failure`].
    ///
    /// # Errors
    /// As those of an end hook.
    fn on_failed(
        command: &mut C,
        failure: &Failure,
        cx: &LeafContext<C>,
    ) -> impl Future<Output = Result<()>> + Send {
        command.end_with_failure(failure, cx)
    }
}
