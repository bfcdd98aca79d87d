//! What may be stored of rounds.

use super::super::commands::spec_of;
use super::Ledger;
use crate::callback::CallbackKind;
use crate::machine::step::{Step, Write};
use crate::status::CommandStatus;

impl Ledger {
    /// Children come with the round that has started them, and a round that changed nothing is not
    /// stored.
    pub(super) fn check_round_step(&self, step: &Step) {
        let has_audit = step.writes.iter().any(|write| matches!(write, Write::Audit(_)));
        let updates = |id| {
            let is_it = |write: &&Write| matches!(write, Write::Update(of, _) if *of == id);
            step.writes.iter().find(is_it)
        };
        for write in &step.writes {
            match write {
                Write::Insert(row) => {
                    let Some(parent) = row.parent_command_id else { continue };
                    if !spec_of(&self.rows[&parent].command_type).callback.has_rounds() {
                        continue;
                    }
                    let Some(Write::Update(_, progress)) = updates(parent) else {
                        panic!("a child comes without its round: {step:?}");
                    };
                    let may_start = progress.status == CommandStatus::Active && progress.executed;
                    assert!(may_start && progress.cancelled.is_none(), "it starts: {step:?}");
                    let position = self.children.get(&parent).map_or(0, Vec::len);
                    let inserted = step.writes.iter().filter(|other| {
                        matches!(other, Write::Insert(other) if other.parent_command_id == Some(parent) && other.position < row.position)
                    });
                    assert_eq!(usize::try_from(row.position), Ok(position + inserted.count()));
                }
                Write::Update(id, newer) => {
                    let row = &self.rows[id];
                    let callback = spec_of(&row.command_type).callback;
                    let before = &row.progress;
                    if !callback.has_rounds() || before.status.is_terminal() {
                        continue;
                    }
                    let mut after = before.clone();
                    after.overlay(newer);
                    let has_children = step.writes.iter().any(
                        |write| matches!(write, Write::Insert(row) if row.parent_command_id == Some(*id)),
                    );
                    // A death is counted anew where a tree is a suspect still.
                    let has_died = newer.deaths > 0;
                    let keeps = step
                        .writes
                        .iter()
                        .any(|write| matches!(write, Write::TaskKept(command, _) if command == id));
                    let is_written =
                        after != *before || has_children || has_audit || has_died || keeps;
                    assert!(is_written, "nothing has changed: {step:?}");
                    assert!(before.seen <= after.seen, "{id} has seen less: {step:?}");
                    let ends_well = newer.status == CommandStatus::EndedSuccessfully
                        && before.status == CommandStatus::Active
                        && callback != CallbackKind::Custom;
                    if ends_well {
                        let children = self.children.get(id).into_iter().flatten();
                        let last =
                            children.filter_map(|child| self.rows[child].progress.end_order).max();
                        assert_eq!(after.seen, last, "{id} has not seen all: {step:?}");
                    }
                }
                _ => {}
            }
        }
    }
}
