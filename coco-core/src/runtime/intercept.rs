//! Where the kit for tests has a word before a method runs that is no flow: it can let it fail,
//! or cut it off and run it again.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use super::body::{Method, drop_caught};
use crate::command::Spec;
use crate::context::Scope;
use crate::erased::{Call, Reply};
use crate::failure::{Failure, FailureKind};
use crate::retry::Again;

/// The code of the failures that the kit makes.
const INJECTED: &str = "injected";

/// Decides what happens to methods that are about to run.
pub(crate) trait Intercept: Send + Sync {
    /// What is to happen to this one.
    fn asked(&self, occasion: Occasion, spec: &Spec) -> Answer;

    /// What was asked for did happen. `reply`: of its last run.
    fn happened(&self, occasion: Occasion, reply: &Reply);
}

/// Stands among the resources of an engine, where no command can ask for it.
pub(crate) struct Interceptor(pub(crate) Arc<dyn Intercept>);

/// What a method is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// `execute` of a leaf.
    Execute,
    /// A round of a callback.
    Round,
    /// `end_successfully`.
    EndSuccessfully,
    /// `end_with_failure`.
    EndWithFailure,
    /// `compensate`.
    Compensate,
    /// An undo command.
    UndoCommand,
}

/// What is to happen to a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// What always happens.
    Run,
    /// It fails there, and is not tried again.
    Fail(Point),
    /// It is cut off there, and run again.
    Again(Point),
}

/// How far a method comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// It does nothing.
    Before,
    /// It is dropped when it waits for the nth time.
    Await(usize),
    /// It does everything, and its result is thrown away.
    After,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("before it began"),
            Self::Await(n) => write!(f, "at its await {n}"),
            Self::After => f.write_str("after it was done"),
        }
    }
}

impl Interceptor {
    pub(super) async fn run(&self, method: &Method<'_>) -> Reply {
        let occasion = method.occasion();
        let scope = method.scope(0);
        let answer = self.0.asked(occasion, &method.descriptor.spec);
        let reply = match answer {
            Answer::Run => return method.once(&scope, method.call.clone()).await,
            Answer::Fail(point) | Answer::Again(point) => {
                match method.run_to(&scope, point).await {
                    (false, reply) => return reply,
                    (true, reply) => reply,
                }
            }
        };
        let reply = match answer {
            // It has failed by itself.
            Answer::Fail(Point::After) if reply.result.is_err() => return reply,
            Answer::Fail(point) => injected(&scope, point, reply),
            _ if scope.is_cancelled() => return reply,
            _ => method.once(&method.scope(1), method.call.clone()).await,
        };
        self.0.happened(occasion, &reply);
        reply
    }
}

/// `reply` with a failure in place of its result.
fn injected(scope: &Scope, point: Point, reply: Reply) -> Reply {
    let message = format!("a test made it fail {point}");
    let mut failure = Failure::new(FailureKind::Failed, message).of(scope.id());
    failure.code = Some(INJECTED.into());
    Reply { result: Err(failure), again: Again::Never, ..reply }
}

impl Method<'_> {
    fn occasion(&self) -> Occasion {
        match self.call {
            Call::Round(_) => Occasion::Round,
            Call::EndSuccessfully(_) => Occasion::EndSuccessfully,
            Call::EndWithFailure(_) => Occasion::EndWithFailure,
            Call::Compensate(_) => Occasion::Compensate,
            _ if self.asks.is_none() => Occasion::UndoCommand,
            _ => Occasion::Execute,
        }
    }

    /// Runs it to there: whether it came that far, and what is known of it then.
    async fn run_to(&self, scope: &Scope, point: Point) -> (bool, Reply) {
        let unknown = || Reply::failed(Failure::new(FailureKind::Unknown, ""));
        match point {
            Point::Before => {
                let reply = self.once(scope, Call::Validate).await;
                if reply.result.is_err() { (false, reply) } else { (true, unknown()) }
            }
            Point::Await(n) => {
                let reply = cut(self.once(scope, self.call.clone()), scope, n).await;
                (reply.is_none(), reply.unwrap_or_else(unknown))
            }
            Point::After => {
                let reply = self.once(scope, self.call.clone()).await;
                (!reply.refused, reply)
            }
        }
    }
}

/// Drops `whole` when it waits for the nth time since it has begun; then there is no output.
async fn cut<T>(whole: impl Future<Output = T>, scope: &Scope, n: usize) -> Option<T> {
    let (mut whole, mut waits) = (Box::pin(whole), 0);
    let output = poll_fn(|cx| match whole.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            waits += usize::from(scope.has_begun());
            if waits < n { Poll::Pending } else { Poll::Ready(None) }
        }
    })
    .await;
    drop_caught(whole, scope);
    output
}
