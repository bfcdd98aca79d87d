//! A model of the runtime: the same rules, one thing at a time, in an order that is rolled.

mod commit;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use uuid::Uuid;

use self::commit::{Queued, Reloading};
use super::dice::Dice;
use super::ledger::Ledger;
use super::oracle::{failed_from_outside, outcome};
use super::script;
use super::task::{Mail, Task};
use crate::erased::{Call, Reply};
use crate::id::CommandId;
use crate::machine::tests::{at_once, load, locks_of, spec_of, text};
use crate::machine::{
    Address, Effect, Happened, Input, Loaded, Machine, Output, Run, RunKind, Submit,
};
use crate::status::CommandStatus;
use crate::store::{Lease, MemoryStore, Store};
use crate::time::Timestamp;

/// How often something goes wrong: one time in so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) death: usize,
    pub(super) stop: usize,
    pub(super) rejection: usize,
}

impl Faults {
    pub(super) const ALL: Self = Self { death: 1000, stop: 2000, rejection: 50 };
    pub(super) const NONE: Self =
        Self { death: usize::MAX, stop: usize::MAX, rejection: usize::MAX };
}

/// Trees that run side by side.
const TREES: usize = 8;
/// Inputs that are told when a check fails.
const TOLD: usize = 40;

#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) inputs: usize,
    seed: u64,
    dice: Dice,
    faults: Faults,
    machine: Machine,
    store: MemoryStore,
    lease: Lease,
    ledger: Ledger,
    queue: VecDeque<Queued>,
    tasks: BTreeMap<CommandId, Task>,
    /// What tasks have said and the engine has not heard.
    inbox: VecDeque<(Address, Happened)>,
    reloading: BTreeMap<CommandId, Reloading>,
    /// Stuck flows that are being read.
    reads: Vec<(Address, u64)>,
    holds: Vec<(CommandId, u64)>,
    stuck: BTreeSet<(CommandId, CommandId)>,
    tickets: BTreeSet<u64>,
    roots: u64,
    /// Grows with each start of the engine.
    life: u32,
    is_stopping: bool,
    /// In which life the code of a leaf was started last, and what it said.
    started: HashMap<CommandId, u32>,
    said: HashMap<CommandId, Reply>,
    hooked: HashSet<CommandId>,
    last: VecDeque<(CommandId, &'static str)>,
}

impl Runtime {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let store = MemoryStore::default();
        let lease = at_once(store.acquire()).expect("a lease");
        Self {
            inputs: 0,
            seed,
            dice: Dice::new(seed),
            faults,
            machine: Machine::default(),
            store,
            lease,
            ledger: Ledger::default(),
            queue: VecDeque::new(),
            tasks: BTreeMap::new(),
            inbox: VecDeque::new(),
            reloading: BTreeMap::new(),
            reads: Vec::new(),
            holds: Vec::new(),
            stuck: BTreeSet::new(),
            tickets: BTreeSet::new(),
            roots: 0,
            life: 0,
            is_stopping: false,
            started: HashMap::new(),
            said: HashMap::new(),
            hooked: HashSet::new(),
            last: VecDeque::new(),
        }
    }

    /// One thing happens.
    pub(super) fn next(&mut self) {
        if self.dice.one_in(self.faults.death) {
            return self.die();
        }
        if self.dice.one_in(self.faults.stop) {
            return self.stop();
        }
        if self.machine.len() < TREES && self.dice.one_in(10) {
            return self.submit();
        }
        if !self.go_on() {
            self.submit();
        }
    }

    /// Lets all that runs end, without faults, and checks what is left.
    pub(super) fn drain(&mut self) {
        self.faults = Faults::NONE;
        while self.go_on() {}
        assert_eq!((self.machine.len(), self.tasks.len()), (0, 0), "something is left");
        assert!(self.tickets.is_empty(), "callers wait for ever: {:?}", self.tickets);
        assert_eq!(self.store.held_locks(), [], "locks are left");
        self.ledger.check_outcomes();
        self.check_leaves();
    }

    /// One thing goes on, if anything can.
    fn go_on(&mut self) -> bool {
        let roll = self.dice.below(64);
        for turn in 0..6 {
            let went_on = match (roll + turn) % 6 {
                _ if roll == 0 && turn == 0 => self.let_go(),
                _ if roll == 1 && turn == 0 => self.retry(),
                0 | 1 => self.hear(),
                2 | 3 => self.run_code(),
                4 => self.commit_some(),
                _ => self.read() || self.retry(),
            };
            if went_on {
                return true;
            }
        }
        self.let_go()
    }

    fn submit(&mut self) {
        self.roots += 1;
        let time = u128::from(self.roots) << 80;
        let id = CommandId::from_uuid(Uuid::from_u128(time | u128::from(self.seed)));
        let mut parameters = script::parameters(&mut self.dice, 0);
        let name = ["flow", "flow", "flow", "redo", "leaf"][self.dice.below(5)];
        parameters["root"] = self.roots.into();
        let (spec, locks) = (spec_of(name), locks_of(&parameters));
        let (ticket, parameters) = (self.ticket(), text(&parameters));
        self.tell(Input::Submit(Submit { id, ticket, spec, parameters, locks }));
    }

    fn ticket(&mut self) -> u64 {
        self.inputs += 1;
        let ticket = u64::try_from(self.inputs).expect("a small number");
        self.tickets.insert(ticket);
        ticket
    }

    fn let_go(&mut self) -> bool {
        if self.holds.is_empty() {
            return false;
        }
        let (root, hold) = self.holds.swap_remove(self.dice.below(self.holds.len()));
        let at = Address { root, command: root };
        self.tell(Input::Of { at, what: Happened::Flush { hold } });
        true
    }

    fn retry(&mut self) -> bool {
        let Some(&(root, command)) = self.stuck.first() else { return false };
        self.stuck.remove(&(root, command));
        let ticket = self.ticket();
        self.happened(Address { root, command }, Happened::Retry { ticket });
        true
    }

    fn hear(&mut self) -> bool {
        let Some((at, what)) = self.inbox.pop_front() else { return false };
        self.happened(at, what);
        true
    }

    fn run_code(&mut self) -> bool {
        let ready = self.tasks.values().filter(|task| task.is_ready()).count();
        if ready == 0 {
            return false;
        }
        let chosen = self.dice.below(ready);
        let may_diverge = self.faults.death < usize::MAX;
        let mut tasks = self.tasks.values_mut().filter(|task| task.is_ready());
        let Some(task) = tasks.nth(chosen) else { return false };
        if let Some(said) = task.go_on(&mut self.dice, may_diverge) {
            if let Happened::Ran { reply, .. } = &said {
                self.said.insert(task.at.command, reply.clone());
            }
            self.inbox.push_back((task.at, said));
        }
        true
    }

    fn happened(&mut self, at: Address, what: Happened) {
        let attempt = match &what {
            Happened::Ran { attempt, .. } => Some(*attempt),
            Happened::Polled { attempt, polled } if polled.end.is_some() => Some(*attempt),
            _ => None,
        };
        let is_hooked = matches!(what, Happened::Hooked(_));
        let is_over = |task: &Task| is_hooked || Some(task.attempt) == attempt;
        if self.tasks.get(&at.command).is_some_and(is_over) {
            self.tasks.remove(&at.command);
        }
        if let Happened::Hooked(Reply { result: Ok(_), .. }) = &what {
            self.hooked.insert(at.command);
        }
        match self.reloading.get_mut(&at.root) {
            Some(reloading) => reloading.happened.push((at, what)),
            None => self.tell(Input::Of { at, what }),
        }
    }

    fn tell(&mut self, input: Input) {
        self.inputs += 1;
        self.note(&input);
        if let Input::Of { at, what: Happened::Retry { .. } | Happened::Replay { .. } } = &input {
            self.stuck.remove(&(at.root, at.command));
        }
        let now = i64::try_from(self.inputs).expect("a small number");
        let mut outputs = Vec::new();
        self.machine.handle(Timestamp::from_micros(now), input, &mut outputs);
        for output in outputs {
            match output {
                Output::Do(effect) => self.perform(effect),
                Output::Store(step, effects) => self.queue.push_back((step, effects)),
            }
        }
    }

    fn note(&mut self, input: &Input) {
        if self.last.len() == TOLD {
            self.last.pop_front();
        }
        self.last.push_back(match input {
            Input::Submit(submit) => (submit.id, "submit"),
            Input::Load(load) => (load.root, "load"),
            Input::Stop => (CommandId::from_uuid(Uuid::nil()), "stop"),
            Input::Of { at, what } => (at.command, name_of(what)),
        });
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Accept { ticket } | Effect::Refuse { ticket, .. } => {
                assert!(self.tickets.remove(&ticket), "{ticket} is answered twice");
            }
            Effect::Run(run) => self.start(&run),
            Effect::Give { command, outcomes, replay_is_over } => {
                if let Some(task) = self.tasks.get_mut(&command) {
                    task.tell(Mail::Give { outcomes, replay_is_over });
                }
            }
            Effect::Turn { at, attempt, position, given } => {
                self.happened(at, Happened::Turn { attempt, position, given });
            }
            Effect::LetRun { command, position } => {
                if let Some(task) = self.tasks.get_mut(&command) {
                    self.ledger.check_stored(task.at, &task.given());
                    task.tell(Mail::LetRun { position });
                }
            }
            Effect::Drop { command } => drop(self.tasks.remove(&command)),
            Effect::Reload { at, ticket } => self.reads.push((at, ticket)),
            Effect::Ended { root, result } => {
                assert_eq!(outcome(&self.ledger.rows[&root]), result, "of {root}");
            }
            Effect::Stuck { at, reason } => {
                let expected = ["of its own will", "the hook", "the store refused its data"];
                let text = &reason.message;
                assert!(expected.iter().any(|may| text.starts_with(may)), "{at:?}: {reason}");
                self.stuck.insert((at.root, at.command));
            }
            Effect::Unstuck { root } => self.stuck.retain(|(of, _)| *of != root),
            Effect::Held { root, hold } => self.holds.push((root, hold)),
        }
    }

    fn start(&mut self, run: &Run) {
        let id = run.at.command;
        if self.is_stopping && !matches!(run.kind, RunKind::Leaf) {
            return;
        }
        let row = &self.ledger.rows[&id];
        let status = row.progress.status;
        match &run.kind {
            RunKind::Hook(call) => {
                let expected = match call {
                    Call::EndSuccessfully(_) => CommandStatus::Succeeded,
                    _ => CommandStatus::Failed,
                };
                assert_eq!(status, expected, "a hook of {id}");
            }
            RunKind::Leaf | RunKind::Flow { .. } => {
                assert_eq!((status, row.progress.attempt), (CommandStatus::Active, run.attempt));
                assert_eq!(run.fields, row.command_parameters);
            }
        }
        assert_eq!(run.parent.is_some(), row.parent_command_id.is_some());
        if matches!(run.kind, RunKind::Leaf) {
            let before = self.started.insert(id, self.life);
            assert!(before.is_none_or(|life| life < self.life), "{id} runs twice in one life");
            assert!(before.is_none() || spec_of(run.name).idempotent, "{id} is started again");
        }
        assert!(self.ledger.ancestors(id).all(|id| self.ledger.is_open(id)));
        let before = self.tasks.insert(id, Task::new(run));
        assert!(before.is_none(), "{id} runs already: {before:?}");
    }

    fn die(&mut self) {
        if self.dice.one_in(2) && !self.queue.is_empty() {
            let some = self.dice.below(self.queue.len()) + 1;
            let batch: Vec<_> = self.queue.drain(..some).collect();
            self.apply(&batch);
        }
        self.restart(true);
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.tell(Input::Stop);
        self.reads.clear();
        while self.hear() || self.run_code() || self.commit_some() || self.read() {}
        assert_eq!(self.tasks.len(), 0, "flows run though the engine stops");
        self.is_stopping = false;
        self.restart(false);
    }

    fn restart(&mut self, crashed: bool) {
        self.life += 1;
        self.ledger.counts_deaths = crashed;
        self.machine = Machine::default();
        self.queue.clear();
        self.tasks.clear();
        self.inbox.clear();
        self.reloading.clear();
        self.reads.clear();
        self.holds.clear();
        self.stuck.clear();
        self.tickets.clear();
        self.lease = at_once(self.store.acquire()).expect("a lease");
        for rows in at_once(self.store.open_trees(None, usize::MAX)).expect("it reads") {
            let root = rows.commands[0].root_command_id;
            let load = load(root, rows, Loaded::Start { crashed });
            self.tell(Input::Load(Box::new(load)));
        }
    }

    fn check_leaves(&self) {
        for (id, row) in &self.ledger.rows {
            let is_flow = row.callback_enabled;
            let outcome = outcome(row);
            if failed_from_outside(row) {
                continue;
            }
            if !is_flow {
                assert_eq!(
                    Ok(outcome.clone()),
                    self.said.get(id).map(|r| r.result.clone()).ok_or(row)
                );
            }
            let hooks = script::hooks(&super::super::json(&row.command_parameters));
            let has_own = if outcome.is_ok() { hooks.success } else { hooks.failure };
            assert!(!has_own || self.hooked.contains(id), "its hook was not called: {row:?}");
        }
    }
}

fn name_of(what: &Happened) -> &'static str {
    match what {
        Happened::Granted => "granted",
        Happened::Refused { .. } => "refused",
        Happened::Ran { reply, .. } if reply.result.is_ok() => "ran",
        Happened::Ran { .. } => "ran and failed",
        Happened::Polled { polled, .. } if polled.end.is_some() => "polled and over",
        Happened::Polled { .. } => "polled",
        Happened::Turn { .. } => "turn",
        Happened::Hooked(_) => "hooked",
        Happened::Flush { .. } => "flush",
        Happened::Retry { .. } => "retry",
        Happened::Replay { .. } => "replay",
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, {:?}, input {}, the last:", self.seed, self.faults, self.inputs);
            self.last.iter().for_each(|(id, what)| eprintln!("  {id} {what}"));
        }
    }
}
