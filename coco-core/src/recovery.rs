//! A restart: what is stored and not ended is read, decoded and handed to the machine.
//!
//! A tree in which anything cannot be decoded is quarantined whole: its rows stay as they are,
//! and it comes back when a program starts that can read it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::callback::CallbackKind;
use crate::command::Descriptor;
use crate::entity::{CommandEntity, OnceResult, TreeRows};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::machine::{Load, Loaded, LoadedCommand};
use crate::registry::Registry;
use crate::status::CommandStatus;

/// What an engine found when it started.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StartReport {
    /// The roots whose trees go on, or wait as stuck.
    pub resumed: Vec<CommandId>,
    /// Commands that were interrupted and may not run again: they failed as `FailedRestarted`.
    pub failed: Vec<CommandId>,
    /// Trees that this program cannot read; they are left as they are.
    pub quarantined: Vec<Quarantine>,
}

/// A tree that cannot be read, and why.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// The root of the tree.
    pub root: CommandId,
    /// The command that cannot be read.
    pub command: CommandId,
    /// Why.
    pub reason: Failure,
}

/// A tree whose commands are all known.
pub(crate) struct Decoded {
    root: CommandId,
    pub(crate) commands: Vec<LoadedCommand>,
    pub(crate) once_results: Vec<OnceResult>,
}

impl Decoded {
    pub(crate) fn because(self, cause: Loaded) -> Load {
        let Self { root, commands, once_results } = self;
        Load { root, commands, once_results, cause }
    }

    /// The commands that were interrupted and may not run again.
    pub(crate) fn interrupted(&self) -> impl Iterator<Item = CommandId> {
        let was_running = |command: &&LoadedCommand| {
            let is_leaf = command.spec.callback == CallbackKind::None;
            let is_active = command.entity.progress.status == CommandStatus::Active;
            is_leaf && is_active && !command.spec.idempotent
        };
        self.commands.iter().filter(was_running).map(|command| command.entity.command_id)
    }
}

/// Turns rows into what the machine takes.
///
/// # Errors
/// The first command that cannot be read.
pub(crate) fn decode(
    registry: &Registry,
    root: CommandId,
    rows: TreeRows,
) -> Result<Decoded, Box<Quarantine>> {
    let statuses: HashMap<_, _> =
        rows.commands.iter().map(|row| (row.command_id, row.progress.status)).collect();
    let is_open = |id: &CommandId| statuses.get(id).is_some_and(|status| !status.is_terminal());
    let mut commands = Vec::with_capacity(rows.commands.len());
    for row in rows.commands {
        let command = row.command_id;
        let needs = Needs {
            locks: !row.progress.status.is_terminal(),
            canonical: row.parent_command_id.as_ref().is_some_and(is_open),
        };
        let orphaned = needs.locks && row.parent_command_id.is_some_and(|parent| !is_open(&parent));
        let decoded = if orphaned {
            Err("its parent is not open, but it is".to_owned())
        } else if needs.locks || needs.canonical {
            decode_command(registry, row, &needs)
        } else {
            continue;
        };
        commands.push(decoded.map_err(|reason| {
            let reason = Failure::new(FailureKind::Undecodable, reason).of(command);
            Box::new(Quarantine { root, command, reason })
        })?);
    }
    Ok(Decoded { root, commands, once_results: rows.once_results })
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
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let locks = if needs.locks {
            descriptor.decode(&row.command_parameters).map_err(|e| e.to_string())?.declared_locks()
        } else {
            Vec::new()
        };
        let canonical = if needs.canonical && was_stored {
            Some(descriptor.canonical(&row.command_parameters)?)
        } else {
            None
        };
        Ok::<_, String>((locks, canonical))
    }));
    match decoded {
        Ok(Ok((locks, canonical))) => {
            Ok(LoadedCommand { entity: row, spec: descriptor.spec, locks, canonical })
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
    let before = [CommandStatus::Active, CommandStatus::Succeeded, CommandStatus::Failed];
    let is_stuck = row.progress.status == CommandStatus::Stuck;
    if is_stuck && !row.progress.stuck_from.is_some_and(|from| before.contains(&from)) {
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
            progress: Progress::new(status),
        };
        let rows = TreeRows { commands: vec![row], once_results: Vec::new() };
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
