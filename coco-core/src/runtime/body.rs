//! Runs user code: one task for each method that runs, and nothing that it does can hurt more
//! than its own command.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::drive::{FlowMessage, drive};
use crate::command::Descriptor;
use crate::context::requests::Requests;
use crate::context::{Resources, Scope};
use crate::erased::{Call, Erased, Reply};
use crate::failure::{Failure, FailureKind};
use crate::machine::{Address, FlowEnd, Happened, Polled, Run, RunKind};

/// A method to run, with all that it needs.
pub(super) struct Body {
    /// Dropped code of the same command, which may not have ended yet.
    pub(super) before: Option<JoinHandle<()>>,
    pub(super) run: Run,
    pub(super) descriptor: &'static Descriptor,
    pub(super) resources: Arc<Resources>,
    /// Where a flow is given its outcomes; none for what is no flow.
    pub(super) outcomes: Option<UnboundedReceiver<FlowMessage>>,
    pub(super) inputs: UnboundedSender<(Address, Happened)>,
}

impl Body {
    /// Runs it to its end and says what became of it.
    pub(super) async fn run(self) {
        let Self { before, run, descriptor, resources, outcomes, inputs } = self;
        if let Some(before) = before {
            let _ = before.await;
        }
        let requests = match run.kind {
            RunKind::Flow { created_at, replaying } => Requests::new(created_at, replaying),
            RunKind::Leaf | RunKind::Hook(_) => Requests::default(),
        };
        let attempt = u32::try_from(run.attempt).unwrap_or(0);
        let scope = Scope::new(run.at.command, attempt, run.parent.clone(), resources, requests);
        let said = match (decode(descriptor, &run), outcomes) {
            (Err(failure), _) => run.over(Reply { refused: true, ..Reply::failed(failure) }),
            (Ok(command), Some(outcomes)) => flow(command, &run, &scope, outcomes, &inputs).await,
            (Ok(mut command), None) => {
                let method = match &run.kind {
                    RunKind::Hook(hook) => hook.clone(),
                    RunKind::Leaf | RunKind::Flow { .. } => Call::ValidateAndExecute,
                };
                let reply = call(&mut *command, &scope, method).await;
                let dropped = drop_caught(command, &scope);
                run.over(match (dropped, &run.kind) {
                    (Some(panic), RunKind::Leaf) => panic.after(&reply),
                    _ => reply,
                })
            }
        };
        // Nobody listens when the engine is gone, and then this task is too.
        let _ = inputs.send((run.at, said));
    }
}

async fn flow(
    mut command: Box<dyn Erased>,
    run: &Run,
    scope: &Scope,
    mut outcomes: UnboundedReceiver<FlowMessage>,
    inputs: &UnboundedSender<(Address, Happened)>,
) -> Happened {
    if !matches!(run.kind, RunKind::Flow { replaying: true, .. }) {
        let reply = call(&mut *command, scope, Call::Validate).await;
        if reply.result.is_err() {
            drop_caught(command, scope);
            return run.over(reply);
        }
    }
    let attempt = run.attempt;
    let report = |polled| drop(inputs.send((run.at, Happened::Polled { attempt, polled })));
    let mut polled = drive(&mut *command, scope, &mut outcomes, report).await;
    if let (Some(panic), Some(FlowEnd::Returned { reply, .. })) =
        (drop_caught(command, scope), &mut polled.end)
    {
        **reply = panic.after(reply);
    }
    Happened::Polled { attempt, polled }
}

impl Run {
    /// What to say when a method is over without ever having asked for anything.
    pub(super) fn over(&self, reply: Reply) -> Happened {
        let attempt = self.attempt;
        match self.kind {
            RunKind::Leaf => Happened::Ran { attempt, reply },
            RunKind::Hook(_) => Happened::Hooked(reply),
            RunKind::Flow { .. } => {
                let end = Some(FlowEnd::Returned { reply: Box::new(reply), unseen: None });
                Happened::Polled { attempt, polled: Polled { end, ..Polled::default() } }
            }
        }
    }
}

fn decode(descriptor: &Descriptor, run: &Run) -> Result<Box<dyn Erased>, Failure> {
    let decoded = catch_unwind(AssertUnwindSafe(|| descriptor.decode(&run.fields)));
    let undecodable = |reason: String| {
        let message = format!("what is stored of `{}` cannot be read: {reason}", run.name);
        Failure::new(FailureKind::Undecodable, message).of(run.at.command)
    };
    match decoded {
        Ok(Ok(command)) => Ok(command),
        Ok(Err(error)) => Err(undecodable(error.to_string())),
        Err(panic) => Err(undecodable(panic_message(&*panic))),
    }
}

/// Calls a method; a panic in it, or in the drop of what it leaves behind, is a failure.
async fn call(command: &mut dyn Erased, scope: &Scope, call: Call) -> Reply {
    let mut future = command.call(scope, call);
    let mut reply = std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(panicked(scope, &*panic)),
        }
    })
    .await;
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
        reply = panicked(scope, &*panic);
    }
    reply
}

/// Drops what user code left behind. A panic in it is a failure, unless what it left behind was
/// an end hook: that one is through.
pub(super) fn drop_caught<T>(left: T, scope: &Scope) -> Option<Reply> {
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(left)));
    dropped.err().map(|panic| {
        tracing::error!(command = %scope.id(), panic = panic_message(&*panic), "a drop panicked");
        panicked(scope, &*panic)
    })
}

impl Reply {
    /// A failure after `reply`, which told what is known of the command.
    pub(super) fn after(self, reply: &Self) -> Self {
        Self { refused: reply.refused, hooks: reply.hooks, ..self }
    }
}

/// A panic before `execute` was called is a refusal: nothing has begun.
pub(super) fn panicked(scope: &Scope, panic: &(dyn Any + Send)) -> Reply {
    let message = format!("it panicked: {}", panic_message(panic));
    let failure = Failure::new(FailureKind::Panicked, message).of(scope.id()).fitting();
    Reply { refused: !scope.has_begun(), ..Reply::failed(failure) }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("with no message").to_owned()
}
