//! Trees of their own that commands launch, as they have to come: with what their command says.

use super::super::commands::{json, spec_of};
use super::super::launches;
use super::super::rounds::Started;
use super::Ledger;
use crate::callback::CallbackKind;
use crate::entity::CommandEntity;
use crate::id::CommandId;
use crate::machine::step::{Step, Write};
use crate::status::CommandStatus;

impl Ledger {
    /// Roots come with the end of the leaf, the round, or the answer to the flow, that has launched
    /// them, and a leaf launches them all.
    pub(super) fn check_launches(&mut self, step: &Step) {
        let launched = step.writes.iter().filter_map(|write| match write {
            Write::Insert(row) if row.parent_command_id.is_none() => Some(row),
            _ => None,
        });
        let launched: Vec<_> = launched.filter(|row| row.command_id != step.command).collect();
        let starter = self.rows.get(&step.command);
        let Some(starter) = starter else {
            return assert!(launched.is_empty(), "nobody launches: {step:?}");
        };
        let id = starter.command_id;
        for row in &launched {
            let is_new = row.progress.status == CommandStatus::NotStarted;
            assert!(is_new && row.root_command_id == row.command_id, "{row:?}");
        }
        match spec_of(&starter.command_type).callback {
            CallbackKind::None => {
                let succeeds = |write: &Write| match write {
                    Write::Update(of, newer) if *of == id => has_succeeded(newer.status),
                    _ => false,
                };
                let before = &starter.progress;
                let is_over = has_succeeded(before.stuck_from.unwrap_or(before.status));
                let expected = if step.writes.iter().any(succeeds) && !is_over {
                    launches::of_leaf(&json(&starter.command_parameters), starter.progress.attempt)
                } else {
                    Vec::new()
                };
                assert_launched(&expected, launched.iter().map(|row| &***row), step);
            }
            CallbackKind::SerialChildren => {
                for row in &launched {
                    let is_it = |write: &Write| match write {
                        Write::Once(once) => {
                            id.child(step.root, once.position) == row.command_id
                                && once.failure.is_none()
                        }
                        _ => false,
                    };
                    assert!(step.writes.iter().any(is_it), "a flow launches it unasked: {step:?}");
                }
            }
            _ => {
                let is_it = |write: &Write| matches!(write, Write::Update(of, newer) if *of == id && newer.executed);
                let is_with_round = launched.is_empty() || step.writes.iter().any(is_it);
                assert!(is_with_round, "a root comes without its round: {step:?}");
            }
        }
        let ids = launched.iter().map(|row| row.command_id);
        self.launched.entry(id).or_default().extend(ids);
        self.launches += launched.len();
    }

    /// Checks that a command with rounds has launched these, each once.
    pub(in super::super) fn check_launched(&self, id: CommandId, expected: &[Started]) {
        let launched = self.launched.get(&id).into_iter().flatten();
        assert_launched(expected, launched.map(|root| &self.rows[root]), &id);
    }

    /// How many trees a command has launched.
    pub(in super::super) fn launches_of(&self, id: CommandId) -> usize {
        self.launched.get(&id).map_or(0, Vec::len)
    }

    /// Whether a flow has launched something at this position.
    pub(in super::super) fn has_launched(&self, id: CommandId, root: CommandId) -> bool {
        self.launched.get(&id).is_some_and(|launched| launched.contains(&root))
    }
}

fn has_succeeded(status: CommandStatus) -> bool {
    matches!(status, CommandStatus::Succeeded | CommandStatus::EndedSuccessfully)
}

fn assert_launched<'a>(
    expected: &[Started],
    launched: impl Iterator<Item = &'a CommandEntity>,
    by: &impl std::fmt::Debug,
) {
    let expected: Vec<_> = expected
        .iter()
        .map(|root| (root.name, root.parameters.clone().unwrap_or_default()))
        .collect();
    let launched: Vec<_> = launched
        .map(|row| (spec_of(&row.command_type).name, json(&row.command_parameters)))
        .collect();
    assert_eq!(launched, expected, "launched by {by:?}");
}
