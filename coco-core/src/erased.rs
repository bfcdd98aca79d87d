//! A command without its type: what the runtime calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::callback::{Callback, CallbackKind, CallbackOf, Outcomes, Poll};
use crate::command::{Command, Descriptor, Stored, lock_properties, readable};
use crate::context::requests::AskedChild;
use crate::context::{Context, LeafContext, Scope};
use crate::error::Result;
use crate::event::Event;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::LockProperties;
use crate::retry::Again;
use crate::storable::NotStorable;

/// A command of any type, so that it can stand as `Box<dyn DynCommand>` inside other values; it
/// is written and read with its stored name beside it.
#[typetag::serde(tag = "command", content = "parameters")]
pub trait DynCommand: Erased {}

/// What the engine calls on a command. Implemented for every [`Command`].
pub trait Erased: Send + Sync {
    /// What is registered of it.
    fn descriptor(&self) -> &'static Descriptor;

    /// Its fields, as JSON.
    ///
    /// # Errors
    /// When no store would take it.
    fn to_json(&self) -> Result<Arc<str>, NotStorable>;

    /// What it says about its locks.
    fn lock_properties(&self) -> LockProperties;

    /// Runs one method of it. `fields`: what it was read from.
    #[doc(hidden)]
    fn call<'a>(
        &'a mut self,
        fields: &'a str,
        scope: &'a Scope,
        call: Call,
    ) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;
}

/// Which method to run.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Call {
    /// `validate`.
    Validate,
    /// `execute`.
    Execute,
    /// `validate`, then `execute`.
    ValidateAndExecute,
    /// A round of its callback.
    Round(Box<Round>),
    /// `end_successfully`, with the stored output.
    EndSuccessfully(Arc<str>),
    /// `compensate`, with the stored output where there is one.
    Compensate(Option<Arc<str>>),
    /// `end_with_failure`.
    EndWithFailure(Arc<Failure>),
}

/// What a round of a callback goes by.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Round {
    /// What `execute` returned, as changed since, or why it failed.
    pub executed: Result<Arc<str>, Arc<Failure>>,
    /// The children that have ended.
    pub outcomes: Outcomes,
    /// The events that it is for, each with its number.
    pub events: Vec<(i64, Event)>,
    /// The number up to which they are; none where it is for no events.
    pub last_event: Option<i64>,
}

/// What `execute` with a callback behind it, or a round of that, wants to come next.
#[doc(hidden)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    /// The children to start, with their positions.
    pub(crate) started: Vec<(i32, AskedChild)>,
    /// Whether the callback has answered that the work has succeeded.
    pub is_ready: bool,
    /// The number of the last event that it has heard.
    pub handled: Option<i64>,
    /// The trees of their own to launch, with their identities.
    pub(crate) launched: Vec<(CommandId, AskedChild)>,
}

/// What became of a [`Call`].
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The output as JSON (`null` where a method has none), or the failure.
    pub result: Result<Arc<str>, Failure>,
    /// The fields, where the method changed them.
    pub state: Option<Arc<str>>,
    /// True when `validate` refused, so that `execute` did not run.
    pub refused: bool,
    /// Which hooks are the command's own.
    pub hooks: Hooks,
    /// What a failure says about another attempt.
    pub again: Again,
    /// What comes next, where anything does.
    pub next: Option<Box<Next>>,
}

/// Which hooks a command has of its own; a default one is not called.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// `compensate`.
    pub compensate: bool,
    /// `end_successfully`.
    pub success: bool,
    /// `end_with_failure`.
    pub failure: bool,
    /// What its callback does while it has failed to execute.
    pub failed_round: bool,
}

impl Hooks {
    /// Of a command of which nothing is known: all may be its own.
    pub(crate) const UNKNOWN: Self =
        Self { compensate: true, success: true, failure: true, failed_round: true };
    pub(crate) const NONE: Self =
        Self { compensate: false, success: false, failure: false, failed_round: false };
}

impl Round {
    /// One that is for no events.
    pub(crate) fn of(executed: Result<Arc<str>, Arc<Failure>>, outcomes: Outcomes) -> Box<Self> {
        Box::new(Self { executed, outcomes, events: Vec::new(), last_event: None })
    }
}

impl Next {
    /// Whether it asks for anything that has to be stored.
    pub(crate) fn has_orders(&self) -> bool {
        !self.started.is_empty() || !self.launched.is_empty() || self.handled.is_some()
    }
}

impl Reply {
    /// A failure of a command whose hooks are not known.
    pub(crate) fn failed(failure: Failure) -> Self {
        let (hooks, again) = (Hooks::UNKNOWN, Again::AsDeclared);
        Self { result: Err(failure), state: None, refused: false, hooks, again, next: None }
    }
}

impl<C: Command> Erased for C {
    fn descriptor(&self) -> &'static Descriptor {
        C::DESCRIPTOR
    }

    fn to_json(&self) -> Result<Arc<str>, NotStorable> {
        self.encode()
    }

    fn lock_properties(&self) -> LockProperties {
        lock_properties(self)
    }

    fn call<'a>(
        &'a mut self,
        fields: &'a str,
        scope: &'a Scope,
        call: Call,
    ) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        Box::pin(async move {
            let leaf = LeafContext::<C>::new(scope.clone());
            // Mostly it is written as it was read; a new field is not, for one.
            let written = (!self.is_written_as(fields)).then(|| self.encode().ok());
            let before = written.as_ref().map_or(Some(fields), |written| written.as_deref());
            if matches!(call, Call::Validate | Call::ValidateAndExecute)
                && let Err(error) = self.validate(&leaf).await
            {
                let failure =
                    Failure { kind: FailureKind::Refused, ..error.into_failure(scope.id()) };
                return Reply { refused: true, ..Reply::failed(failure) };
            }
            if !matches!(call, Call::Validate) {
                scope.begin();
            }
            let reply = run(self, scope, &leaf, call).await;
            if before.is_some_and(|before| self.is_written_as(before)) {
                return reply;
            }
            match self.encode() {
                Ok(after) => Reply { state: Some(after), ..reply },
                Err(why) => {
                    let failed = Reply::failed(not_storable(scope, &why));
                    Reply { hooks: reply.hooks, again: Again::Never, ..failed }
                }
            }
        })
    }
}

async fn run<C: Command>(
    command: &mut C,
    scope: &Scope,
    leaf: &LeafContext<C>,
    call: Call,
) -> Reply {
    let mut said =
        Said { again: Again::AsDeclared, hooks: Hooks::NONE, is_ready: false, handled: None };
    let nothing = |()| Arc::from("null");
    let result = match call {
        Call::Validate => Ok(nothing(())),
        Call::Execute | Call::ValidateAndExecute => execute(command, scope, leaf, &mut said).await,
        Call::Round(round) => self::round(command, scope, leaf, *round, &mut said).await,
        Call::EndSuccessfully(output) => match <C::Output as Stored>::decode(&output) {
            Ok(output) => C::Callback::on_succeeded(command, &output, leaf).await.map(nothing),
            Err(error) => Err(error.into()),
        },
        Call::Compensate(output) => {
            match output.map(|json| <C::Output as Stored>::decode(&json)).transpose() {
                Ok(output) => {
                    let output = output.as_ref();
                    said.hooks.compensate =
                        scope.is_own_hook(|| drop(command.compensate(output, leaf)));
                    command.compensate(output, leaf).await.map(nothing)
                }
                Err(error) => Err(error.into()),
            }
        }
        Call::EndWithFailure(failure) => {
            C::Callback::on_failed(command, &failure, leaf).await.map(nothing)
        }
    };
    let result = result.map_err(|error| {
        said.again = if said.again == Again::Never { Again::Never } else { error.again() };
        error.into_failure(scope.id())
    });
    // What a flow asks for in its last poll is taken by whoever polls it.
    let (started, launched) = if <C::Callback as Callback>::KIND.is_flow() {
        Default::default()
    } else {
        scope.requests().take_started()
    };
    let launched: Vec<_> = launched.into_iter().map(|root| (scope.new_id(), root)).collect();
    let next = Next { started, is_ready: said.is_ready, handled: said.handled, launched };
    let next = (next != Next::default()).then(|| Box::new(next));
    Reply { result, state: None, refused: false, hooks: said.hooks, again: said.again, next }
}

/// What is known of a call beside its result.
struct Said {
    again: Again,
    hooks: Hooks,
    /// Whether the callback has answered that the work has succeeded.
    is_ready: bool,
    /// The number of the last event that was heard.
    handled: Option<i64>,
}

impl Said {
    /// The output as JSON.
    fn output<T: Stored>(&mut self, output: &T) -> Result<Arc<str>> {
        readable(output).map_err(|why| {
            self.again = Again::Never;
            why.into()
        })
    }
}

async fn execute<C: Command>(
    command: &mut C,
    scope: &Scope,
    leaf: &LeafContext<C>,
    said: &mut Said,
) -> Result<Arc<str>> {
    let cx = Context::new(scope.clone());
    let output = command.execute(&cx).await;
    own_hooks(command, scope, leaf, &cx, &mut said.hooks);
    let mut output = output?;
    C::Callback::executed(command, &mut output, &cx).await?;
    own_success_hook(command, scope, leaf, &output, &mut said.hooks);
    said.output(&output)
}

async fn round<C: Command>(
    command: &mut C,
    scope: &Scope,
    leaf: &LeafContext<C>,
    round: Round,
    said: &mut Said,
) -> Result<Arc<str>> {
    let cx = Context::new(scope.clone());
    own_hooks(command, scope, leaf, &cx, &mut said.hooks);
    let outcomes = &round.outcomes;
    let (poll, output) = match round.executed {
        Ok(before) => {
            let mut output = <C::Output as Stored>::decode(&before)?;
            let poll = if round.last_event.is_none() {
                C::Callback::round(command, &mut output, outcomes, &cx).await?
            } else {
                // Most rounds hear no event, and need no room for one.
                let heard = Box::pin(hear(command, &mut output, outcomes, &round.events, scope));
                let (poll, heard) = heard.await?;
                said.handled = heard.or(round.last_event);
                poll
            };
            own_success_hook(command, scope, leaf, &output, &mut said.hooks);
            // What was read reads back.
            let is_same = output.is_written_as(&before);
            (poll, if is_same { before } else { said.output(&output)? })
        }
        Err(failure) => {
            (C::Callback::failed_round(command, &failure, outcomes, &cx).await?, "null".into())
        }
    };
    said.is_ready = poll == Poll::Ready;
    Ok(output)
}

/// Gives events to a command, until the callback answers that the work has succeeded, or starts
/// something: that ends a round, and the next one hears the others. Gives where it ended.
async fn hear<C: Command>(
    command: &mut C,
    output: &mut C::Output,
    outcomes: &Outcomes,
    events: &[(i64, Event)],
    scope: &Scope,
) -> Result<(Poll, Option<i64>)> {
    let cx = Context::new(scope.clone());
    for (number, event) in events {
        let poll = C::Callback::event(command, output, outcomes, event, &cx).await?;
        if poll == Poll::Ready || scope.requests().has_asks() {
            return Ok((poll, Some(*number)));
        }
    }
    Ok((Poll::Pending, None))
}

fn own_hooks<C: Command>(
    command: &mut C,
    scope: &Scope,
    leaf: &LeafContext<C>,
    cx: &Context<C>,
    hooks: &mut Hooks,
) {
    let unknown = Failure::new(FailureKind::Unknown, "");
    hooks.compensate = scope.is_own_hook(|| drop(command.compensate(None, leaf)));
    hooks.failure = scope.is_own_hook(|| drop(C::Callback::on_failed(command, &unknown, leaf)));
    if <C::Callback as Callback>::KIND == CallbackKind::Custom {
        let none = Outcomes::default();
        hooks.failed_round =
            scope.is_own_hook(|| drop(C::Callback::failed_round(command, &unknown, &none, cx)));
    }
}

fn own_success_hook<C: Command>(
    command: &mut C,
    scope: &Scope,
    leaf: &LeafContext<C>,
    output: &C::Output,
    hooks: &mut Hooks,
) {
    hooks.success = scope.is_own_hook(|| drop(C::Callback::on_succeeded(command, output, leaf)));
}

fn not_storable(scope: &Scope, why: &NotStorable) -> Failure {
    Failure::new(FailureKind::NotStorable, why.to_string()).of(scope.id())
}

impl Descriptor {
    /// The command that `json` stands for.
    pub(crate) fn decode(&self, json: &str) -> serde_json::Result<Box<dyn Erased>> {
        (self.decode)(json)
    }

    /// Parameters as they are compared: decoded and encoded once, so that key order, defaults of
    /// new fields and the spelling of numbers do not matter.
    pub(crate) fn canonical(&self, json: &str) -> Result<Value, String> {
        let command = self.decode(json).map_err(|e| e.to_string())?;
        let json = command.to_json().map_err(|e| e.to_string())?;
        serde_json::from_str(&json).map_err(|e| e.to_string())
    }
}
