//! Runs what undoes something: a `compensate` of a command that has ended, or an undo command.

use std::sync::Arc;

use super::body::{Method, Outside, new_id};
use super::reload::read_again;
use crate::caught::caught;
use crate::context::RunOf;
use crate::entity::CommandEntity;
use crate::erased::{Call, Reply};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::LockProperties;
use crate::machine::{Happened, UndoRun, Undoing};
use crate::registry::Registry;
use crate::store::Store;

/// Something to undo, with all that it needs.
pub(super) struct UndoBody {
    pub(super) outside: Outside,
    pub(super) run: UndoRun,
    pub(super) registry: Arc<Registry>,
}

/// What to call, and with what.
struct Undo {
    name: String,
    fields: Arc<str>,
    call: Call,
    id: CommandId,
    attempt: i32,
    /// What is said about the locks that it runs under.
    locks: LockProperties,
}

impl UndoBody {
    /// Runs it to its end and says what became of it.
    pub(super) async fn run(mut self) {
        self.outside.alone().await;
        let undo = self.what().await;
        let reply = match undo {
            Ok(undo) => self.call(undo).await,
            Err(failure) => Reply::failed(failure),
        };
        self.outside.say(self.run.at, Happened::Hooked(reply));
    }

    async fn what(&self) -> Result<Undo, Failure> {
        match &self.run.undoing {
            Undoing::Entry { command, position, entry } => {
                let world = &self.outside.world;
                let read = || world.store.entity(*command);
                let row = read_again(&world.outages, "a command", read).await;
                Ok(Undo {
                    name: entry.name.clone().into_owned(),
                    fields: Arc::clone(&entry.parameters),
                    call: Call::ValidateAndExecute,
                    id: CommandId::from_uuid(command.derive("undo", *position)),
                    attempt: 1,
                    locks: row.ok().flatten().map(|row| self.locks_of(&row)).unwrap_or_default(),
                })
            }
            Undoing::Command(id) => {
                let world = &self.outside.world;
                let read = || world.store.entity(*id);
                let row = read_again(&world.outages, "a command to undo", read).await;
                let unreadable = |reason: String| {
                    let message = format!("what is to be undone cannot be read: {reason}");
                    Failure::new(FailureKind::Undecodable, message).of(*id)
                };
                let row = row.map_err(|error| unreadable(error.to_string()))?;
                let row = row.ok_or_else(|| unreadable("it is not stored any more".to_owned()))?;
                let locks = self.locks_of(&row);
                let progress = row.progress;
                Ok(Undo {
                    name: row.command_type.into_owned(),
                    fields: progress.state.unwrap_or(row.command_parameters),
                    call: Call::Compensate(progress.return_value),
                    id: *id,
                    attempt: progress.attempt,
                    locks,
                })
            }
        }
    }

    /// What a command declared: the command that fails holds that, as long as it can be undone.
    fn locks_of(&self, row: &CommandEntity) -> LockProperties {
        let Some(descriptor) = self.registry.get(&row.command_type) else {
            return LockProperties::default();
        };
        let declared = caught(|| {
            let command = descriptor.decode(&row.command_parameters);
            command.map(|command| command.lock_properties()).unwrap_or_default()
        });
        declared.unwrap_or_default()
    }

    async fn call(&self, undo: Undo) -> Reply {
        let Undo { name, fields, call, id, attempt, locks } = undo;
        let Some(descriptor) = self.registry.get(&name) else {
            let message = format!("no command `{name}` is registered in this program");
            return Reply::failed(Failure::new(FailureKind::Undecodable, message).of(id));
        };
        let run_of = RunOf {
            id,
            root: self.run.at.root,
            new_id,
            attempt: u32::try_from(attempt).unwrap_or(0),
            hook_attempt: u32::try_from(self.run.hook_attempt).unwrap_or(0),
            parent: None,
            locks: locks.into(),
        };
        let (fields, outside) = (&*fields, &self.outside);
        let (next_position, asks, grace) = (0, None, None);
        let mut method =
            Method { descriptor, fields, call, run_of, next_position, asks, grace, outside };
        method.run().await
    }
}
