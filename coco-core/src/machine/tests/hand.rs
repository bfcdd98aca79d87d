//! Drives the machine by hand, over a store in memory that takes each step at once, and writes
//! down what comes out.
//!
//! A command is named by its path: `/` is the root, `/1` its child at position 1. A stored step
//! is `[writes] -> effects`, with `locks?` before one that may be refused.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{at_once, failure, load, locks_of, spec_of, text};
use crate::context::requests::{Ask, AskedChild};
use crate::entity::{OnceResult, Progress};
use crate::erased::{Call, Hooks, Reply};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::LockConflict;
use crate::machine::step::{Step, Write};
use crate::machine::{
    Address, Effect, FlowEnd, Happened, Input, Loaded, Machine, Output, Polled, RunKind, Stored,
    Submit,
};
use crate::store::{Lease, MemoryStore, Outcome, Store};
use crate::time::Timestamp;

/// The machine, and what is stored.
pub(super) struct Hand {
    machine: Machine,
    store: MemoryStore,
    lease: Lease,
    now: i64,
    /// Steps are kept and not stored, from now on.
    pub(super) is_cut: bool,
    lost: Vec<Step>,
}

pub(super) const ROOT: CommandId = CommandId::from_uuid(Uuid::from_u128(1 << 80));
pub(super) const OWN_HOOKS: Hooks = Hooks { success: true, failure: true };
const NO_HOOKS: Hooks = Hooks { success: false, failure: false };

impl Hand {
    pub(super) fn new() -> Self {
        let store = MemoryStore::default();
        let lease = at_once(store.acquire()).expect("a lease");
        Self { machine: Machine::default(), store, lease, now: 0, is_cut: false, lost: Vec::new() }
    }

    pub(super) fn tell(&mut self, input: Input) -> Vec<String> {
        self.now += 1;
        let mut outputs = Vec::new();
        self.machine.handle(Timestamp::from_micros(self.now), input, &mut outputs);
        for output in &outputs {
            match output {
                Output::Store(step, _) if self.is_cut => self.lost.push(step.clone()),
                Output::Store(step, _) => self.store_now(step),
                Output::Do(_) => {}
            }
        }
        outputs.iter().map(show).collect()
    }

    pub(super) fn store_now(&self, step: &Step) {
        let steps = Arc::from([step.clone()]);
        let outcomes = at_once(self.store.commit(&self.lease, steps)).expect("our lease");
        assert!(!matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
    }

    /// The steps that were not stored.
    pub(super) fn take_lost(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.lost)
    }

    /// Takes a command back to before its start was granted.
    pub(super) fn take_back(&self, path: &str) {
        let progress = Progress::new(crate::status::CommandStatus::NotStarted);
        let writes = vec![Write::Update(id(path), Box::new(progress)), Write::Release(id(path))];
        self.store_now(&Step { root: ROOT, command: id(path), request: None, writes });
    }

    pub(super) fn submit(&mut self, name: &str, parameters: &Value) -> Vec<String> {
        self.submit_as(ROOT, name, parameters)
    }

    pub(super) fn submit_as(
        &mut self,
        id: CommandId,
        name: &str,
        parameters: &Value,
    ) -> Vec<String> {
        let (spec, locks) = (spec_of(name), locks_of(parameters));
        let parameters = text(parameters);
        self.tell(Input::Submit(Submit { id, ticket: 1, spec, parameters, locks }))
    }

    pub(super) fn say(&mut self, path: &str, what: Happened) -> Vec<String> {
        self.tell(Input::Of { at: Address { root: ROOT, command: id(path) }, what })
    }

    /// The first attempt of a leaf is over.
    pub(super) fn ran(&mut self, path: &str, reply: Reply) -> Vec<String> {
        self.say(path, Happened::Ran { attempt: 1, reply })
    }

    /// The first attempt of a flow has begun, and asks.
    pub(super) fn asks(&mut self, path: &str, asks: Vec<Ask>) -> Vec<String> {
        self.polled(path, 1, Polled { asks, ..Polled::default() })
    }

    /// The first attempt of a flow answers what it was given, and asks for more.
    pub(super) fn answers(&mut self, path: &str, asks: Vec<Ask>) -> Vec<String> {
        self.polled(path, 1, Polled { given: true, asks, end: None })
    }

    /// The first attempt of a flow answers what it was given, and returns.
    pub(super) fn returns(&mut self, path: &str, reply: Reply) -> Vec<String> {
        self.polled(path, 1, Polled { given: true, asks: Vec::new(), end: over(reply) })
    }

    pub(super) fn polled(&mut self, path: &str, attempt: i32, polled: Polled) -> Vec<String> {
        self.say(path, Happened::Polled { attempt, polled })
    }

    /// What is stored of the requests of a flow.
    pub(super) fn stored(&self, path: &str) -> Stored {
        let rows = at_once(self.store.tree(ROOT)).expect("it reads").expect("a tree");
        let loaded = load(ROOT, rows, Loaded::Start { crashed: false });
        let mut flows = Stored::by_flow(&loaded.commands, &loaded.once_results);
        flows.remove(&id(path)).unwrap_or_default()
    }

    /// A new engine reads what is stored.
    pub(super) fn restart(&mut self, crashed: bool) -> Vec<String> {
        self.reload(Loaded::Start { crashed })
    }

    pub(super) fn reload(&mut self, cause: Loaded) -> Vec<String> {
        self.machine = Machine::default();
        self.is_cut = false;
        let rows = at_once(self.store.tree(ROOT)).expect("it reads").expect("a tree");
        self.tell(Input::Load(Box::new(load(ROOT, rows, cause))))
    }

    /// What the machine gives away of a tree whose step was rejected.
    pub(super) fn forget(&mut self) -> Vec<Step> {
        self.machine.forget(ROOT).into_iter().map(|(step, _)| step).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.machine.len() == 0
    }

    pub(super) fn row(&self, path: &str) -> Progress {
        at_once(self.store.entity(id(path))).expect("it reads").expect("a row").progress
    }

    /// Who holds locks, and which.
    pub(super) fn locks(&self) -> Vec<(CommandId, String)> {
        let held = self.store.held_locks();
        let mut held: Vec<_> = held.into_iter().map(|held| (held.owner, held.lock.key)).collect();
        held.sort();
        held
    }
}

/// The command at a path.
pub(super) fn id(path: &str) -> CommandId {
    let positions = path.split('/').filter(|part| !part.is_empty());
    positions.fold(ROOT, |id, position| id.child(ROOT, position.parse().expect("a position")))
}

/// A child without locks; `n` tells its parameters from those of others.
pub(super) fn child(position: i32, name: &'static str, n: i32) -> Ask {
    child_with(position, name, &json!({ "n": n }))
}

pub(super) fn child_with(position: i32, name: &'static str, parameters: &Value) -> Ask {
    let child = AskedChild {
        spec: spec_of(name),
        locks: locks_of(parameters),
        parameters: Ok(text(parameters)),
        canonical: Some(parameters.clone()),
    };
    Ask::Child { position, child: Box::new(child) }
}

pub(super) fn once(position: i32, name: &str) -> Ask {
    Ask::Once { position, name: name.into() }
}

pub(super) fn once_ended(position: i32, value: &str) -> Ask {
    Ask::OnceEnded { position, result: Ok(value.into()) }
}

pub(super) fn ok(value: &str) -> Reply {
    Reply { result: Ok(value.into()), state: None, refused: false, hooks: NO_HOOKS }
}

pub(super) fn err(message: &str) -> Reply {
    Reply { result: Err(failure(message)), state: None, refused: false, hooks: NO_HOOKS }
}

pub(super) fn refused(message: &str) -> Reply {
    Reply { refused: true, ..err(message) }
}

pub(super) fn with_hooks(reply: Reply) -> Reply {
    Reply { hooks: OWN_HOOKS, ..reply }
}

pub(super) fn over(reply: Reply) -> Option<FlowEnd> {
    Some(FlowEnd::Returned { reply: Box::new(reply), unseen: None })
}

pub(super) fn conflict() -> LockConflict {
    LockConflict {
        group: "disk".into(),
        key: "a".into(),
        mode: crate::lock::LockMode::Exclusive,
        holder: ROOT,
        command_type: "flow".into(),
        since: Timestamp::default(),
    }
}

pub(super) fn rejected() -> Failure {
    Failure::new(FailureKind::Rejected, "the store refused its data: odd")
}

/// The path of a command: of the root, of its children or of theirs, up to position 5.
fn path(of: CommandId) -> String {
    let paths = (0..6).flat_map(|n| {
        let below = (0..6).map(move |m| format!("/{n}/{m}"));
        std::iter::once(format!("/{n}")).chain(below)
    });
    let known: HashMap<_, _> =
        std::iter::once("/".to_owned()).chain(paths).map(|path| (id(&path), path)).collect();
    known.get(&of).cloned().unwrap_or_else(|| of.to_string())
}

fn show(output: &Output) -> String {
    match output {
        Output::Do(effect) => show_effect(effect),
        Output::Store(step, effects) => {
            let locks = if step.request.is_some() { "locks? " } else { "" };
            let writes: Vec<_> = step.writes.iter().map(show_write).collect();
            let effects: Vec<_> = effects.iter().map(show_effect).collect();
            let arrow = if effects.is_empty() { "" } else { " -> " };
            format!("{locks}[{}]{arrow}{}", writes.join(", "), effects.join(", "))
        }
    }
}

fn show_write(write: &Write) -> String {
    match write {
        Write::Insert(row) => {
            format!("insert {} {}", path(row.command_id), show_progress(&row.progress))
        }
        Write::Update(id, progress) => format!("{} {}", path(*id), show_progress(progress)),
        Write::Once(once) => {
            let OnceResult { command_id, position, name, end_order, .. } = &**once;
            let failed = if once.failure.is_some() { " failed" } else { "" };
            format!("once {} {position} {name}{failed} o{end_order}", path(*command_id))
        }
        Write::Release(id) => format!("release {}", path(*id)),
    }
}

/// The status, the attempt, and where there are any the end order and the deaths.
fn show_progress(progress: &Progress) -> String {
    let order = progress.end_order.map(|order| format!(" o{order}")).unwrap_or_default();
    let deaths = match progress.deaths {
        0 => String::new(),
        deaths => format!(" d{deaths}"),
    };
    format!("{} a{}{order}{deaths}", progress.status, progress.attempt)
}

fn show_effect(effect: &Effect) -> String {
    match effect {
        Effect::Accept { ticket } => format!("accept {ticket}"),
        Effect::Refuse { ticket, .. } => format!("refuse {ticket}"),
        Effect::Run(run) => {
            let kind = match &run.kind {
                RunKind::Leaf => format!("leaf a{}", run.attempt),
                RunKind::Flow { replaying: true, .. } => format!("replay a{}", run.attempt),
                RunKind::Flow { .. } => format!("flow a{}", run.attempt),
                RunKind::Hook(Call::EndSuccessfully(_)) => "end_successfully".to_owned(),
                RunKind::Hook(_) => "end_with_failure".to_owned(),
            };
            format!("run {} {kind}", path(run.at.command))
        }
        Effect::Give { command, outcomes, replay_is_over } => {
            let outcomes: Vec<_> = outcomes
                .iter()
                .map(|(position, ended)| match &ended.result {
                    Ok(value) => format!("{position}={value}"),
                    Err(failure) => format!("{position}!{failure}"),
                })
                .collect();
            let live = if *replay_is_over { "" } else { " of a replay" };
            format!("give {} {}{live}", path(*command), outcomes.join(" "))
        }
        Effect::Turn { at, position, given, .. } => {
            format!("turn {} {position} after {given}", path(at.command))
        }
        Effect::LetRun { command, position } => format!("let run {} {position}", path(*command)),
        Effect::Drop { command } => format!("drop {}", path(*command)),
        Effect::Reload { at, ticket } => format!("reload {} {ticket}", path(at.command)),
        Effect::Ended { result: Ok(value), .. } => format!("ended {value}"),
        Effect::Ended { result: Err(failure), .. } => format!("ended! {failure}"),
        Effect::Stuck { at, reason } => format!("stuck {}: {reason}", path(at.command)),
        Effect::Unstuck { .. } => "unstuck".to_owned(),
        Effect::Held { hold, .. } => format!("held {hold}"),
    }
}
