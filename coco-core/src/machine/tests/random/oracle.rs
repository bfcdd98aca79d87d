//! What the outcomes of flows have to be: each script run again over what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ledger::Ledger;
use super::script::Script;
use crate::callback::CallbackKind;
use crate::context::requests::{Ask, Ended};
use crate::entity::CommandEntity;
use crate::failure::{Failure, FailureKind};
use crate::machine::tests::{json, spec_of};
use crate::status::CommandStatus;

/// What is stored of an ended command.
pub(super) fn outcome(row: &CommandEntity) -> Result<Arc<str>, Failure> {
    let progress = &row.progress;
    match (progress.status, &progress.failure, &progress.return_value) {
        (CommandStatus::EndedSuccessfully, None, Some(output)) => Ok(Arc::clone(output)),
        (CommandStatus::EndedWithFailure, Some(text), _) => {
            Err(serde_json::from_str(text).expect("a failure"))
        }
        _ => panic!("no outcome: {row:?}"),
    }
}

/// True when it failed by no doing of its code.
pub(super) fn failed_from_outside(row: &CommandEntity) -> bool {
    use FailureKind::{LockConflict, NotStorable, Refused, Rejected, Restarted};
    let kinds = [LockConflict, NotStorable, Refused, Rejected, Restarted];
    outcome(row).is_err_and(|failure| {
        failure.command == Some(row.command_id) && kinds.contains(&failure.kind)
    })
}

impl Ledger {
    /// Checks that everything has ended, each flow as its script says.
    pub(super) fn check_outcomes(&self) {
        for row in self.rows.values() {
            assert!(row.progress.status.is_terminal(), "it never ends: {row:?}");
            let is_flow = spec_of(&row.command_type).callback == CallbackKind::SerialChildren;
            if is_flow && !failed_from_outside(row) {
                self.check_flow(row);
            }
        }
    }

    fn check_flow(&self, row: &CommandEntity) {
        let mut script = Script::new(&json(&row.command_parameters));
        let (mut asked, mut asks) = (BTreeSet::new(), Vec::new());
        let mut end = script.poll(true, &mut asks);
        let mut undelivered = None;
        for (position, ended) in self.outcomes_of(row).into_values() {
            if end.is_some() {
                undelivered = undelivered.or(ended.result.err());
                continue;
            }
            script.answer(position, ended);
            end = script.poll(true, &mut asks);
        }
        let expected = match (end.expect("it returns"), script.unseen.take().or(undelivered)) {
            (Ok(_), Some(failure)) | (Err(failure), _) => Err(failure),
            (Ok(output), None) => Ok(output),
        };
        assert_eq!(outcome(row), expected, "another outcome than the script's: {row:?}");
        for ask in asks {
            self.check_ask(row, &ask, &mut asked);
        }
        for child in self.children.get(&row.command_id).into_iter().flatten() {
            let position = self.rows[child].position;
            assert!(asked.contains(&position), "nobody asked for {position} of {row:?}");
        }
    }

    fn check_ask(&self, row: &CommandEntity, ask: &Ask, asked: &mut BTreeSet<i32>) {
        match ask {
            Ask::Child { position, child } => {
                asked.insert(*position);
                let id = row.command_id.child(row.root_command_id, *position);
                let stored = self.rows.get(&id).unwrap_or_else(|| {
                    panic!("child {position} was skipped: {row:?}");
                });
                assert_eq!(stored.command_type, child.spec.name);
                if &*stored.command_parameters != "null" {
                    assert_eq!(Some(json(&stored.command_parameters)), child.canonical);
                }
            }
            Ask::Once { position, name } => {
                let stored = self.onces.get(&(row.command_id, *position));
                assert!(stored.is_none_or(|stored| stored.name == *name));
            }
            Ask::OnceEnded { .. } => unreachable!("a script runs no step"),
        }
    }

    fn outcomes_of(&self, row: &CommandEntity) -> BTreeMap<i64, (i32, Ended)> {
        let at = row.created_at;
        let children = self.children.get(&row.command_id).into_iter().flatten();
        let children = children.map(|child| {
            let child = &self.rows[child];
            let order = child.progress.end_order.expect("an order");
            (order, (child.position, Ended { result: outcome(child), at }))
        });
        let onces = self.onces.range((row.command_id, i32::MIN)..=(row.command_id, i32::MAX));
        let onces = onces.map(|(_, once)| {
            let failure = once.failure.as_deref();
            let result = match failure {
                Some(text) => Err(serde_json::from_str(text).expect("a failure")),
                None => Ok(once.return_value.clone().expect("a value")),
            };
            (once.end_order, (once.position, Ended { result, at }))
        });
        children.chain(onces).collect()
    }
}
