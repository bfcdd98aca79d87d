//! The machine, driven by hand and by a random scheduler.

mod flow;
mod hand;
mod leaf;
mod orders;
mod random;
mod recovery;
mod rejected;
mod replay;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::Value;

use super::{Load, Loaded, LoadedCommand};
use crate::callback::CallbackKind;
use crate::command::Spec;
use crate::entity::TreeRows;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::{Lock, LockMode, LockScope};

/// The commands of these tests.
const SPECS: [Spec; 4] = [
    spec("leaf", CallbackKind::None, false, LockScope::Execution),
    spec("keep", CallbackKind::None, false, LockScope::Command),
    spec("redo", CallbackKind::None, true, LockScope::Execution),
    spec("flow", CallbackKind::SerialChildren, false, LockScope::Execution),
];

const fn spec(
    name: &'static str,
    callback: CallbackKind,
    idempotent: bool,
    scope: LockScope,
) -> Spec {
    Spec { name, callback, idempotent, scope }
}

fn spec_of(name: &str) -> Spec {
    *SPECS.iter().find(|spec| spec.name == name).expect("a command of these tests")
}

/// The locks that parameters declare: keys under `x` (exclusive) and `s` (shared).
fn locks_of(parameters: &Value) -> Vec<Lock> {
    [("x", LockMode::Exclusive), ("s", LockMode::Shared)]
        .into_iter()
        .flat_map(|(field, mode)| {
            let keys = parameters[field].as_array().into_iter().flatten();
            keys.map(move |key| Lock {
                group: "disk".into(),
                key: key.as_str().expect("a key").to_owned(),
                mode,
            })
        })
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What a restart makes of the rows of a tree.
fn load(root: CommandId, rows: TreeRows, cause: Loaded) -> Load {
    let open: HashMap<_, _> = rows
        .commands
        .iter()
        .map(|row| (row.command_id, !row.progress.status.is_terminal()))
        .collect();
    let mut commands = Vec::new();
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
        commands.push(LoadedCommand {
            spec: spec_of(&entity.command_type),
            locks: if is_open { locks_of(&parameters) } else { Vec::new() },
            canonical: (parent_is_open && !was_never_stored).then_some(parameters),
            entity,
        });
    }
    Load { root, commands, once_results: rows.once_results, cause }
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Failed, message)
}

fn text(value: &Value) -> Arc<str> {
    value.to_string().into()
}

/// What a future gives that has nothing to wait for, as those of a store in memory.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}
