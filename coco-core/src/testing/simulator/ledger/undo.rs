//! Undo, as it has to be: what succeeded in a command that failed, newest first, each once.

use super::super::commands::json;
use super::super::script;
use super::Ledger;
use crate::entity::{Progress, Undo};
use crate::id::CommandId;
use crate::status::CommandStatus;

/// A command, or the undo command that it registered at a position.
type Undone = (CommandId, Option<i32>);

impl Ledger {
    /// What may have to be undone of a command, oldest first, from the rows alone.
    fn undoable(&self, id: CommandId) -> Vec<Undone> {
        let mut found = Vec::new();
        for child in self.children.get(&id).into_iter().flatten() {
            let progress = &self.rows[child].progress;
            if progress.status == CommandStatus::EndedSuccessfully {
                let parts = if self.has_compensate(*child) {
                    vec![(*child, None)]
                } else {
                    self.undoable(*child)
                };
                found.push((progress.end_order, parts));
            }
        }
        let entries = self.entries.range((id, i32::MIN)..=(id, i32::MAX));
        found.extend(
            entries.map(|((_, position), row)| (Some(row.end_order), vec![(id, Some(*position))])),
        );
        found.sort_unstable_by_key(|(order, _)| *order);
        found.into_iter().flat_map(|(_, parts)| parts).collect()
    }

    /// Whether a command has a `compensate` of its own.
    pub(super) fn has_compensate(&self, id: CommandId) -> bool {
        script::hooks(&json(&self.rows[&id].command_parameters)).compensate
    }

    /// Whether anything would have to be undone of a command that has succeeded.
    pub(super) fn could_be_undone(&self, id: CommandId) -> bool {
        self.has_compensate(id) || !self.undoable(id).is_empty()
    }

    fn is_marked(&self, (id, position): Undone) -> bool {
        match position {
            None => self.rows[&id].progress.compensated_at.is_some(),
            Some(position) => self.entries[&(id, position)].compensated_at.is_some(),
        }
    }

    /// `by` has undone this and marks it: the newest that is left, after it ran.
    pub(super) fn marks(&mut self, by: CommandId, id: CommandId, position: Option<i32>) {
        let one = (id, position);
        assert_eq!(self.rows[&by].progress.status, CommandStatus::Failed, "{by} undoes {one:?}");
        assert!(!self.is_marked(one), "{by} marks {one:?} again");
        let next = self.undoable(by).into_iter().rfind(|one| !self.is_marked(*one));
        assert_eq!(next, Some(one), "{by} undoes in another order");
        assert!(self.undone.contains(&one), "{by} marks {one:?}, and it did not run");
        self.compensations += 1;
    }

    /// Its own `compensate` comes when nothing else is left, and what undoes it is stored when it
    /// succeeds.
    pub(super) fn check_own_undo(&mut self, id: CommandId, before: &Progress, newer: &Progress) {
        if newer.compensated_at.is_some() && before.compensated_at.is_none() {
            assert_eq!(before.status, CommandStatus::Failed, "{id} undoes itself");
            let left = self.undoable(id).into_iter().find(|one| !self.is_marked(*one));
            assert_eq!(left, None, "{id} undoes itself first");
            assert!(self.undone.contains(&(id, None)), "{id} is marked, and it did not run");
            self.compensations += 1;
        }
        let succeeds = [CommandStatus::Succeeded, CommandStatus::EndedSuccessfully];
        if succeeds.contains(&newer.status) && self.rows[&id].parent_command_id.is_some() {
            let expected = match (self.has_compensate(id), self.undoable(id).is_empty()) {
                (true, _) => Some(Undo::Own),
                (false, false) => Some(Undo::Inner),
                (false, true) => None,
            };
            assert_eq!(newer.undo, expected, "what undoes {id}");
        }
    }

    /// A command ends with failure: everything in it, and itself, is undone.
    pub(super) fn check_undone(&self, id: CommandId, has_own: bool) {
        let left = self.undoable(id).into_iter().find(|one| !self.is_marked(*one));
        assert_eq!(left, None, "{id} ends, and this is not undone");
        assert!(!has_own || self.is_marked((id, None)), "{id} ends, and is not undone");
    }

    /// Checks that nothing was undone but in what has failed.
    pub(in super::super) fn check_marks(&self) {
        let marked = self.rows.values().filter(|row| row.progress.compensated_at.is_some());
        for row in marked {
            let id = row.command_id;
            let mut lineage = std::iter::once(id).chain(self.ancestors(id));
            let failed =
                |id: CommandId| self.rows[&id].progress.status == CommandStatus::EndedWithFailure;
            assert!(lineage.any(failed), "nothing failed, and it is undone: {row:?}");
        }
    }
}
