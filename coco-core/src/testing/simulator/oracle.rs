//! What the outcomes of flows have to be: each script run again over what is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::commands::{at_once, json, spec_of};
use super::ledger::Ledger;
use super::rounds::{self, Said};
use super::script::Script;
use crate::callback::{CallbackKind, EndedChild};
use crate::context::requests::{Ask, Ended};
use crate::entity::CommandEntity;
use crate::erased::Reply;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;
use crate::store::{MemoryStore, Store};

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

impl Ledger {
    /// True when it failed by no doing of its code.
    fn failed_from_outside(&self, row: &CommandEntity) -> bool {
        use FailureKind::{
            Abandoned, Cancelled, LockConflict, LockTimedOut, NotStorable, Refused, Rejected,
            Restarted, TimedOut, WouldDeadlock,
        };
        let id = row.command_id;
        outcome(row).is_err_and(|failure| {
            let of_itself = failure.command == Some(id);
            match failure.kind {
                Abandoned | LockConflict | LockTimedOut | WouldDeadlock | NotStorable | Refused
                | Rejected | Restarted => of_itself,
                Cancelled | TimedOut => {
                    of_itself || self.ancestors(id).any(|above| failure.command == Some(above))
                }
                _ => false,
            }
        })
    }

    /// Checks that everything has ended, each flow as its script says and each leaf as its code
    /// said.
    pub(super) fn check_outcomes(&self, said: &HashMap<CommandId, (i32, Reply)>) {
        for row in self.rows.values() {
            assert!(row.progress.status.is_terminal(), "it never ends: {row:?}");
            let callback = spec_of(&row.command_type).callback;
            if callback.has_rounds() && row.progress.executed {
                self.check_rounds(row, self.failed_from_outside(row));
                continue;
            }
            if callback.has_rounds() {
                let children = self.children.get(&row.command_id);
                assert_eq!(children, None, "it has not executed: {row:?}");
            }
            if self.failed_from_outside(row) {
                continue;
            }
            if callback == CallbackKind::SerialChildren {
                self.check_flow(row);
            } else {
                let said = said.get(&row.command_id).map(|(_, reply)| reply.result.clone());
                assert_eq!(Ok(outcome(row)), said.ok_or(row));
            }
        }
    }

    /// Checks that the store has what was applied.
    pub(super) fn check_store(&self, store: &MemoryStore) {
        for row in self.rows.values() {
            let stored = at_once(store.entity(row.command_id)).expect("it reads");
            let mut stored = stored.expect("a row");
            stored.progress.compensated_at = row.progress.compensated_at;
            assert_eq!(stored, *row);
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
            Ask::Sleep { position, micros } => {
                let stored = self.sleeps.get(&(row.command_id, *position));
                assert!(stored.is_some_and(|stored| stored.micros == *micros));
            }
            Ask::Lock { position, lock } => {
                let stored = self.onces.get(&(row.command_id, *position));
                assert!(stored.is_none_or(|stored| stored.lock.as_ref() == Some(lock)));
            }
            Ask::Register { position, undo } => {
                let stored = self.entries.get(&(row.command_id, *position)).expect("an entry");
                assert_eq!(stored.command_parameters, undo.parameters);
            }
            Ask::Dropped { .. } => {}
            Ask::Launch { position, root } => {
                let once = self.onces.get(&(row.command_id, *position));
                let id = row.command_id.child(row.root_command_id, *position);
                let is_launched = once.is_some_and(|once| once.failure.is_none());
                assert_eq!(self.has_launched(row.command_id, id), is_launched, "{id}");
                if is_launched {
                    let stored = &self.rows[&id];
                    assert_eq!(stored.command_type, root.spec.name);
                    assert_eq!(Ok(&stored.command_parameters), root.parameters.as_ref());
                }
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
        let entries = self.entries.range((row.command_id, 0)..=(row.command_id, i32::MAX));
        let entries = entries.map(|((_, position), entry)| {
            (entry.end_order, (*position, Ended { result: Ok("null".into()), at }))
        });
        children.chain(onces).chain(entries).collect()
    }
}

impl Ledger {
    /// Goes through the rounds that are stored once more: the children are those that they start,
    /// and the outcome is what they come to.
    fn check_rounds(&self, row: &CommandEntity, failed_from_outside: bool) {
        let (id, name) = (row.command_id, &*row.command_type);
        let parameters = json(&row.command_parameters);
        let stored = row.progress.state.as_deref().map_or_else(|| parameters.clone(), json);
        let children = self.children.get(&id).into_iter().flatten();
        let children: BTreeMap<_, _> =
            children.map(|child| &self.rows[child]).map(|child| (child.position, child)).collect();
        let mut ended: Vec<_> = children
            .values()
            .map(|child| EndedChild {
                id: child.command_id,
                end_order: child.progress.end_order.expect("an order"),
                result: outcome(child),
            })
            .collect();
        ended.sort_unstable_by_key(|child| child.end_order);

        let mut said = rounds::begin(name, &parameters);
        let (mut started, mut launched, mut before) = (Vec::new(), Vec::new(), 0);
        let waits = spec_of(name).callback.waits_for_children();
        let log = rounds::log(&stored);
        for (round, length) in log.iter().enumerate() {
            started.append(&mut said.started);
            launched.append(&mut said.launched);
            assert!(*length >= before && *length <= started.len(), "round {round} of {row:?}");
            assert!(!waits || *length == started.len(), "round {round} of {row:?}");
            before = *length;
            let next = rounds::round(name, id, &said.fields, &said.output, &ended[..*length]);
            said = next.unwrap_or_else(|failure| panic!("round {round} of {row:?}: {failure}"));
        }
        let is_lost = self.is_cancelled(id) && children.len() == started.len();
        if !is_lost {
            started.append(&mut said.started.clone());
        }
        if !(self.is_cancelled(id) && self.launches_of(id) == launched.len()) {
            launched.append(&mut said.launched);
        }
        self.check_launched(id, &launched);
        assert_eq!(children.len(), started.len(), "children of {row:?}");
        for ((position, child), (expected, started)) in children.iter().zip((0..).zip(&started)) {
            assert_eq!((*position, &*child.command_type), (expected, started.name));
            let parameters = json(&child.command_parameters);
            assert_eq!(parameters, started.parameters.clone().unwrap_or_default(), "of {child:?}");
            let retry = child.retry.as_deref().map(|text| serde_json::from_str(text).expect("one"));
            assert_eq!(retry, started.retry.filter(|_| started.parameters.is_some()));
        }
        if failed_from_outside {
            return;
        }
        if !stored["heard"].is_null() {
            said.fields["heard"] = stored["heard"].clone();
        }
        assert_eq!(said.fields, stored, "the fields of {row:?}");
        let output = json(row.progress.return_value.as_deref().expect("an output"));
        // The last round that is not in the log was given some of the children.
        let first = if waits { ended.len() } else { before };
        let mut last = (first..=ended.len())
            .map(|length| rounds::round(name, id, &stored, &said.output, &ended[..length]));
        let failures = ended.iter().filter_map(|child| child.result.as_ref().err());
        let mut fatal = failures.filter(|failure| {
            spec_of(name).callback == CallbackKind::NextOperation
                && !rounds::ignores(&parameters, failure)
        });
        match outcome(row) {
            Ok(ended) => {
                assert_eq!(json(&ended), output);
                assert_eq!(fatal.next(), None, "it goes on: {row:?}");
                let was_ready = !log.is_empty() && said.is_ready && said.started.is_empty();
                let is_ready = |next: Result<Said, Failure>| {
                    next.is_ok_and(|next| {
                        next == Said {
                            started: Vec::new(),
                            launched: Vec::new(),
                            is_ready: true,
                            ..said.clone()
                        }
                    })
                };
                assert!(was_ready || last.any(is_ready), "it has not ended: {row:?}");
            }
            Err(failure) if failure.command != Some(id) => {
                let first = fatal.next();
                let is_last = last.any(|next| next == Err(failure.clone()));
                assert!(first == Some(&failure) || (first.is_none() && is_last), "{row:?}");
            }
            Err(failure) => {
                let is_last = last.any(|next| next == Err(failure.clone()));
                let is_last = is_last || self.is_of_task(id, &failure);
                assert!(is_last, "another failure than the script's: {row:?}");
            }
        }
        assert_eq!(output, said.output, "the output of {row:?}");
    }
}
