//! A model of the runtime: the same rules, one thing at a time, in an order that is rolled.

mod checks;
mod commit;
mod effects;
mod events;
mod orders;
mod outside;
mod restart;
mod rounds;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use self::commit::{Queued, Reloading};
pub(super) use self::events::MOST_EVENTS;
use self::events::Patience;
use self::orders::Caller;
use self::rounds::Rounds;
use super::commands::{at_once, load};
use super::dice::{Dice, mix};
use super::ledger::{HOOK_ATTEMPTS, Ledger};
use super::outside::Outside;
use super::script::Locking;
use super::task::{Task, Wish};
use super::{Faults, Report, Simulation};
use crate::erased::Reply;
use crate::id::CommandId;
use crate::machine::{Address, Happened, Input, Loaded, Machine, Output, Settings};
use crate::retry::Retry;
use crate::store::{Lease, MemoryStore, Store};
use crate::time::Timestamp;

/// How end hooks and undo are tried.
const HOOK_RETRY: Retry = Retry::new(HOOK_ATTEMPTS);
/// How long a tree waits in the machine, by seeds: not at all, for its first poll, or for many.
const SHORT_WAITS: [u64; 3] = [0, 1, 20];

/// Every other seed has less room than trees.
fn machine(Simulation { seed, trees, touches_all, .. }: Simulation) -> Machine {
    let most_trees = if seed.is_multiple_of(2) { usize::MAX } else { trees.div_ceil(2) };
    let short_wait = Duration::from_secs(SHORT_WAITS[(seed % 3) as usize]);
    let machine = Machine::new(Settings { hook_retry: HOOK_RETRY, most_trees, short_wait });
    if touches_all { machine.touching_all() } else { machine }
}

/// Inputs after which what is left to end must have ended.
const LONGEST_END: usize = 100_000;

#[derive(Debug)]
pub(super) struct Runtime {
    plan: Simulation,
    dice: Dice,
    /// The faults of the run, until it is left to end.
    faults: Faults,
    locking: Locking,
    report: Report,
    now: Timestamp,
    machine: Machine,
    store: MemoryStore,
    lease: Lease,
    ledger: Ledger,
    queue: VecDeque<Queued>,
    tasks: BTreeMap<CommandId, Task>,
    alarms: BTreeMap<(Timestamp, CommandId), CommandId>,
    /// What tasks have said and the engine has not heard.
    inbox: VecDeque<(Address, Happened)>,
    reloading: BTreeMap<CommandId, Reloading>,
    /// Stuck flows that are being read.
    reads: Vec<(Address, Option<u64>)>,
    /// Roots that are stored and found no room, and those that rest.
    unadmitted: BTreeSet<CommandId>,
    resting: BTreeSet<CommandId>,
    holds: Vec<(CommandId, u64)>,
    /// What those who wait for a tree were told: this command of it is stuck.
    standing: BTreeMap<CommandId, CommandId>,
    callers: BTreeMap<u64, Caller>,
    /// Leaves that waited for a lock when they were over: the lock may still be granted.
    late: BTreeSet<u64>,
    tickets: u64,
    roots: u64,
    keys: u64,
    /// How many events were published.
    published: u64,
    /// Grows with each start of the engine.
    life: u32,
    is_stopping: bool,
    /// The trees that were on trial when the engine died.
    condemned: BTreeSet<CommandId>,
    /// The commands that were cancelled when this engine started.
    cancelled: BTreeSet<CommandId>,
    /// Steps were rejected in this life.
    had_rejections: bool,
    /// In which life the code of a leaf was started last, at which attempt, and what it said.
    started: HashMap<CommandId, (u32, i32)>,
    said: HashMap<CommandId, (i32, Reply)>,
    /// What is known of the rounds of each command.
    rounds: HashMap<CommandId, Rounds>,
    patience: Patience,
    outside: Outside,
    /// The commands of which the tasks were told to stop since their trees are here.
    told_to_stop: HashMap<CommandId, CommandId>,
    /// Which end hook was begun.
    end_hooks: HashMap<CommandId, bool>,
    last: VecDeque<(Timestamp, CommandId, &'static str)>,
}

impl Runtime {
    pub(super) fn new(plan: Simulation) -> Self {
        let Simulation { seed, faults, keys, .. } = plan;
        let store = MemoryStore::default();
        let lease = at_once(store.acquire()).expect("a lease");
        Self {
            plan,
            dice: Dice::new(seed),
            faults,
            locking: Locking { keys, ..Locking::CALM },
            report: Report::default(),
            now: Timestamp::from_micros(1_000_000),
            machine: machine(plan),
            store,
            lease,
            ledger: Ledger::default(),
            queue: VecDeque::new(),
            tasks: BTreeMap::new(),
            alarms: BTreeMap::new(),
            inbox: VecDeque::new(),
            reloading: BTreeMap::new(),
            reads: Vec::new(),
            unadmitted: BTreeSet::new(),
            resting: BTreeSet::new(),
            holds: Vec::new(),
            standing: BTreeMap::new(),
            callers: BTreeMap::new(),
            late: BTreeSet::new(),
            tickets: 0,
            roots: 0,
            keys: 0,
            published: 0,
            life: 0,
            is_stopping: false,
            condemned: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            had_rejections: false,
            started: HashMap::new(),
            said: HashMap::new(),
            rounds: HashMap::new(),
            patience: Patience::default(),
            outside: Outside::default(),
            told_to_stop: HashMap::new(),
            end_hooks: HashMap::new(),
            last: VecDeque::new(),
        }
    }

    pub(super) fn inputs(&self) -> usize {
        self.report.inputs
    }

    /// One thing happens.
    pub(super) fn next(&mut self) {
        if self.dice.one_in(self.faults.death) {
            return self.die();
        }
        if self.dice.one_in(self.faults.stop) {
            return self.stop();
        }
        if self.dice.one_in(self.faults.order) {
            return self.order();
        }
        if self.dice.one_in(400) {
            self.pass_time();
        }
        if self.dice.one_in(60) {
            return self.publish();
        }
        if self.machine.len() < self.plan.trees && self.dice.one_in(10) {
            return self.submit();
        }
        if !self.go_on() && !self.pass_time() {
            self.submit();
        }
    }

    /// Lets all that runs end, without faults, and checks what is left.
    pub(super) fn drain(mut self) -> Report {
        self.faults = Faults::NONE;
        let (mut rounds, longest) = (0, self.report.inputs * 20 + LONGEST_END);
        loop {
            while self.go_on() || self.pass_time() {
                assert!(self.report.inputs < longest, "it goes on for ever");
            }
            self.check_standing();
            let stuck = self.ledger.stuck_commands();
            if stuck.is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds < 10_000, "it does not end: {stuck:?}");
            for Address { root, .. } in stuck {
                self.order_at(Address { root, command: root }, orders::Order::Retry);
            }
        }
        let open = self.ledger.rows.values().filter(|row| !row.progress.status.is_terminal());
        let open: Vec<_> = open.collect();
        let held = self.machine.len();
        let left = self.ledger.standstill();
        assert!(open.is_empty(), "it never ends, with {held} trees in the machine:\n{left}");
        assert_eq!((self.machine.len(), self.tasks.len()), (0, 0), "something is left");
        assert!(self.callers.is_empty(), "callers wait for ever: {:?}", self.callers);
        assert_eq!(self.store.held_locks(), [], "locks are left");
        self.ledger.check_outcomes(&self.said);
        self.ledger.check_nobody_listens();
        self.ledger.check_marks();
        self.ledger.check_intervals();
        self.ledger.check_store(&self.store);
        self.count();
        self.report
    }

    fn count(&mut self) {
        let rows = &self.ledger.rows;
        self.report.trees = rows.values().filter(|row| row.parent_command_id.is_none()).count();
        self.report.commands = rows.len();
        let failed = |row: &&crate::entity::CommandEntity| row.progress.failure.is_some();
        self.report.failures = rows.values().filter(failed).count();
        self.report.compensations = self.ledger.compensations;
        self.report.stuck = self.ledger.stuck;
        self.report.convictions = self.ledger.convictions;
        self.report.timeouts = self.ledger.timeouts;
        self.report.events = self.published;
        self.report.heard = self.ledger.heard;
        self.report.launches = self.ledger.launches;
        self.report.tasks = self.ledger.tasks_ended;
        self.report.queued = self.ledger.queued;
        self.report.grants = self.ledger.grants;
        self.report.deadlocks = self.ledger.deadlocks;
        self.report.lock_timeouts = self.ledger.lock_timeouts;
        let text = format!("{rows:?}{:?}{:?}", self.ledger.onces, self.ledger.entries);
        let digest = |digest: u64, byte: u8| mix(digest ^ u64::from(byte));
        self.report.digest = text.bytes().fold(0, digest);
    }

    /// One thing goes on, if anything can.
    fn go_on(&mut self) -> bool {
        let roll = self.dice.below(64);
        for turn in 0..7 {
            let went_on = match (roll + turn) % 6 {
                _ if roll == 0 && turn == 0 => self.let_go(),
                0 => self.ring() || self.admit(),
                1 => self.hear(),
                2 | 3 => self.run_code(),
                4 => self.commit_some(),
                _ => self.read() || self.hear(),
            };
            if went_on {
                return true;
            }
        }
        let lets_go = self.let_go();
        if !lets_go {
            self.check_inboxes();
        }
        lets_go
    }

    /// The next alarm that is due rings.
    fn ring(&mut self) -> bool {
        let first = self.alarms.first_entry().filter(|first| first.key().0 <= self.now);
        let Some(first) = first else { return false };
        let ((when, command), root) = first.remove_entry();
        self.happened(Address { root, command }, Happened::Due(when));
        true
    }

    /// It becomes as late as something waits for next, if anything does.
    fn pass_time(&mut self) -> bool {
        self.check_deadlines();
        self.check_lines();
        let alarm = self.alarms.first_key_value().map(|((when, _), _)| *when);
        let waits = self.tasks.values().map(|task| task.until).filter(|until| *until > self.now);
        let Some(next) = alarm.into_iter().chain(waits).min() else { return false };
        self.now = self.now.max(next);
        true
    }

    /// A root that found no room is admitted, if there is some now.
    fn admit(&mut self) -> bool {
        let first = self.unadmitted.first().copied().filter(|_| self.machine.room() > 0);
        first.is_some_and(|root| self.bring_back(root))
    }

    /// Loads a tree that the machine does not hold, though it is open.
    fn bring_back(&mut self, root: CommandId) -> bool {
        let is_absent = self.unadmitted.remove(&root) | self.resting.remove(&root);
        if is_absent {
            let rows = at_once(self.store.tree(root)).expect("it reads").expect("a tree");
            self.tell(Input::Load(Box::new(load(root, rows, Loaded::Admitted))));
        }
        is_absent
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

    fn hear(&mut self) -> bool {
        let Some((at, what)) = self.inbox.pop_front() else { return false };
        self.happened(at, what);
        true
    }

    fn run_code(&mut self) -> bool {
        let now = self.now;
        let ready = self.tasks.values().filter(|task| task.is_ready(now)).count();
        if ready == 0 {
            return false;
        }
        let chosen = self.dice.below(ready);
        let mut tasks = self.tasks.values_mut().filter(|task| task.is_ready(now));
        let Some(task) = tasks.nth(chosen) else { return false };
        let at = task.at;
        if task.is_inbox() {
            self.read_inbox(at);
        } else if task.is_ask() {
            self.ask_outside(at);
        } else if task.has_asks() {
            self.tickets += 1;
            let (ticket, attempt) = (self.tickets, task.attempt);
            let Some(wish) = task.asks(ticket) else { return true };
            let (caller, what) = match wish {
                Wish::Register(entry) => {
                    (Caller::Leaf(at), Happened::Registers { attempt, ticket, entry })
                }
                Wish::Subscribe(key) => {
                    let what = Happened::Subscribes { attempt, ticket, key: key.clone() };
                    (Caller::Subscribe(at, key), what)
                }
                Wish::Task(task) => {
                    let what = Happened::AddsTask { attempt, ticket, task: task.clone() };
                    (Caller::Task(at, task), what)
                }
                Wish::Lock(lock) => {
                    let what = Happened::AsksLock { attempt, ticket, lock: lock.clone() };
                    (Caller::Lock(at, lock), what)
                }
            };
            self.callers.insert(ticket, caller);
            self.inbox.push_back((at, what));
        } else if let Some(said) = task.go_on(&mut self.dice, self.faults.divergence) {
            self.has_said(at, &said);
            self.inbox.push_back((at, said));
        }
        true
    }

    /// Keeps what user code said, for the checks.
    fn has_said(&mut self, at: Address, said: &Happened) {
        let reply = match said {
            Happened::Ran { attempt, reply } => {
                self.said.insert(at.command, (*attempt, reply.clone()));
                Some(reply)
            }
            Happened::Polled { polled, .. } => match &polled.end {
                Some(crate::machine::FlowEnd::Returned { reply, .. }) => Some(&**reply),
                _ => None,
            },
            Happened::RoundOver(reply) => {
                self.round_has_said(at, reply);
                None
            }
            _ => None,
        };
        if reply.is_some_and(|reply| reply.refused) {
            self.ledger.refused.insert(at.command);
        }
        if let (Happened::Hooked(Reply { result: Ok(_), .. }), Some(task)) =
            (said, self.tasks.get(&at.command))
        {
            self.ledger.is_through(at.command, task.code());
        }
    }

    fn happened(&mut self, at: Address, what: Happened) {
        let is_over = |task: &Task| match &what {
            Happened::Ran { attempt, .. } => task.is_leaf() && task.attempt == *attempt,
            Happened::RoundOver(_) | Happened::NoEvents | Happened::TasksAsked(_) => {
                task.is_round()
            }
            // What a dropped flow still says is not the end of the hook that runs since.
            Happened::Polled { attempt, polled } => {
                polled.end.is_some() && task.is_flow() && task.attempt == *attempt
            }
            Happened::Hooked(_) => !task.is_leaf() && !task.is_flow() && !task.is_round(),
            _ => false,
        };
        if self.tasks.get(&at.command).is_some_and(is_over) {
            self.tasks.remove(&at.command);
        }
        if let Some(reloading) = self.reloading.get_mut(&at.root) {
            reloading.happened.push((at, what));
            return;
        }
        let brings_back = !self.is_stopping
            && matches!(
                what,
                Happened::Due(_)
                    | Happened::HasLocks { .. }
                    | Happened::HasEvents
                    | Happened::Retry { .. }
                    | Happened::Cancel { .. }
                    | Happened::Abandon { .. }
            );
        if brings_back {
            self.bring_back(at.root);
        }
        self.tell(Input::Of { at, what });
    }

    fn tell(&mut self, input: Input) {
        self.report.inputs += 1;
        if let Input::Load(load) = &input {
            self.forget_rounds(load.root);
            self.told_to_stop.retain(|_, root| *root != load.root);
        }
        self.note(&input);
        let micros = i64::try_from(1 + self.dice.below(1000)).expect("a small number");
        self.now = Timestamp::from_micros(self.now.as_micros() + micros);
        self.note_patience(&input);
        let mut outputs = Vec::new();
        self.machine.handle(self.now, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Do(effect) => self.perform(effect),
                Output::Store(step, effects) => self.queue.push_back((step, effects)),
            }
        }
    }
}
