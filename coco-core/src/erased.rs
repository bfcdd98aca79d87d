//! A command without its type: what the runtime calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::command::{Command, Descriptor, Stored, lock_properties, readable};
use crate::context::{Context, LeafContext, Scope};
use crate::error::Error;
use crate::failure::{Failure, FailureKind};
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

    /// Runs one method of it.
    #[doc(hidden)]
    fn call<'a>(
        &'a mut self,
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
    /// `end_successfully`, with the stored output.
    EndSuccessfully(Arc<str>),
    /// `compensate`, with the stored output where there is one.
    Compensate(Option<Arc<str>>),
    /// `end_with_failure`.
    EndWithFailure(Arc<Failure>),
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
}

impl Reply {
    /// A failure of a command whose hooks are not known.
    pub(crate) fn failed(failure: Failure) -> Self {
        let hooks = Hooks { compensate: true, success: true, failure: true };
        let again = Again::AsDeclared;
        Self { result: Err(failure), state: None, refused: false, hooks, again }
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
        scope: &'a Scope,
        call: Call,
    ) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        Box::pin(async move {
            let leaf = LeafContext::<C>::new(scope.clone());
            let before = self.encode().ok();
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
            let (result, hooks, again) = run(self, scope, &leaf, call).await;
            match self.encode() {
                Ok(after) => {
                    let state = (before.as_ref() != Some(&after)).then_some(after);
                    Reply { result, state, refused: false, hooks, again }
                }
                Err(why) => {
                    Reply { hooks, again: Again::Never, ..Reply::failed(not_storable(scope, &why)) }
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
) -> (Result<Arc<str>, Failure>, Hooks, Again) {
    let mut again = Again::AsDeclared;
    let mut failed = |error: Error| {
        again = error.again();
        error.into_failure(scope.id())
    };
    let mut hooks = Hooks { compensate: false, success: false, failure: false };
    let nothing = |()| Arc::from("null");
    let result = match call {
        Call::Validate => Ok(nothing(())),
        Call::Execute | Call::ValidateAndExecute => {
            let output = command.execute(&Context::new(scope.clone())).await;
            let unknown = Failure::new(FailureKind::Unknown, "");
            hooks.compensate = leaf.is_own_hook(|| drop(command.compensate(None, leaf)));
            hooks.failure = leaf.is_own_hook(|| drop(command.end_with_failure(&unknown, leaf)));
            let output = output.map_err(&mut failed);
            output.and_then(|output| {
                hooks.success = leaf.is_own_hook(|| drop(command.end_successfully(&output, leaf)));
                readable(&output).map_err(|why| {
                    again = Again::Never;
                    not_storable(scope, &why)
                })
            })
        }
        Call::EndSuccessfully(output) => match <C::Output as Stored>::decode(&output) {
            Ok(output) => command.end_successfully(&output, leaf).await.map_err(failed),
            Err(error) => Err(failed(error.into())),
        }
        .map(nothing),
        Call::Compensate(output) => {
            match output.map(|json| <C::Output as Stored>::decode(&json)).transpose() {
                Ok(output) => {
                    let output = output.as_ref();
                    hooks.compensate = leaf.is_own_hook(|| drop(command.compensate(output, leaf)));
                    command.compensate(output, leaf).await.map_err(failed)
                }
                Err(error) => Err(failed(error.into())),
            }
            .map(nothing)
        }
        Call::EndWithFailure(failure) => {
            command.end_with_failure(&failure, leaf).await.map_err(failed).map(nothing)
        }
    };
    (result, hooks, again)
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
