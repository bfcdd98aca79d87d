//! One child of a flow, until it is awaited.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use crate::callback::RunsOnce;
use crate::command::Command;
use crate::error::Result;
use crate::retry::Retry;

/// The output `T` of a child `D`, when it is awaited; [`ChildOutcome::retry`] says before how the
/// child is retried.
#[must_use = "nothing is asked before it is awaited"]
pub struct ChildOutcome<'a, D, T> {
    state: State<'a, T>,
    child: PhantomData<fn() -> D>,
}

type Ask<'a, T> = Box<dyn FnOnce(Option<Retry>) -> Asked<'a, T> + Send + 'a>;
type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

enum State<'a, T> {
    New(Option<Retry>, Option<Ask<'a, T>>),
    Asked(Asked<'a, T>),
}

impl<'a, D, T> ChildOutcome<'a, D, T> {
    pub(super) fn new<F>(ask: impl FnOnce(Option<Retry>) -> F + Send + 'a) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'a,
    {
        let ask = Box::new(|retry| Box::pin(ask(retry)) as Asked<'a, T>);
        Self { state: State::New(None, Some(ask)), child: PhantomData }
    }
}

impl<D: Command, T> ChildOutcome<'_, D, T>
where
    D::Callback: RunsOnce,
{
    /// Retries the child as `retry` says, instead of as its type does. That is stored with the
    /// child, so after a restart it is what its first run said.
    pub fn retry(mut self, retry: Retry) -> Self {
        if let State::New(declared, _) = &mut self.state {
            *declared = Some(retry);
        }
        self
    }
}

impl<D, T> Future for ChildOutcome<'_, D, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let State::New(retry, ask) = &mut self.state
            && let Some(ask) = ask.take()
        {
            self.state = State::Asked(ask(*retry));
        }
        match &mut self.state {
            State::Asked(asked) => asked.as_mut().poll(cx),
            State::New(..) => Poll::Pending,
        }
    }
}

impl<D, T> fmt::Debug for ChildOutcome<'_, D, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildOutcome").finish_non_exhaustive()
    }
}
