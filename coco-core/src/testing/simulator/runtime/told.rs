//! The last inputs, which are told when a check fails.

use uuid::Uuid;

use super::super::Simulation;
use super::super::commands::json;
use super::Runtime;
use crate::id::CommandId;
use crate::machine::{Happened, Input};

/// Inputs that are told when a check fails.
const TOLD: usize = 60;

impl Runtime {
    pub(super) fn note(&mut self, input: &Input) {
        if self.last.len() == TOLD {
            self.last.pop_front();
        }
        let (id, what) = match input {
            Input::Submit(submit) => (submit.id, "submit"),
            Input::Load(load) => (load.root, "load"),
            Input::Stop => (CommandId::from_uuid(Uuid::nil()), "stop"),
            Input::Of { at, what } => (at.command, name_of(what)),
        };
        self.last.push_back((self.now, id, what));
    }
}

fn name_of(what: &Happened) -> &'static str {
    match what {
        Happened::Granted { .. } => "granted",
        Happened::Queued { .. } => "waits in line",
        Happened::HasLocks { .. } => "has its locks",
        Happened::AsksLock { .. } => "asks for a lock",
        Happened::Refused { .. } => "refused",
        Happened::Ran { reply, .. } if reply.result.is_ok() => "ran",
        Happened::Ran { .. } => "ran and failed",
        Happened::Polled { polled, .. } if polled.end.is_some() => "polled and over",
        Happened::Polled { .. } => "polled",
        Happened::Turn { .. } => "turn",
        Happened::Subscribes { .. } => "subscribes",
        Happened::AddsTask { .. } => "adds a task",
        Happened::TasksAsked(_) => "its tasks were asked",
        Happened::HasEvents => "has events",
        Happened::NoEvents => "has no events",
        Happened::RoundOver(reply) if reply.result.is_ok() => "a round is over",
        Happened::RoundOver(_) => "a round failed",
        Happened::Hooked(reply) if reply.result.is_ok() => "hooked",
        Happened::Hooked(_) => "hooked and failed",
        Happened::Flush { .. } => "flush",
        Happened::Retry { .. } => "retry",
        Happened::Replay { .. } => "replay",
        Happened::Duplicate { .. } => "duplicate",
        Happened::Registers { .. } => "registers",
        Happened::Due(_) => "due",
        Happened::Place => "place",
        Happened::Rest { .. } => "rest",
        Happened::Cancel { .. } => "cancel",
        Happened::Abandon { .. } => "abandon",
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { plan: Simulation { seed, faults, trees, keys, .. }, report, last, .. } =
                self;
            eprintln!(
                "Simulation::new({seed}).trees({trees}).keys({keys}).faults({faults:?}): input {}, the last:",
                report.inputs
            );
            for (at, id, what) in last {
                let row = self.ledger.rows.get(id);
                let row = row.map(|row| {
                    let fields = json(&row.command_parameters);
                    let (name, progress) = (&row.command_type, &row.progress);
                    format!("{name} {} a{} {fields}", progress.status, progress.attempt)
                });
                eprintln!("  {} {id} {what}: {}", at.as_micros(), row.unwrap_or_default());
            }
        }
    }
}
