//! The commands of the simulator, and how their rows are read.

use std::collections::HashMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::Value;

use crate::callback::{CallbackKind, Pace};
use crate::command::Spec;
use crate::entity::TreeRows;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::{Lock, LockMode, LockProperties, LockScope, LockWait};
use crate::machine::{Load, Loaded, LoadedCommand, LoadedCompensation, Stored, Undoable};
use crate::retry::Retry;

/// All that there are.
static SPECS: [Spec; 21] = [
    spec("leaf", CallbackKind::None, false, LockScope::Execution),
    spec("keep", CallbackKind::None, false, LockScope::Command),
    spec("redo", CallbackKind::None, true, LockScope::Execution),
    spec("flow", CallbackKind::SerialChildren, false, LockScope::Execution),
    Spec { retry: Some(THRICE), ..spec("tried", CallbackKind::None, true, LockScope::Execution) },
    Spec { timeout: TEN, ..spec("timed", CallbackKind::None, true, LockScope::Execution) },
    Spec {
        timeout: TEN,
        ..spec("timed flow", CallbackKind::SerialChildren, false, LockScope::None)
    },
    Spec {
        retry: Some(THRICE),
        concurrency: ONE,
        timeout: TEN,
        ..spec("timed single", CallbackKind::None, true, LockScope::None)
    },
    Spec { retry: Some(THRICE), ..spec("gamble", CallbackKind::None, false, LockScope::Command) },
    Spec { concurrency: TWO, ..spec("pair", CallbackKind::None, false, LockScope::Execution) },
    Spec { concurrency: ONE, ..spec("single", CallbackKind::None, true, LockScope::Execution) },
    Spec {
        concurrency: ONE,
        ..spec("single flow", CallbackKind::SerialChildren, false, LockScope::None)
    },
    spec("fan", CallbackKind::ConcurrentChildren, false, LockScope::Execution),
    Spec {
        timeout: TEN,
        retry: Some(THRICE),
        ..spec("timed fan", CallbackKind::ConcurrentChildren, true, LockScope::Command)
    },
    spec("next", CallbackKind::NextOperation, false, LockScope::Command),
    Spec {
        concurrency: ONE,
        timeout: MINUTE,
        ..spec("single next", CallbackKind::NextOperation, true, LockScope::None)
    },
    Spec {
        event_timeout: Duration::from_secs(45),
        ..spec("polled", CallbackKind::Polling, false, LockScope::Execution)
    },
    Spec { timeout: TEN, ..spec("timed polled", CallbackKind::Polling, true, LockScope::None) },
    Spec {
        concurrency: TWO,
        retry: Some(THRICE),
        ..spec("pair polled", CallbackKind::Polling, true, LockScope::Execution)
    },
    spec("custom", CallbackKind::Custom, false, LockScope::Execution),
    Spec {
        timeout: MINUTE,
        retry: Some(THRICE),
        ..spec("timed custom", CallbackKind::Custom, true, LockScope::Command)
    },
];
const THRICE: Retry = Retry::new(3);
const TEN: Option<Duration> = Some(Duration::from_secs(10));
/// A command waits as long for an event.
const SEVEN: Duration = Duration::from_secs(7);
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
const TWO: Option<NonZeroU32> = NonZeroU32::new(2);
const ONE: Option<NonZeroU32> = NonZeroU32::new(1);

const fn spec(
    name: &'static str,
    callback: CallbackKind,
    idempotent: bool,
    scope: LockScope,
) -> Spec {
    let (wait, retry, timeout, concurrency) = (LockWait::No, None, None, None);
    let (poll, event_timeout) = (Pace::DEFAULT, SEVEN);
    Spec {
        name,
        callback,
        idempotent,
        scope,
        wait,
        retry,
        timeout,
        concurrency,
        poll,
        event_timeout,
    }
}

pub(crate) fn spec_of(name: &str) -> &'static Spec {
    SPECS.iter().find(|spec| spec.name == name).expect("a command of the simulator")
}

/// What a command says about its locks: keys under `x` (exclusive) and `s` (shared), and under
/// `wait` whether it waits, or how many milliseconds.
pub(crate) fn locks_of(name: &str, parameters: &Value) -> LockProperties {
    let properties = LockProperties::new(spec_of(name).scope);
    let properties = match &parameters["wait"] {
        Value::Bool(true) => properties.with_wait(),
        Value::Number(millis) => {
            properties.with_wait_timeout(Duration::from_millis(millis.as_u64().expect("millis")))
        }
        _ => properties,
    };
    let locks = [("x", LockMode::Exclusive), ("s", LockMode::Shared)].into_iter().flat_map(
        |(field, mode)| {
            let keys = parameters[field].as_array().into_iter().flatten();
            keys.map(move |key| Lock {
                group: "disk".into(),
                key: key.as_str().expect("a key").to_owned(),
                mode,
            })
        },
    );
    locks.fold(properties, LockProperties::with)
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What a restart makes of the rows of a tree.
pub(crate) fn load(root: CommandId, rows: TreeRows, cause: Loaded) -> Load {
    let open: HashMap<_, _> = rows
        .commands
        .iter()
        .map(|row| (row.command_id, !row.progress.status.is_terminal()))
        .collect();
    let mut commands = Vec::new();
    let undoable = rows.commands.iter().filter_map(Undoable::of).collect();
    for entity in rows.commands {
        let parent_is_open = entity.parent_command_id.is_some_and(|parent| open[&parent]);
        let is_open = open[&entity.command_id];
        if !is_open && !parent_is_open {
            continue;
        }
        let failure = entity.progress.failure.as_deref();
        let failure = failure.map(|text| serde_json::from_str::<Failure>(text).expect("a failure"));
        let kinds = [FailureKind::NotStorable, FailureKind::Rejected];
        let was_never_stored = &*entity.command_parameters == "null"
            && failure.is_some_and(|failure| kinds.contains(&failure.kind));
        let parameters = json(&entity.command_parameters);
        assert!(parameters.is_object() || was_never_stored, "nobody can read {entity:?}");
        let retry = entity.retry.as_deref();
        commands.push(LoadedCommand {
            spec: spec_of(&entity.command_type),
            retry: retry.map(|text| serde_json::from_str(text).expect("a retry")),
            locks: if is_open {
                locks_of(&entity.command_type, &parameters)
            } else {
                LockProperties::default()
            },
            canonical: (parent_is_open && !was_never_stored).then_some(parameters),
            entity,
        });
    }
    let compensations = rows.compensations.into_iter().map(|row| {
        let canonical = Some(json(&row.command_parameters));
        LoadedCompensation { row, canonical }
    });
    let compensations = compensations.collect();
    let (once_results, sleeps) = (rows.once_results, rows.sleeps);
    let (subscriptions, tasks) = (rows.subscriptions, rows.tasks);
    Load {
        root,
        commands,
        undoable,
        once_results,
        sleeps,
        compensations,
        subscriptions,
        tasks,
        cause,
    }
}

/// What is stored of the requests of one flow.
pub(crate) fn requests_of(load: &Load, flow: CommandId) -> Stored {
    let Load { commands, once_results, sleeps, compensations, .. } = load;
    let mut flows = Stored::by_flow(commands, once_results, sleeps, compensations);
    flows.remove(&flow).unwrap_or_default()
}

pub(crate) fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Failed, message)
}

pub(crate) fn text(value: &Value) -> Arc<str> {
    value.to_string().into()
}

/// What a future gives that has nothing to wait for, as those of a store in memory.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}
