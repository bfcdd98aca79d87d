//! Drives the machine by hand, over a store in memory that takes each step at once, and writes
//! down what comes out.
//!
//! A command is named by its path: `/` is the root, `/1` its child at position 1, and `B/1` that of
//! another root. A stored step is `[writes] -> effects`, with `locks?` before one that may be
//! refused.

mod show;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::context::requests::{Ask, AskedChild, AskedUndo};
use crate::entity::{Compensation, Progress};
use crate::erased::{Hooks, Reply};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::{LockConflict, LockProperties, WaitingRequest};
use crate::machine::step::{Step, Write};
use crate::machine::{
    Address, Entry, FlowEnd, Forgotten, Happened, Input, Loaded, Machine, Output, Polled, Settings,
    Stored, Submit,
};
use crate::retry::{Again, Retry};
use crate::store::{Committed, Lease, MemoryStore, Outcome, Store};
use crate::testing::simulator::commands::{
    at_once, failure, load, locks_of, requests_of, spec_of, text,
};
use crate::time::Timestamp;

/// The machine, and what is stored.
pub(super) struct Hand {
    machine: Machine,
    store: MemoryStore,
    lease: Lease,
    now: i64,
    hook_retry: Retry,
    /// Steps are kept and not stored, from now on.
    pub(super) is_cut: bool,
    lost: Vec<Step>,
    /// What the store said of requests for locks since they were taken.
    said: RefCell<Vec<String>>,
}

pub(super) const ROOT: CommandId = CommandId::from_uuid(Uuid::from_u128(1 << 80));
/// Own end hooks, and no own `compensate`.
pub(super) const OWN_HOOKS: Hooks = Hooks { success: true, failure: true, ..Hooks::NONE };
/// Hooks are tried once, so a failure of one is seen at once.
const ONCE: Retry = Retry::new(1);
/// A second, in microseconds.
pub(super) const SECOND: i64 = 1_000_000;
const NO_HOOKS: Hooks = Hooks::NONE;

/// The line without the write that takes all late requests of a leaf out of the line.
fn but_for_earlier_runs(line: String) -> Option<String> {
    let leaves = line.strip_prefix("[leave ").and_then(|line| line.split_once(" all"));
    let Some((_, others)) = leaves else { return Some(line) };
    others.strip_prefix(", ").map(|others| format!("[{others}"))
}

impl Hand {
    pub(super) fn new() -> Self {
        Self::with_hook_retry(ONCE)
    }

    pub(super) fn with_hook_retry(hook_retry: Retry) -> Self {
        let store = MemoryStore::default();
        let lease = at_once(store.acquire()).expect("a lease");
        let (machine, lost) = (Machine::unlimited(hook_retry), Vec::new());
        let said = RefCell::default();
        Self { machine, store, lease, now: 0, hook_retry, is_cut: false, lost, said }
    }

    /// One whose trees stay here for waits of so many seconds, and are idle meanwhile.
    pub(super) fn waiting_for(seconds: u64) -> Self {
        let (hook_retry, short_wait) = (ONCE, Duration::from_secs(seconds));
        let machine = Machine::new(Settings { hook_retry, most_trees: usize::MAX, short_wait });
        Self { machine, ..Self::new() }
    }

    /// With a machine whose polls touch their trees.
    pub(super) fn touching_all(self) -> Self {
        Self { machine: self.machine.touching_all(), ..self }
    }

    /// Whether the tree lies still until a poll says something new.
    pub(super) fn lies_still(&self) -> bool {
        self.machine.lies_still(ROOT)
    }

    /// The time of the last input.
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// Seconds go by.
    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += seconds * SECOND;
    }

    pub(super) fn tell(&mut self, input: Input) -> Vec<String> {
        // Whether a tree may rest, and what a leaf may have asked for in an earlier run, is told by
        // the tests of that.
        let is_rest = |line: &String| line.contains("-> rest");
        let told = self.tell_all(input).into_iter().filter(|line| !is_rest(line));
        told.filter_map(but_for_earlier_runs).collect()
    }

    /// What follows from an input, with what is said of rest and of earlier runs.
    pub(super) fn tell_all(&mut self, input: Input) -> Vec<String> {
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
        outputs.iter().map(show::show).collect()
    }

    pub(super) fn store_now(&self, step: &Step) {
        let steps = Arc::from([step.clone()]);
        let Committed { outcomes, granted, .. } =
            at_once(self.store.commit(&self.lease, steps)).expect("our lease");
        assert!(!matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
        let said = match &outcomes[0] {
            Outcome::Queued { .. } => Some("waits"),
            Outcome::Conflict(_) | Outcome::WouldDeadlock(_) => Some("refused"),
            _ => None,
        };
        let mut all = self.said.borrow_mut();
        all.extend(said.map(|said| format!("{said} {}", show::path(step.command))));
        all.extend(granted.iter().map(|grant| format!("granted {}", show::path(grant.command))));
    }

    /// What the store said of requests for locks since this was asked.
    pub(super) fn said(&self) -> Vec<String> {
        self.said.take()
    }

    /// The lock request of this number waits in line.
    pub(super) fn queued(&mut self, path: &str, number: i32, until: Option<i64>) -> Vec<String> {
        let until = until.map(Timestamp::from_micros);
        self.say(path, Happened::Queued { number, until })
    }

    /// The lock request of this number was granted, after it has waited.
    pub(super) fn has_locks(&mut self, path: &str, number: i32) -> Vec<String> {
        self.say(path, Happened::HasLocks { number })
    }

    /// A new engine, with room for so many trees, reads the one of this root.
    pub(super) fn restart_with_room(&mut self, most_trees: usize, root: CommandId) -> Vec<String> {
        let (hook_retry, short_wait) = (self.hook_retry, Duration::from_secs(1));
        self.machine = Machine::new(Settings { hook_retry, most_trees, short_wait });
        self.read_again(root, Loaded::Admitted)
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

    /// Submits with a key, not to start before `start_at`.
    pub(super) fn submit_later(
        &mut self,
        id: CommandId,
        name: &str,
        key: Option<&str>,
        start_at: Option<i64>,
    ) -> Vec<String> {
        let (spec, key) = (spec_of(name), key.map(Into::into));
        let start_at = start_at.map(Timestamp::from_micros);
        let (locks, again, parameters) = (LockProperties::default(), None, "{}".into());
        let submit = Submit { id, ticket: 1, spec, parameters, locks, key, start_at, again };
        self.tell(Input::Submit(submit))
    }

    pub(super) fn submit_as(
        &mut self,
        id: CommandId,
        name: &str,
        parameters: &Value,
    ) -> Vec<String> {
        let (spec, locks) = (spec_of(name), locks_of(name, parameters));
        let parameters = text(parameters);
        let (key, start_at, again) = (None, None, None);
        self.tell(Input::Submit(Submit {
            id,
            ticket: 1,
            spec,
            parameters,
            locks,
            key,
            start_at,
            again,
        }))
    }

    pub(super) fn say(&mut self, path: &str, what: Happened) -> Vec<String> {
        self.tell(Input::Of { at: Address { root: root(path), command: id(path) }, what })
    }

    /// A hook or an undo is through.
    pub(super) fn hooked(&mut self, path: &str) -> Vec<String> {
        self.say(path, Happened::Hooked(ok("null")))
    }

    /// A `compensate` of its own is through.
    pub(super) fn compensated(&mut self, path: &str) -> Vec<String> {
        let hooks = Hooks { compensate: true, ..NO_HOOKS };
        self.say(path, Happened::Hooked(Reply { hooks, ..ok("null") }))
    }

    pub(super) fn cancel(&mut self, path: &str) -> Vec<String> {
        self.say(path, Happened::Cancel { ticket: 7, reason: "enough".into() })
    }

    pub(super) fn retry(&mut self, path: &str) -> Vec<String> {
        self.say(path, Happened::Retry { ticket: 8 })
    }

    pub(super) fn abandon(&mut self, path: &str) -> Vec<String> {
        self.say(path, Happened::Abandon { ticket: 9, reason: "hopeless".into() })
    }

    /// It is this time.
    pub(super) fn due(&mut self, path: &str, micros: i64) -> Vec<String> {
        self.now = self.now.max(micros);
        self.say(path, Happened::Due(Timestamp::from_micros(micros)))
    }

    /// The time that an alarm among `out` is set to.
    pub(super) fn alarm(out: &[String]) -> i64 {
        let (_, at) = out.iter().find_map(|line| line.rsplit_once(" at ")).expect("an alarm");
        let digits: String = at.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a time")
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
        requests_of(&loaded, id(path))
    }

    /// A new engine reads what is stored.
    pub(super) fn restart(&mut self, crashed: bool) -> Vec<String> {
        self.reload(Loaded::Start { crashed })
    }

    pub(super) fn reload(&mut self, cause: Loaded) -> Vec<String> {
        self.machine = Machine::unlimited(self.hook_retry);
        self.is_cut = false;
        self.read_again(ROOT, cause)
    }

    fn read_again(&mut self, root: CommandId, cause: Loaded) -> Vec<String> {
        let rows = at_once(self.store.tree(root)).expect("it reads").expect("a tree");
        self.tell(Input::Load(Box::new(load(root, rows, cause))))
    }

    /// A new engine reads all trees that are open, in the order of their roots.
    pub(super) fn restart_all(&mut self, crashed: bool) -> Vec<String> {
        self.machine = Machine::unlimited(self.hook_retry);
        let trees = at_once(self.store.open_trees(None, None, usize::MAX)).expect("it reads");
        let roots = trees.iter().map(|rows| rows.commands[0].root_command_id);
        let roots: Vec<_> = roots.collect();
        roots
            .into_iter()
            .flat_map(|root| self.read_again(root, Loaded::Start { crashed }))
            .collect()
    }

    pub(super) fn stop(&mut self) -> Vec<String> {
        self.tell(Input::Stop)
    }

    /// When the undo command that a command registered at this position was through.
    pub(super) fn is_undone(&self, path: &str, position: i32) -> bool {
        let rows = at_once(self.store.tree(root(path))).expect("it reads").expect("a tree");
        let is_it = |row: &&Compensation| row.command_id == id(path) && row.position == position;
        let row = rows.compensations.iter().find(is_it);
        row.expect("an undo command").compensated_at.is_some()
    }

    /// What the machine gives away of a tree whose step was rejected.
    pub(super) fn forget(&mut self) -> Forgotten {
        self.machine.forget(ROOT)
    }

    /// How many trees are admitted.
    pub(super) fn admitted(&self) -> usize {
        usize::MAX - self.machine.room()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.machine.len() == 0
    }

    pub(super) fn row(&self, path: &str) -> Progress {
        at_once(self.store.entity(id(path))).expect("it reads").expect("a row").progress
    }

    /// Who waits for locks, in order.
    pub(super) fn lines(&self) -> Vec<WaitingRequest> {
        at_once(self.store.locks(None)).expect("it reads").waiting
    }

    /// Who holds locks, and which.
    pub(super) fn locks(&self) -> Vec<(CommandId, String)> {
        let held = self.store.held_locks();
        let mut held: Vec<_> = held.into_iter().map(|held| (held.owner, held.lock.key)).collect();
        held.sort();
        held
    }
}

/// The root of a path.
pub(super) fn root(path: &str) -> CommandId {
    let letter = path.bytes().next().filter(u8::is_ascii_uppercase).unwrap_or(b'A');
    CommandId::from_uuid(Uuid::from_u128(u128::from(letter - b'A' + 1) << 80))
}

/// The command at a path.
pub(super) fn id(path: &str) -> CommandId {
    let root = root(path);
    let positions = path.split('/').skip(1).filter(|part| !part.is_empty());
    positions.fold(root, |id, position| id.child(root, position.parse().expect("a position")))
}

/// A child without locks; `n` tells its parameters from those of others.
pub(super) fn child(position: i32, name: &'static str, n: i32) -> Ask {
    child_with(position, name, &json!({ "n": n }))
}

pub(super) fn child_with(position: i32, name: &'static str, parameters: &Value) -> Ask {
    let child = AskedChild {
        spec: spec_of(name),
        locks: locks_of(name, parameters),
        parameters: Ok(text(parameters)),
        canonical: Some(parameters.clone()),
        retry: None,
    };
    Ask::Child { position, child: Box::new(child) }
}

pub(super) fn sleep(position: i32, seconds: i64) -> Ask {
    Ask::Sleep { position, micros: seconds * SECOND }
}

/// A flow registers the undo command `undo`.
pub(super) fn register(position: i32, n: i32) -> Ask {
    let parameters = json!({ "n": n });
    let (text, canonical) = (text(&parameters), Some(parameters));
    let undo = AskedUndo { name: "undo", parameters: text, canonical };
    Ask::Register { position, undo: Box::new(undo) }
}

/// The first attempt of a leaf registers the undo command `undo`.
pub(super) fn registers(n: i32) -> Happened {
    let entry = Entry { name: "undo".into(), parameters: text(&json!({ "n": n })) };
    Happened::Registers { attempt: 1, ticket: 6, entry }
}

pub(super) fn once(position: i32, name: &str) -> Ask {
    Ask::Once { position, name: name.into() }
}

pub(super) fn once_ended(position: i32, value: &str) -> Ask {
    Ask::OnceEnded { position, result: Ok(value.into()) }
}

pub(super) fn ok(value: &str) -> Reply {
    let again = Again::AsDeclared;
    Reply {
        result: Ok(value.into()),
        state: None,
        refused: false,
        hooks: NO_HOOKS,
        again,
        next: None,
    }
}

pub(super) fn err(message: &str) -> Reply {
    Reply { result: Err(failure(message)), ..ok("") }
}

pub(super) fn refused(message: &str) -> Reply {
    Reply { refused: true, ..err(message) }
}

pub(super) fn with_hooks(reply: Reply) -> Reply {
    Reply { hooks: OWN_HOOKS, ..reply }
}

/// With a `compensate` of its own, and no end hook.
pub(super) fn undoable(reply: Reply) -> Reply {
    Reply { hooks: Hooks { compensate: true, ..NO_HOOKS }, ..reply }
}

/// With an own `compensate` and own end hooks.
pub(super) fn with_all_hooks(reply: Reply) -> Reply {
    Reply { hooks: Hooks { compensate: true, ..OWN_HOOKS }, ..reply }
}

pub(super) fn over(reply: Reply) -> Option<FlowEnd> {
    Some(FlowEnd::Returned { reply: Box::new(reply), unseen: None })
}

/// The first poll of a run, that asks.
pub(super) fn polled_with(asks: Vec<Ask>) -> Polled {
    Polled { asks, ..Polled::default() }
}

/// A poll that answers what was given, and asks.
pub(super) fn answer_with(asks: Vec<Ask>) -> Polled {
    Polled { given: true, ..polled_with(asks) }
}

/// A poll that returns, and answers nothing.
pub(super) fn over_with(reply: Reply) -> Polled {
    Polled { end: over(reply), ..Polled::default() }
}

/// A poll that answers what was given, and returns.
pub(super) fn answer_over_with(reply: Reply) -> Polled {
    Polled { given: true, ..over_with(reply) }
}

pub(super) fn conflict() -> LockConflict {
    LockConflict {
        group: "disk".into(),
        key: "a".into(),
        mode: crate::lock::LockMode::Exclusive,
        holder: ROOT,
        command_type: "flow".into(),
        since: Timestamp::default(),
        reason: crate::lock::ConflictReason::Held,
    }
}

pub(super) fn rejected() -> Failure {
    Failure::new(FailureKind::Rejected, "the store refused its data: odd")
}
