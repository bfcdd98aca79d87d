//! The outside: what becomes there of the tasks of commands, whoever dies here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::commands::spec_of;
use super::dice::{Dice, mix};
use crate::callback::CallbackKind;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::time::Timestamp;

/// All that was begun.
#[derive(Debug, Default)]
pub(super) struct Outside(HashMap<(CommandId, Arc<str>), Work>);

#[derive(Debug)]
struct Work {
    /// When it ends by itself, or because it was stopped.
    until: Timestamp,
    fails: bool,
}

/// What is known of a task.
#[derive(Debug)]
pub(super) enum Standing {
    Running,
    /// It is over, well or not.
    Over(Option<Failure>),
    /// The outside has never heard of it.
    Unknown(Failure),
}

impl Outside {
    /// Begins a task, unless it knows that.
    pub(super) fn begin(
        &mut self,
        id: CommandId,
        task: &Arc<str>,
        now: Timestamp,
        dice: &mut Dice,
    ) {
        let takes =
            Duration::from_millis(dice.roll() % if dice.one_in(8) { 100_000 } else { 9_000 });
        let work = Work { until: now.after(takes), fails: dice.one_in(5) };
        self.0.entry((id, Arc::clone(task))).or_insert(work);
    }

    /// Makes a task end soon.
    pub(super) fn stop(&mut self, id: CommandId, task: &Arc<str>, now: Timestamp, dice: &mut Dice) {
        if let Some(work) = self.0.get_mut(&(id, Arc::clone(task))) {
            let soon = now.after(Duration::from_millis(dice.roll() % 3_000));
            work.until = work.until.min(soon);
        }
    }

    pub(super) fn status(&self, id: CommandId, task: &Arc<str>, now: Timestamp) -> Standing {
        let failed = |message: &str| Failure::new(FailureKind::Failed, message);
        match self.0.get(&(id, Arc::clone(task))) {
            None => Standing::Unknown(failed("the outside does not know the task")),
            Some(work) if work.until > now => Standing::Running,
            Some(work) => Standing::Over(work.fails.then(|| failed("its task has failed"))),
        }
    }

    /// Whether a task goes on.
    pub(super) fn is_running(&self, id: CommandId, task: &Arc<str>, now: Timestamp) -> bool {
        matches!(self.status(id, task, now), Standing::Running)
    }
}

/// The tasks of a command after so many rounds that have got somewhere; none: of its `execute`.
pub(super) fn tasks(name: &str, fields: &Value, rounds: Option<usize>) -> Vec<Arc<str>> {
    use CallbackKind::{Custom, NextOperation, Polling};
    let has_tasks = matches!(spec_of(name).callback, Polling | Custom | NextOperation);
    let bits = mix(fields["seed"].as_u64().unwrap_or(0) ^ 0x7A5C);
    let some = match rounds {
        _ if !has_tasks || bits & 3 != 0 => 0,
        None => (bits >> 2) % 3,
        Some(1) => (bits >> 4) % 2,
        Some(_) => 0,
    };
    // In a round also one that it has already.
    (0..some).map(|n| format!("\"task {}\"", n + (bits >> 8) % 2).into()).collect()
}
