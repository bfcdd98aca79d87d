//! What a flow can ask for: children, stored steps, and values that a replay gives again.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::child::ChildOutcome;
use super::requests::{Ask, AskedChild, AskedUndo, Ended, Requests};
use super::wake::{inside_once, once_waker};
use super::{Context, LeafContext, Scope};
use crate::callback::{AwaitsChildren, Callback, IsLeaf};
use crate::command::{Command, Stored, lock_properties, readable};
use crate::error::Result;
use crate::failure::{Failure, FailureKind};
use crate::lock::storable_keys;
use crate::retry::Retry;
use crate::storable::storable_text;

/// The requests of a flow.
///
/// Nothing is asked before the returned future is first polled. A child goes on when the future
/// that awaits it is dropped, and the flow ends after it. The only errors are the stored failures
/// of children, steps and locks, and those of what can be asked on no run, as of a `once` whose name
/// cannot be stored: when the engine stops, or the flow cannot go on, the future stays pending and
/// the flow is dropped.
impl<C: Command> Context<C> {
    /// Runs `child` and gives its output.
    ///
    /// # Errors
    /// The stored [`Failure`] of the child.
    pub fn child<D: Command>(&self, child: D) -> ChildOutcome<'_, D, D::Output>
    where
        C::Callback: AwaitsChildren,
    {
        let scope = &self.scope;
        ChildOutcome::new(move |retry| async move {
            let mut outputs = run_children(scope, vec![child], retry).await?;
            Ok(outputs.swap_remove(0))
        })
    }

    /// Runs all `children` side by side, waits until every one has ended, and gives their outputs
    /// in the order of `children`.
    ///
    /// # Errors
    /// The stored [`Failure`] of the child that failed first.
    pub fn children<D: Command, I: IntoIterator<Item = D>>(
        &self,
        children: I,
    ) -> Outcome<'_, Vec<D::Output>>
    where
        C::Callback: AwaitsChildren,
    {
        Outcome(Box::pin(run_children(&self.scope, children.into_iter().collect(), None)))
    }

    /// Runs `step` and stores its result under `name`; a replay gives the stored result. It runs
    /// at least once: again, when the process dies before the result is stored.
    ///
    /// `step` gets a context with all that a leaf has. It runs inside the flow, so it may borrow;
    /// what it waits for is its own affair.
    ///
    /// # Errors
    /// The stored [`Failure`] of the step.
    pub fn once<'a, T, F>(
        &'a self,
        name: impl Into<Arc<str>>,
        step: impl FnOnce(LeafContext<C>) -> F + Send + 'a,
    ) -> Outcome<'a, T>
    where
        C::Callback: AwaitsChildren,
        T: Stored + Send + 'a,
        F: Future<Output = Result<T>> + Send + 'a,
    {
        let name = name.into();
        Outcome(Box::pin(async move {
            if let Err(why) = storable_text(&name) {
                let message = format!("the name of a `once` cannot be stored: {why}");
                let failure = Failure::new(FailureKind::NotStorable, message);
                return Err(failure.of(self.scope.id()).into());
            }
            let asked = Arc::clone(&name);
            let mut request =
                Request::one(self.scope.requests(), |position| Ask::Once { position, name: asked });
            if let Some(ended) = request.turn_or_answer().await {
                return read(&request, &name, ended).await;
            }
            let step = inside_once(|| step(LeafContext::new(self.scope.clone())));
            let result = run_once(step).await;
            let stored = match result {
                Ok(value) => readable(&value)
                    .map_err(|why| Failure::new(FailureKind::NotStorable, why.to_string())),
                Err(error) => Err(error.into_failure(self.scope.id())),
            };
            request
                .requests
                .once_ended(request.first, stored.map_err(|failure| failure.of(self.scope.id())));
            let ended = request.answer().await;
            read(&request, &name, ended).await
        }))
    }

    /// Waits for `duration`, also over restarts: when it is over is stored.
    ///
    /// A flow that only sleeps costs no more than a stored row.
    pub fn sleep(&self, duration: Duration) -> Outcome<'_, ()>
    where
        C::Callback: AwaitsChildren,
    {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Outcome(Box::pin(async move {
            let requests = self.scope.requests();
            let mut request = Request::one(requests, |position| Ask::Sleep { position, micros });
            let ended = request.answer().await;
            read(&request, "sleep", ended).await
        }))
    }

    /// Stores `undo`, a command that undoes what this one is about to do: if this command fails
    /// later, or what it belongs to is undone, `undo` runs as part of that, newest first. Await it
    /// before what it undoes: when it is back, or with what a flow asks for next, it is stored.
    ///
    /// `undo` runs at least once, under the locks of this command and without taking its own: there
    /// [`Context::held`] answers for what this command declares. An error of it counts as one of
    /// [`Execute::compensate`](crate::Execute::compensate). A leaf
    /// that runs again registers the same `undo` only once. A command with a `compensate` of its
    /// own that has succeeded is undone by that alone.
    ///
    /// # Errors
    /// When `undo` cannot be stored, and, in a leaf, when the engine stops or the command was
    /// ended meanwhile.
    pub fn compensate_with<U: Command>(&self, undo: U) -> Outcome<'_, ()>
    where
        U::Callback: IsLeaf,
    {
        let name = U::DESCRIPTOR.spec.name;
        let parameters = readable(&undo);
        drop(undo);
        Outcome(Box::pin(async move {
            let parameters = match parameters {
                Ok(parameters) => parameters,
                Err(why) => {
                    let failure = Failure::new(FailureKind::NotStorable, why.to_string());
                    return Err(failure.of(self.scope.id()).into());
                }
            };
            if !C::Callback::KIND.is_flow() {
                return self.scope.register(name, parameters).await;
            }
            let requests = self.scope.requests();
            let canonical = U::DESCRIPTOR.canonical(&parameters).ok();
            let undo = Box::new(AskedUndo { name, parameters, canonical });
            let mut request = Request::one(requests, |position| Ask::Register { position, undo });
            let ended = request.answer().await;
            read(&request, name, ended).await
        }))
    }

    /// A UUID that is the same on every run of the flow. Costs nothing.
    pub fn uuid(&self) -> Uuid
    where
        C::Callback: AwaitsChildren,
    {
        self.scope.id().derive("uuid", self.scope.requests().take_position())
    }

    /// The time at which the last outcome that was given to the flow had ended, or at which the
    /// flow was asked for: the same on every run of it. Costs nothing.
    pub fn now(&self) -> SystemTime
    where
        C::Callback: AwaitsChildren,
    {
        self.scope.requests().now().into()
    }
}

/// What a flow asked for, when it is awaited: the output of a child, of several, or of a step.
#[must_use = "nothing is asked before it is awaited"]
pub struct Outcome<'a, T>(Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>);

impl<T> Future for Outcome<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

async fn run_children<D: Command>(
    scope: &Scope,
    children: Vec<D>,
    retry: Option<Retry>,
) -> Result<Vec<D::Output>> {
    if children.is_empty() {
        return Ok(Vec::new());
    }
    let requests = scope.requests();
    let mut outputs: Vec<_> = children.iter().map(|_| None).collect();
    let replaying = requests.is_replaying();
    let asked = children.iter().map(|child| asked_child(scope, child, replaying, retry)).collect();
    drop(children);
    let mut request = Request::children(requests, asked);
    for (offset, ended) in request.answers().await {
        let output = read(&request, D::DESCRIPTOR.spec.name, ended).await?;
        if let Some(place) = usize::try_from(offset).ok().and_then(|offset| outputs.get_mut(offset))
        {
            *place = Some(output);
        }
    }
    Ok(outputs.into_iter().flatten().collect())
}

pub(super) fn asked_child<D: Command>(
    scope: &Scope,
    child: &D,
    replaying: bool,
    retry: Option<Retry>,
) -> AskedChild {
    let locks = lock_properties(child);
    let parameters = storable_keys(locks.locks()).and_then(|()| child.encode());
    let canonical = match &parameters {
        Ok(json) if replaying => D::DESCRIPTOR.canonical(json).ok(),
        _ => None,
    };
    let parameters = parameters
        .map_err(|why| Failure::new(FailureKind::NotStorable, why.to_string()).of(scope.id()));
    AskedChild { spec: &D::DESCRIPTOR.spec, locks, parameters, canonical, retry }
}

/// What a flow sees is always decoded from its stored form.
pub(super) async fn read<T: Stored>(request: &Request<'_>, name: &str, ended: Ended) -> Result<T> {
    match T::decode(&ended.result?) {
        Ok(value) => Ok(value),
        Err(error) => {
            request
                .requests
                .diverge(format!("the stored result of `{name}` cannot be read: {error}"));
            pending().await
        }
    }
}

/// Polls the code of a `once` with a waker of its own, so that what wakes it is known as no
/// foreign wait of the flow.
async fn run_once<T>(step: impl Future<Output = T>) -> T {
    let mut step = pin!(step);
    poll_fn(|cx| {
        let waker = once_waker(cx.waker());
        inside_once(|| step.as_mut().poll(&mut TaskContext::from_waker(&waker)))
    })
    .await
}

/// What was asked and is not answered yet.
pub(super) struct Request<'a> {
    requests: &'a Requests,
    first: i32,
    open: bool,
}

impl<'a> Request<'a> {
    fn children(requests: &'a Requests, children: Vec<AskedChild>) -> Self {
        Self { requests, first: requests.ask_children(children), open: true }
    }

    /// What has one answer.
    pub(super) fn one(requests: &'a Requests, ask: impl FnOnce(i32) -> Ask) -> Self {
        Self { requests, first: requests.ask(ask), open: true }
    }

    pub(super) async fn answer(&mut self) -> Ended {
        self.answers().await.swap_remove(0).1
    }

    async fn answers(&mut self) -> Vec<(i32, Ended)> {
        poll_fn(|cx| match self.requests.answers(self.first, cx.waker()) {
            Some(answers) => {
                self.open = false;
                Poll::Ready(answers)
            }
            None => Poll::Pending,
        })
        .await
    }

    /// The stored answer of a `once`, or none when it is its turn to run.
    async fn turn_or_answer(&mut self) -> Option<Ended> {
        poll_fn(|cx| {
            if self.requests.may_run(self.first) {
                return Poll::Ready(None);
            }
            match self.requests.answers(self.first, cx.waker()) {
                Some(mut answers) => {
                    self.open = false;
                    Poll::Ready(answers.pop().map(|(_, ended)| ended))
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.open {
            self.requests.abandon(self.first);
        }
    }
}
