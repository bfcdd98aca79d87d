//! What the engine calls of a callback, whichever it is.

use std::future::{Future, ready};

use super::custom::CommandCallback;
use super::{
    AwaitsChildren, Callback, ConcurrentChildren, Custom, NextOperation, NoCallback, Outcomes,
    Polling, SerialChildren, Unread,
};
use crate::context::{Context, LeafContext};
use crate::error::Result;
use crate::event::Event;
use crate::execute::Execute;
use crate::failure::Failure;

/// What a round of a callback answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It goes on: another round is to come.
    Pending,
    /// The work has succeeded, unless this round has started something: then it goes on all the
    /// same.
    Ready,
}

/// What the engine calls of the callback of the command `C`. Nobody implements it by hand: the
/// callbacks that there are have it, where the command implements the trait that belongs to it.
#[doc(hidden)]
pub trait CallbackOf<C>: Callback {
    /// `execute` has returned this.
    fn executed(
        command: &mut C,
        output: &mut C::Output,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<()>> + Send
    where
        C: Execute,
    {
        let _ = (command, output, cx);
        ready(Ok(()))
    }

    /// One round.
    fn round(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send
    where
        C: Execute,
    {
        let _ = (command, output, outcomes, cx);
        ready(Ok(Poll::Ready))
    }

    /// A round for an event.
    fn event(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        event: &Event,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send
    where
        C: Execute,
    {
        let _ = event;
        Self::round(command, output, outcomes, cx)
    }

    /// One round of a command of which `execute` has failed. A default body marks the context.
    fn failed_round(
        command: &mut C,
        failure: &Failure,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send
    where
        C: Execute,
    {
        let _ = (command, failure, outcomes);
        cx.mark_default_hook();
        ready(Ok(Poll::Ready))
    }

    /// The end hook of a command that has succeeded.
    fn on_succeeded(
        command: &mut C,
        output: &C::Output,
        cx: &LeafContext<C>,
    ) -> impl Future<Output = Result<()>> + Send
    where
        C: Execute,
    {
        command.end_successfully(output, cx)
    }

    /// The end hook of a command that has failed.
    fn on_failed(
        command: &mut C,
        failure: &Failure,
        cx: &LeafContext<C>,
    ) -> impl Future<Output = Result<()>> + Send
    where
        C: Execute,
    {
        command.end_with_failure(failure, cx)
    }
}

impl<C> CallbackOf<C> for NoCallback {}

impl<C> CallbackOf<C> for Unread {}

impl<C> CallbackOf<C> for SerialChildren where Self: AwaitsChildren {}

impl<C: crate::ConcurrentChildren> CallbackOf<C> for ConcurrentChildren {
    async fn round(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> Result<Poll> {
        command.children_ended(output, outcomes, cx).await?;
        Ok(Poll::Ready)
    }
}

impl<C: crate::NextOperation> CallbackOf<C> for NextOperation {
    async fn round(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> Result<Poll> {
        let failed = outcomes.new_failures().find(|new| !command.ignore_child_failure(new));
        let next = match failed {
            Some(failure) => Err(failure.clone().into()),
            None => command.perform_next_operation(output, outcomes, cx).await,
        };
        match next {
            Ok(true) => Ok(Poll::Pending),
            Ok(false) => Ok(Poll::Ready),
            Err(error) => {
                command.handle_failure(&error, cx).await?;
                Err(error)
            }
        }
    }
}

impl<C: crate::Polling> CallbackOf<C> for Polling {
    async fn round(
        command: &mut C,
        output: &mut C::Output,
        _: &Outcomes,
        cx: &Context<C>,
    ) -> Result<Poll> {
        command.poll(output, cx).await
    }

    async fn event(
        command: &mut C,
        output: &mut C::Output,
        _: &Outcomes,
        event: &Event,
        cx: &Context<C>,
    ) -> Result<Poll> {
        command.on_event(output, event, cx).await
    }
}

impl<C: Execute, T: CommandCallback<C>> CallbackOf<C> for Custom<T> {
    fn executed(
        command: &mut C,
        output: &mut C::Output,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<()>> + Send {
        T::executed(command, output, cx)
    }

    fn round(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send {
        T::do_polling(command, output, outcomes, cx)
    }

    fn event(
        command: &mut C,
        output: &mut C::Output,
        outcomes: &Outcomes,
        event: &Event,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send {
        T::on_event(command, output, outcomes, event, cx)
    }

    fn failed_round(
        command: &mut C,
        failure: &Failure,
        outcomes: &Outcomes,
        cx: &Context<C>,
    ) -> impl Future<Output = Result<Poll>> + Send {
        T::poll_on_execution_failed(command, failure, outcomes, cx)
    }

    fn on_succeeded(
        command: &mut C,
        output: &C::Output,
        cx: &LeafContext<C>,
    ) -> impl Future<Output = Result<()>> + Send {
        T::on_succeeded(command, output, cx)
    }

    fn on_failed(
        command: &mut C,
        failure: &Failure,
        cx: &LeafContext<C>,
    ) -> impl Future<Output = Result<()>> + Send {
        T::on_failed(command, failure, cx)
    }
}
