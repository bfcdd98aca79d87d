//! A restart: what is stored and not ended is read, decoded and handed to the machine.
//!
//! A tree in which anything cannot be decoded is quarantined whole: its rows stay as they are,
//! and it comes back when a program starts that can read it, or when they are repaired.

use std::collections::HashMap;

use serde_json::Value;

use crate::callback::CallbackKind;
use crate::caught::caught;
use crate::command::Descriptor;
use crate::entity::{
    CommandEntity, Compensation, OnceResult, Sleep, Subscription, Task, TreeRows, Unreadable,
};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::LockProperties;
use crate::machine::{Load, Loaded, LoadedCommand, LoadedCompensation, Stored, Undoable};
use crate::registry::Registry;
use crate::retry::Retry;
use crate::status::CommandStatus;
use crate::task;

/// What an engine found when it started.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StartReport {
    /// The roots whose trees go on, or wait as stuck.
    pub resumed: Vec<CommandId>,
    /// Commands that were interrupted and may not run again: they failed as `FailedRestarted`.
    pub failed: Vec<CommandId>,
    /// Trees that this program, or its store, cannot read; they are left as they are.
    pub quarantined: Vec<Quarantine>,
    /// True when there are more open trees than [`Builder::most_trees`](crate::Builder::most_trees):
    /// the rest is read when there is room, and is not in this report.
    pub more: bool,
}

/// A tree that cannot be read, and why.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// The root of the tree.
    pub root: CommandId,
    /// The command that cannot be read; the root, where a row does not say whose it is.
    pub command: CommandId,
    /// Why.
    pub reason: Failure,
}

/// A tree whose commands are all known.
pub(crate) struct Decoded {
    root: CommandId,
    commands: Vec<LoadedCommand>,
    undoable: Vec<Undoable>,
    once_results: Vec<OnceResult>,
    sleeps: Vec<Sleep>,
    compensations: Vec<LoadedCompensation>,
    subscriptions: Vec<Subscription>,
    tasks: Vec<Task>,
}

impl Decoded {
    pub(crate) fn because(self, cause: Loaded) -> Load {
        let Self {
            root,
            commands,
            undoable,
            once_results,
            sleeps,
            compensations,
            subscriptions,
            tasks,
        } = self;
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
    pub(crate) fn requests_of(&self, flow: CommandId) -> Stored {
        let Self { commands, once_results, sleeps, compensations, .. } = self;
        let mut flows = Stored::by_flow(commands, once_results, sleeps, compensations);
        flows.remove(&flow).unwrap_or_default()
    }

    /// The commands that were interrupted and may not run again.
    pub(crate) fn interrupted(&self) -> impl Iterator<Item = CommandId> {
        let was_running = |command: &&LoadedCommand| {
            let progress = &command.entity.progress;
            let is_active = progress.status == CommandStatus::Active && !progress.executed;
            is_active && !command.spec.callback.is_flow() && !command.spec.idempotent
        };
        self.commands.iter().filter(was_running).map(|command| command.entity.command_id)
    }
}

/// Turns rows into what the machine takes.
///
/// # Errors
/// What the store could not read, or else the first command that this program cannot.
pub(crate) fn decode(
    registry: &Registry,
    root: CommandId,
    rows: TreeRows,
) -> Result<Decoded, Box<Quarantine>> {
    if let Some(Unreadable { command, reason, .. }) = rows.unreadable {
        let reason = Failure::new(FailureKind::Undecodable, reason).of(command);
        return Err(Box::new(Quarantine { root, command, reason }));
    }
    let open = rows.commands.iter().filter(|row| !row.progress.status.is_terminal());
    let open: HashMap<_, _> =
        open.map(|row| (row.command_id, registry.get(&row.command_type))).collect();
    let is_open = |id: &CommandId| open.contains_key(id);
    // Only a flow compares what it asks for with what it has asked for.
    let compares = |id: &CommandId| {
        open.get(id).copied().flatten().is_none_or(|parent| parent.spec.callback.is_flow())
    };
    let mut commands = Vec::with_capacity(rows.commands.len());
    let mut undoable = Vec::new();
    for row in rows.commands {
        let command = row.command_id;
        undoable.extend(Undoable::of(&row));
        let needs = Needs {
            locks: !row.progress.status.is_terminal(),
            canonical: row.parent_command_id.as_ref().is_some_and(|id| is_open(id) && compares(id)),
        };
        let is_outcome = row.parent_command_id.as_ref().is_some_and(is_open);
        let orphaned = needs.locks && row.parent_command_id.is_some_and(|parent| !is_open(&parent));
        let decoded = if orphaned {
            Err("its parent is not open, but it is".to_owned())
        } else if needs.locks || is_outcome {
            decode_command(registry, row, &needs)
        } else {
            continue;
        };
        commands.push(decoded.map_err(|reason| {
            let reason = Failure::new(FailureKind::Undecodable, reason).of(command);
            Box::new(Quarantine { root, command, reason })
        })?);
    }
    let compensations = rows.compensations.into_iter().map(|row| {
        let command = row.command_id;
        let quarantine = |reason| {
            let reason = Failure::new(FailureKind::Undecodable, reason).of(command);
            Box::new(Quarantine { root, command, reason })
        };
        let canonical = if is_open(&command) {
            Some(decode_undo(registry, &row).map_err(quarantine)?)
        } else {
            None
        };
        Ok::<_, Box<Quarantine>>(LoadedCompensation { row, canonical })
    });
    let compensations = compensations.collect::<Result<_, _>>()?;
    let (once_results, sleeps) = (rows.once_results, rows.sleeps);
    let (subscriptions, tasks) = (rows.subscriptions, rows.tasks);
    for task in tasks.iter().filter(|task| is_open(&task.command_id)) {
        if let Err(error) = task::decode(&task.task) {
            let command = task.command_id;
            let reason = format!("its task {} cannot be read: {error}", task.task);
            let reason = Failure::new(FailureKind::Undecodable, reason).of(command).fitting();
            return Err(Box::new(Quarantine { root, command, reason }));
        }
    }
    Ok(Decoded {
        root,
        commands,
        undoable,
        once_results,
        sleeps,
        compensations,
        subscriptions,
        tasks,
    })
}

/// The parameters of an undo command as they are compared.
fn decode_undo(registry: &Registry, row: &Compensation) -> Result<Value, String> {
    let Some(descriptor) = registry.get(&row.command_type) else {
        return Err(unknown(registry, &row.command_type));
    };
    match caught(|| descriptor.canonical(&row.command_parameters)) {
        Ok(Ok(canonical)) => Ok(canonical),
        Ok(Err(reason)) => Err(format!(
            "the parameters of its undo command cannot be read as `{}`: {reason}",
            row.command_type
        )),
        Err(_) => Err(format!("reading its undo command as `{}` panicked", row.command_type)),
    }
}

/// What has to be decoded of a command.
struct Needs {
    locks: bool,
    canonical: bool,
}

fn decode_command(
    registry: &Registry,
    row: CommandEntity,
    needs: &Needs,
) -> Result<LoadedCommand, String> {
    if row.progress.status == CommandStatus::Unknown {
        return Err("its status is one that this program does not know".to_owned());
    }
    let Some(descriptor) = registry.get(&row.command_type) else {
        return Err(unknown(registry, &row.command_type));
    };
    if needs.locks {
        fits(&row, descriptor)?;
    }
    let was_stored = !was_never_read(&row);
    let decoded = caught(|| {
        let locks = if needs.locks {
            descriptor.decode(&row.command_parameters).map_err(|e| e.to_string())?.lock_properties()
        } else {
            LockProperties::default()
        };
        let canonical = if needs.canonical && was_stored {
            Some(descriptor.canonical(&row.command_parameters)?)
        } else {
            None
        };
        let retry = row.retry.as_deref().map(serde_json::from_str::<Retry>);
        let retry = retry.transpose().map_err(|e| format!("its retry: {e}"))?;
        Ok::<_, String>((locks, canonical, retry))
    });
    match decoded {
        Ok(Ok((locks, canonical, retry))) => {
            Ok(LoadedCommand { entity: row, spec: &descriptor.spec, locks, retry, canonical })
        }
        Ok(Err(reason)) => {
            Err(format!("its parameters cannot be read as `{}`: {reason}", row.command_type))
        }
        Err(_) => Err(format!("reading its parameters as `{}` panicked", row.command_type)),
    }
}

/// Whether an open row is one that its type can go on with.
fn fits(row: &CommandEntity, descriptor: &Descriptor) -> Result<(), String> {
    if row.callback_enabled != (descriptor.spec.callback != CallbackKind::None) {
        return Err(format!("it began with another callback than `{}` has now", row.command_type));
    }
    let is_stuck = row.progress.status == CommandStatus::Stuck;
    let from = row.progress.stuck_from;
    let is_way = |from: CommandStatus| CommandStatus::Stuck.to(from).is_ok() && !from.is_terminal();
    if is_stuck && !from.is_some_and(is_way) {
        return Err("it is stuck, and from where is not known".to_owned());
    }
    Ok(())
}

/// True for a child that failed because its parameters could not be stored or read back: they
/// are not compared.
fn was_never_read(row: &CommandEntity) -> bool {
    let failure = row.progress.failure.as_deref().map(serde_json::from_str::<Failure>);
    match failure {
        Some(Ok(failure)) => match failure.kind {
            FailureKind::Undecodable => row.progress.status.is_terminal(),
            FailureKind::NotStorable | FailureKind::Rejected => &*row.command_parameters == "null",
            _ => false,
        },
        _ => false,
    }
}

fn unknown(registry: &Registry, name: &str) -> String {
    let known: Vec<_> = registry.names().collect();
    format!(
        "it is stored as `{name}`, which this program does not know (known: {}); if its type was \
         renamed, give it `#[command(name = \"{name}\")]`; if it lives in another crate, name \
         that crate: `use its_crate as _;`",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::Progress;

    fn id(n: u128) -> CommandId {
        CommandId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn reason(parent: Option<CommandId>, status: CommandStatus) -> String {
        let row = CommandEntity {
            command_id: id(2),
            command_type: "copy".into(),
            parent_command_id: parent,
            root_command_id: id(1),
            position: 0,
            command_parameters: "{}".into(),
            created_at: crate::Timestamp::from_micros(0),
            callback_enabled: false,
            submit_key: None,
            resubmit_of: None,
            retry: None,
            progress: Progress::new(status),
        };
        let rows = TreeRows { commands: vec![row], ..TreeRows::default() };
        match decode(&Registry::collect(&[]), id(1), rows) {
            Ok(_) => "it was decoded".to_owned(),
            Err(quarantine) => {
                assert_eq!((quarantine.root, quarantine.command), (id(1), id(2)));
                quarantine.reason.message
            }
        }
    }

    #[test]
    fn a_tree_that_does_not_hang_together_is_quarantined() {
        assert_eq!(reason(Some(id(3)), CommandStatus::Active), "its parent is not open, but it is");
    }

    #[test]
    fn what_the_store_cannot_read_is_quarantined() {
        let unreadable = Unreadable { root: id(1), command: id(2), reason: "a row".to_owned() };
        let rows = TreeRows { unreadable: Some(unreadable), ..TreeRows::default() };
        let Err(quarantine) = decode(&Registry::collect(&[]), id(1), rows) else {
            panic!("it was decoded");
        };
        let Quarantine { root, command, reason } = *quarantine;
        assert_eq!((root, command, reason.kind), (id(1), id(2), FailureKind::Undecodable));
        assert_eq!((reason.message.as_str(), reason.command), ("a row", Some(id(2))));
    }

    #[test]
    fn a_status_of_a_newer_program_is_quarantined() {
        let text = "its status is one that this program does not know";
        assert_eq!(reason(None, CommandStatus::Unknown), text);
    }

    #[test]
    fn an_unknown_name_says_what_to_do() {
        let reason = reason(None, CommandStatus::Active);
        assert!(reason.starts_with("it is stored as `copy`, which this program does not know"));
        assert!(reason.contains(r#"give it `#[command(name = "copy")]`"#), "{reason}");
        assert!(reason.ends_with("name that crate: `use its_crate as _;`"), "{reason}");
    }
}
