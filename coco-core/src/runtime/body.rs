//! Runs user code: one task for each method that runs, but for rounds, and nothing that it does
//! can hurt more than its own command.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::drive::{FlowMessage, drive};
use super::engine::Heard;
#[cfg(any(test, feature = "testing"))]
use super::intercept::Interceptor;
use super::outages::Outages;
use crate::caught::caught;
use crate::command::Descriptor;
use crate::context::leaf::{Asker, LeafAsk, LeafAsks};
use crate::context::requests::Requests;
use crate::context::{CancelFlag, Resources, RunOf, Scope};
use crate::erased::{Call, Erased, Reply};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::{LockProperties, LockScope};
use crate::machine::{Address, FlowEnd, Happened, Polled, Run, RunKind};
use crate::store::Store;

/// A method to run, with all that it needs.
pub(super) struct Body {
    pub(super) outside: Outside,
    pub(super) run: Box<Run>,
    pub(super) descriptor: &'static Descriptor,
    /// Where a flow is given its outcomes; none for what is no flow.
    pub(super) outcomes: Option<UnboundedReceiver<FlowMessage>>,
    /// How long a leaf has to end when it is cancelled.
    pub(super) grace: Duration,
}

/// What stands around code that runs.
pub(super) struct Outside {
    /// Dropped code of the same command, which may not have ended yet.
    pub(super) before: Option<JoinHandle<()>>,
    pub(super) world: Arc<World>,
    pub(super) cancel: Arc<CancelFlag>,
}

/// What all code of an engine has around it.
pub(super) struct World {
    pub(super) store: Arc<dyn Store>,
    pub(super) resources: Arc<Resources>,
    pub(super) inputs: UnboundedSender<Heard>,
    pub(super) leaf_asks: Arc<dyn Fn(Asker, LeafAsk) + Send + Sync>,
    pub(super) outages: Outages,
}

impl Outside {
    /// Waits until no other code of the command runs.
    pub(super) async fn alone(&mut self) {
        if let Some(before) = self.before.take() {
            let ended = before.await;
            let _ = caught(|| drop(ended));
        }
    }

    /// Where this run of a leaf asks.
    fn asks(&self, run: &Run) -> LeafAsks {
        let Address { root, command } = run.at;
        let asker = Asker { root, command, attempt: run.attempt };
        LeafAsks { asker, engine: Arc::clone(&self.world.leaf_asks) }
    }

    /// What the contexts of one run share.
    fn scope(&self, run_of: RunOf, requests: Requests, asks: Option<LeafAsks>) -> Scope {
        let resources = Arc::clone(&self.world.resources);
        let cancel = Arc::clone(&self.cancel);
        Scope::new(run_of, resources, requests, asks, cancel)
    }

    /// Says what happened. Nobody listens when the engine is gone, and then this task is too.
    pub(super) fn say(&self, at: Address, what: Happened) {
        let _ = self.world.inputs.send(Heard::Happened(at, what));
    }
}

impl Body {
    /// Runs it in a task of its own. Many may be begun at once, of which each is over when it has
    /// been polled: so what it needs room for is made when its turn comes, and not before.
    pub(super) fn spawn(mut self) -> JoinHandle<()> {
        tokio::spawn(async move {
            let over = Box::pin(self.run()).await;
            self.outside.say(self.run.at, over);
        })
    }

    /// Runs it to its end. Gives what became of it.
    pub(super) async fn run(&mut self) -> Happened {
        self.outside.alone().await;
        let round = match &mut self.run.kind {
            RunKind::Round(call) => std::mem::replace(call, Call::Validate),
            _ => Call::ValidateAndExecute,
        };
        let (outcomes, run, descriptor) = (self.outcomes.take(), &*self.run, self.descriptor);
        let outside = &self.outside;
        let run_of = || RunOf {
            id: run.at.command,
            root: run.at.root,
            new_id,
            attempt: u32::try_from(run.attempt).unwrap_or(0),
            hook_attempt: u32::try_from(run.hook_attempt).unwrap_or(0),
            parent: run.parent.clone(),
            locks: run.locks_held(),
        };
        let (call, grace) = match &run.kind {
            RunKind::Hook(hook) => (hook.clone(), None),
            RunKind::Round(_) => (round, Some(self.grace)),
            // Most of what runs hears no event, and needs no room for one.
            RunKind::Inbox(round) => match Box::pin(self.heard(round)).await {
                Some(call) => (call, Some(self.grace)),
                None => return Happened::NoEvents,
            },
            RunKind::Leaf | RunKind::Flow { .. } => (Call::ValidateAndExecute, Some(self.grace)),
            // No code of the command: `Engine::ask_outside` has taken it.
            RunKind::Tasks { .. } | RunKind::Clear(_) => (Call::Validate, None),
        };
        match (outcomes, &run.kind) {
            (Some(outcomes), RunKind::Flow { created_at, replaying }) => {
                let requests = Requests::new(*created_at, *replaying);
                let scope = outside.scope(run_of(), requests, None);
                match decode(descriptor, &run.fields, run.at.command) {
                    // Most of what runs is no flow, and needs no room for one.
                    Ok(command) => Box::pin(flow(command, run, &scope, outcomes, outside)).await,
                    Err(failure) => run.over(Reply { refused: true, ..Reply::failed(failure) }),
                }
            }
            (_, kind) => {
                let asks = (!matches!(kind, RunKind::Hook(_))).then(|| outside.asks(run));
                let fields = &*run.fields;
                let next_position = run.next_position;
                let mut method = Method {
                    descriptor,
                    fields,
                    call,
                    run_of: run_of(),
                    next_position,
                    asks,
                    grace,
                    outside,
                };
                run.over(method.run().await)
            }
        }
    }
}

/// A method that is no flow, of a command as it is stored.
pub(super) struct Method<'a> {
    pub(super) descriptor: &'static Descriptor,
    pub(super) fields: &'a str,
    pub(super) call: Call,
    pub(super) run_of: RunOf,
    /// The position of the next child that it starts.
    pub(super) next_position: i32,
    /// Where the `execute` of a leaf asks; none for whatever else runs, an undo command as well.
    pub(super) asks: Option<LeafAsks>,
    /// How long it has to end when it is cancelled; none for what cannot be.
    pub(super) grace: Option<Duration>,
    pub(super) outside: &'a Outside,
}

impl Method<'_> {
    /// Runs it to its end, as far as the kit for tests lets it.
    pub(super) async fn run(&mut self) -> Reply {
        #[cfg(any(test, feature = "testing"))]
        if let Some(interceptor) = self.outside.world.resources.get::<Interceptor>() {
            return Box::pin(interceptor.run(self)).await;
        }
        let call = std::mem::replace(&mut self.call, Call::Validate);
        self.once(&self.scope(0), call).await
    }

    /// What its context shares, in a run after `again` others.
    pub(super) fn scope(&self, again: u32) -> Scope {
        let run_of = RunOf { attempt: self.run_of.attempt + again, ..self.run_of.clone() };
        let requests = Requests::from_position(self.next_position);
        self.outside.scope(run_of, requests, self.asks.clone())
    }

    /// Runs `method` on a command that is decoded anew, and drops the command.
    pub(super) async fn once(&self, scope: &Scope, method: Call) -> Reply {
        let mut command = match decode(self.descriptor, self.fields, self.run_of.id) {
            Ok(command) => command,
            Err(failure) => return Reply { refused: true, ..Reply::failed(failure) },
        };
        let executes = matches!(method, Call::ValidateAndExecute | Call::Round(_));
        let reply = call(&mut *command, self.fields, scope, method, self.grace).await;
        match drop_caught(command, scope) {
            Some(panic) if executes => panic.after(&reply),
            _ => reply,
        }
    }
}

/// An identity of a new tree.
pub(super) fn new_id() -> CommandId {
    CommandId::from_uuid(uuid::Uuid::now_v7())
}

/// Where the code of leaves asks.
pub(super) fn leaf_asks(
    inputs: UnboundedSender<Heard>,
) -> Arc<dyn Fn(Asker, LeafAsk) + Send + Sync> {
    Arc::new(move |Asker { root, command, attempt }, ask| {
        let at = Address { root, command };
        drop(inputs.send(Heard::Asked { at, attempt, ask }));
    })
}

async fn flow(
    mut command: Box<dyn Erased>,
    run: &Run,
    scope: &Scope,
    mut outcomes: UnboundedReceiver<FlowMessage>,
    outside: &Outside,
) -> Happened {
    if !matches!(run.kind, RunKind::Flow { replaying: true, .. }) {
        let reply = call(&mut *command, &run.fields, scope, Call::Validate, None).await;
        if reply.result.is_err() {
            drop_caught(command, scope);
            return run.over(reply);
        }
    }
    let attempt = run.attempt;
    let report = |polled| outside.say(run.at, Happened::Polled { attempt, polled });
    let mut polled = drive(&mut *command, &run.fields, scope, &mut outcomes, report).await;
    if let (Some(panic), Some(FlowEnd::Returned { reply, .. })) =
        (drop_caught(command, scope), &mut polled.end)
    {
        **reply = panic.after(reply);
    }
    Happened::Polled { attempt, polled }
}

impl Run {
    /// What its command says about its locks, with those that it holds while this runs: one that
    /// has succeeded has let go of them before its hook, unless it keeps them for that.
    fn locks_held(&self) -> Arc<LockProperties> {
        let scope = self.locks.scope();
        match self.kind {
            RunKind::Hook(Call::EndSuccessfully(_)) if scope != LockScope::Command => {
                LockProperties::new(scope).into()
            }
            _ => Arc::clone(&self.locks),
        }
    }

    /// What to say when a method is over without ever having asked for anything.
    pub(super) fn over(&self, reply: Reply) -> Happened {
        let attempt = self.attempt;
        match self.kind {
            RunKind::Leaf => Happened::Ran { attempt, reply },
            RunKind::Round(_) | RunKind::Inbox(_) | RunKind::Tasks { .. } => {
                Happened::RoundOver(reply)
            }
            RunKind::Hook(_) | RunKind::Clear(_) => Happened::Hooked(reply),
            RunKind::Flow { .. } => {
                let end = Some(FlowEnd::Returned { reply: Box::new(reply), unseen: None });
                Happened::Polled { attempt, polled: Polled { end, ..Polled::default() } }
            }
        }
    }
}

fn decode(
    descriptor: &Descriptor,
    fields: &str,
    command: CommandId,
) -> Result<Box<dyn Erased>, Failure> {
    let decoded = caught(|| descriptor.decode(fields));
    let undecodable = |reason: String| {
        let name = descriptor.spec.name;
        let message = format!("what is stored of `{name}` cannot be read: {reason}");
        Failure::new(FailureKind::Undecodable, message).of(command)
    };
    match decoded {
        Ok(Ok(command)) => Ok(command),
        Ok(Err(error)) => Err(undecodable(error.to_string())),
        Err(panic) => Err(undecodable(panic)),
    }
}

/// Calls a method; a panic in it, or in the drop of what it leaves behind, is a failure. With
/// `grace` it is dropped when it does not end that soon after it was cancelled.
async fn call(
    command: &mut dyn Erased,
    fields: &str,
    scope: &Scope,
    call: Call,
    grace: Option<Duration>,
) -> Reply {
    let mut is_late = pin!(async {
        let Some(grace) = grace else { return std::future::pending().await };
        scope.cancelled().await;
        Box::pin(tokio::time::sleep(grace)).await;
    });
    let mut future = command.call(fields, scope, call);
    let mut reply = std::future::poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(Poll::Ready(reply)) => Poll::Ready(reply),
        Ok(Poll::Pending) => is_late.as_mut().poll(cx).map(|()| dropped(scope, grace)),
        Err(panic) => Poll::Ready(panicked(scope, &panic)),
    })
    .await;
    if let Err(panic) = caught(|| drop(future)) {
        reply = panicked(scope, &panic);
    }
    reply
}

/// Drops what user code left behind. A panic in it is a failure, unless what it left behind was
/// an end hook: that one is through.
pub(super) fn drop_caught<T>(left: T, scope: &Scope) -> Option<Reply> {
    caught(|| drop(left)).err().map(|panic| {
        tracing::error!(command = %scope.id(), panic, "a drop panicked");
        panicked(scope, &panic)
    })
}

impl Reply {
    /// A failure after `reply`, which told what is known of the command.
    pub(super) fn after(self, reply: &Self) -> Self {
        Self { refused: reply.refused, hooks: reply.hooks, ..self }
    }
}

/// A cancelled leaf that did not end in time.
fn dropped(scope: &Scope, grace: Option<Duration>) -> Reply {
    let grace = grace.unwrap_or_default();
    let message = format!("it did not end within {grace:?} after it was told, and was dropped");
    let failure = Failure::new(FailureKind::Cancelled, message).of(scope.id());
    Reply { refused: !scope.has_begun(), ..Reply::failed(failure) }
}

/// A panic before `execute` was called is a refusal: nothing has begun.
pub(super) fn panicked(scope: &Scope, panic: &str) -> Reply {
    let message = format!("it panicked: {panic}");
    let failure = Failure::new(FailureKind::Panicked, message).of(scope.id()).fitting();
    Reply { refused: !scope.has_begun(), ..Reply::failed(failure) }
}
