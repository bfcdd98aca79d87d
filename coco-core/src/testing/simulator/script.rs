//! What a flow does: stages of branches side by side, derived from a seed in its parameters.
//!
//! A branch asks for one thing after the other. A stage is over when all its branches are, or the
//! first, or at the first failure; what it still waits for then is dropped. The output is a digest
//! of what each branch was given, so that an outcome at another branch makes another output.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::commands::{locks_of, spec_of, text};
use super::dice::{Dice, mix};
use super::launches;
use super::rounds::Started;
use crate::callback::CallbackKind;
use crate::context::requests::{Ask, AskedChild, AskedUndo, Ended};
use crate::erased::Hooks;
use crate::failure::{Failure, FailureKind};
use crate::lock::{Lock, LockMode, LockScope};
use crate::retry::Retry;

pub(super) const DEEPEST: u64 = 2;
/// The name of all undo commands.
pub(super) const UNDO: &str = "undo";

/// A run of a flow.
#[derive(Debug)]
pub(super) struct Script {
    stages: Vec<Stage>,
    stage: usize,
    branches: Vec<Branch>,
    /// The branch that waits for the answer of each position.
    waiting: BTreeMap<i32, usize>,
    next_position: i32,
    digest: u64,
    failed: Option<Failure>,
    /// The first failure that nobody waited for any more.
    pub(super) unseen: Option<Failure>,
}

/// What a flow returned.
pub(super) type End = Result<Arc<str>, Failure>;

#[derive(Debug)]
struct Stage {
    branches: Vec<Vec<Request>>,
    wait: Wait,
    swallows: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    All,
    First,
    FirstFailure,
}

#[derive(Clone, Debug)]
enum Request {
    Child(&'static str, Value, Option<Retry>),
    /// A child whose parameters no store takes.
    Unstorable,
    Once(Arc<str>),
    /// A sleep of so many microseconds.
    Sleep(i64),
    /// An undo command.
    Register(Value),
    /// A lock more.
    Lock(Lock),
    /// A tree of its own.
    Launch(Started),
    /// A position that asks for nothing, as `uuid` takes one.
    Nothing,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    next: usize,
    is_over: bool,
}

/// How much a tree does with locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locking {
    /// How many keys there are. Where there are few, nearly everything locks some, and waits.
    pub(super) keys: usize,
    /// Whether anything waits for a lock.
    pub(super) waits: bool,
}

impl Locking {
    /// Many keys, and few who lock any.
    pub(super) const CALM: Self = Self { keys: 6, waits: true };

    fn is_crowded(self) -> bool {
        self.keys < Self::CALM.keys
    }

    pub(super) fn of(parameters: &Value) -> Self {
        let keys = parameters["keys"].as_u64().expect("a number");
        let keys = usize::try_from(keys).expect("a small number");
        Self { keys, waits: parameters["in haste"] != true }
    }

    fn key(self, dice: &mut Dice) -> String {
        dice.below(self.keys).to_string()
    }

    /// What a command asks for to begin, and how long it waits.
    fn declare(self, dice: &mut Dice, parameters: &mut Value) {
        let (one, two) = if self.is_crowded() { (2, 6) } else { (5, 20) };
        if dice.one_in(one) {
            let field = if dice.one_in(2) { "x" } else { "s" };
            parameters[field] = json!([self.key(dice)]);
        }
        if dice.one_in(two) {
            parameters["x"] = json!([self.key(dice), self.key(dice)]);
        }
        let waits = if self.is_crowded() { 6 } else { 2 };
        match dice.below(8) {
            _ if !self.waits => {}
            0 => parameters["wait"] = json!(dice.below(4000)),
            roll if roll < waits => parameters["wait"] = json!(true),
            _ => {}
        }
    }

    fn lock(self, dice: &mut Dice) -> Lock {
        let mode = if dice.one_in(2) { LockMode::Exclusive } else { LockMode::Shared };
        Lock { group: "disk".into(), key: self.key(dice), mode }
    }
}

/// Parameters of a command, and its name.
pub(super) fn command(dice: &mut Dice, depth: u64, locking: Locking) -> (&'static str, Value) {
    let leaves = ["leaf", "leaf", "leaf", "keep", "redo", "redo", "tried", "gamble", "timed"];
    let rare = ["pair", "single", "timed single", "single"];
    let flows = ["flow", "flow", "flow", "timed flow", "single flow"];
    let (flow, rounds) = if depth < DEEPEST { (5, 4) } else { (0, 0) };
    let name = match dice.below(17 + flow + rounds) {
        0..11 => leaves[dice.below(leaves.len())],
        11..15 => rare[dice.below(rare.len())],
        15..17 => POLLED[dice.below(POLLED.len())],
        roll if roll < 17 + flow => flows[dice.below(flows.len())],
        _ => ROUNDS[dice.below(ROUNDS.len())],
    };
    (name, parameters(dice, name, depth + 1, locking))
}

/// Commands with rounds that start no children.
const POLLED: [&str; 4] = ["polled", "polled", "timed polled", "pair polled"];
/// Commands with rounds that start children.
pub(super) const ROUNDS: [&str; 9] =
    ["fan", "fan", "timed fan", "next", "next", "single next", "custom", "custom", "timed custom"];

pub(super) fn parameters(dice: &mut Dice, name: &str, depth: u64, locking: Locking) -> Value {
    let seed = dice.roll() >> 12;
    let mut parameters = json!({ "seed": seed, "depth": depth, "keys": locking.keys });
    locking.declare(dice, &mut parameters);
    let spec = spec_of(name);
    // Who has a place waits for no lock: who has that may wait for the place.
    let (is_limited, is_flow) = (spec.concurrency.is_some(), spec.callback != CallbackKind::None);
    if !locking.waits || (is_limited && is_flow) {
        parameters["in haste"] = true.into();
    }
    let waits_in_place = is_limited && !parameters["wait"].is_null();
    if spec.scope != LockScope::None && !waits_in_place {
        parameters["late"] = true.into();
    }
    parameters
}

/// The locks that a leaf with these parameters asks for in this attempt.
pub(super) fn late_locks(parameters: &Value, attempt: i32) -> Vec<Lock> {
    let locking = Locking::of(parameters);
    let seed = parameters["seed"].as_u64().unwrap_or(0) ^ 0x10C8;
    let mut dice = Dice::new(seed.wrapping_add(u64::try_from(attempt).unwrap_or(0)));
    let some = if dice.one_in(if locking.is_crowded() { 3 } else { 20 }) { 2 } else { 0 };
    let may = parameters["late"] == true;
    (0..some).filter(|_| may).map(|_| locking.lock(&mut dice)).collect()
}

/// The parameters of an undo command.
pub(super) fn undo(roll: u64) -> Value {
    json!({ "undo": roll >> 12 })
}

/// The undo commands that a leaf with these parameters registers, in this order.
pub(super) fn entries(parameters: &Value) -> Vec<Value> {
    let bits = mix(parameters["seed"].as_u64().unwrap_or(0) ^ 0x5EED);
    let some = if bits & 3 == 0 { (bits >> 2) % 3 } else { 0 };
    (0..some).map(|n| undo(mix(bits + n))).collect()
}

/// The hooks that a command with these parameters has of its own.
pub(super) fn hooks(parameters: &Value) -> Hooks {
    let bits = mix(parameters["seed"].as_u64().unwrap_or(0));
    let (compensate, success, failure) = (bits & 8 == 0, bits & 3 == 0, bits & 4 == 0);
    Hooks { compensate, success, failure, failed_round: bits & 16 == 0 }
}

impl Script {
    pub(super) fn new(parameters: &Value) -> Self {
        let seed = parameters["seed"].as_u64().expect("a seed");
        let depth = parameters["depth"].as_u64().expect("a depth");
        let mut dice = Dice::new(seed);
        let locking = Locking::of(parameters);
        let late = if parameters["late"] == true {
            if locking.is_crowded() { 6 } else { 40 }
        } else {
            usize::MAX
        };
        let mut request = |dice: &mut Dice| {
            if dice.one_in(late) {
                return Request::Lock(locking.lock(dice));
            }
            Request::new(dice, depth, locking)
        };
        let stages = (0..=dice.below(3)).map(|_| Stage::new(&mut dice, &mut request)).collect();
        let (digest, next_position) = (mix(seed), 0);
        let mut script = Self {
            stages,
            stage: 0,
            branches: Vec::new(),
            waiting: BTreeMap::new(),
            next_position,
            digest,
            failed: None,
            unseen: None,
        };
        script.enter_stage();
        script
    }

    fn enter_stage(&mut self) {
        let branches = self.stages.get(self.stage).map_or(0, |stage| stage.branches.len());
        self.branches = vec![Branch::default(); branches];
    }

    /// Runs until it is pending.
    pub(super) fn poll(&mut self, replaying: bool, asks: &mut Vec<Ask>) -> Option<End> {
        loop {
            let Some(stage) = self.stages.get(self.stage) else {
                return Some(Ok(text(&json!(self.digest))));
            };
            for (index, branch) in self.branches.iter_mut().enumerate() {
                if branch.is_over || self.waiting.values().any(|waits| *waits == index) {
                    continue;
                }
                while matches!(stage.branches[index].get(branch.next), Some(Request::Nothing)) {
                    (self.next_position, branch.next) = (self.next_position + 1, branch.next + 1);
                }
                match stage.branches[index].get(branch.next) {
                    None => branch.is_over = true,
                    Some(request) => {
                        asks.push(request.ask(self.next_position, replaying));
                        self.waiting.insert(self.next_position, index);
                        self.next_position += 1;
                    }
                }
            }
            let all = self.branches.iter().all(|branch| branch.is_over);
            let is_over = match stage.wait {
                Wait::All => all,
                Wait::First => self.branches.iter().any(|branch| branch.is_over),
                Wait::FirstFailure => all || self.failed.is_some(),
            };
            if !is_over {
                return None;
            }
            for (position, branch) in std::mem::take(&mut self.waiting) {
                let request = stage.branches[branch].get(self.branches[branch].next);
                if matches!(request, Some(Request::Once(_))) {
                    asks.push(Ask::Dropped { position });
                }
            }
            if let Some(failure) = self.failed.take()
                && !stage.swallows
            {
                return Some(Err(failure));
            }
            self.stage += 1;
            self.enter_stage();
        }
    }

    /// Takes one outcome.
    pub(super) fn answer(&mut self, position: i32, ended: Ended) {
        let Some(branch) = self.waiting.remove(&position) else {
            if let Err(failure) = ended.result {
                self.unseen.get_or_insert(failure);
            }
            return;
        };
        let (answer, failed) = match ended.result {
            Ok(output) => (output.to_string(), None),
            Err(failure) => (failure.to_string(), Some(failure)),
        };
        let place = u64::try_from(branch).expect("a small number");
        self.digest = answer.bytes().fold(mix(self.digest ^ place), |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        }) >> 12;
        self.branches[branch].next += 1;
        self.branches[branch].is_over = failed.is_some();
        self.failed = self.failed.take().or(failed);
    }

    pub(super) fn waits_for(&self, position: i32) -> bool {
        self.waiting.contains_key(&position)
    }
}

impl Stage {
    fn new(dice: &mut Dice, mut request: impl FnMut(&mut Dice) -> Request) -> Self {
        let wait = [Wait::All, Wait::All, Wait::First, Wait::FirstFailure][dice.below(4)];
        let most = if wait == Wait::All && dice.one_in(10) { 8 } else { 3 };
        let branches = (0..=dice.below(most))
            .map(|_| (0..=dice.below(3)).map(|_| request(dice)).collect())
            .collect();
        Self { branches, wait, swallows: dice.below(3) > 0 }
    }
}

impl Request {
    fn new(dice: &mut Dice, depth: u64, locking: Locking) -> Self {
        match dice.below(40) {
            0 => Self::Unstorable,
            1 | 2 => Self::Nothing,
            8 | 9 => Self::Sleep(i64::try_from(dice.below(8_000_000)).expect("a small number")),
            10..13 => Self::Register(undo(dice.roll())),
            3 if depth < DEEPEST => Self::Launch(launches::root(dice, depth, locking)),
            3..8 => Self::Once(format!("step {}", dice.below(3)).into()),
            _ => {
                let (name, parameters) = command(dice, depth, locking);
                Self::Child(name, parameters, dice.one_in(8).then_some(Retry::new(2)))
            }
        }
    }

    fn ask(&self, position: i32, replaying: bool) -> Ask {
        let (name, parameters, retry) = match self {
            Self::Once(name) => return Ask::Once { position, name: Arc::clone(name) },
            Self::Sleep(micros) => return Ask::Sleep { position, micros: *micros },
            Self::Lock(lock) => return Ask::Lock { position, lock: lock.clone() },
            Self::Launch(root) => {
                return Ask::Launch { position, root: Box::new(root.asked()) };
            }
            Self::Register(parameters) => {
                let canonical = Some(parameters.clone());
                let undo = AskedUndo { name: UNDO, parameters: text(parameters), canonical };
                return Ask::Register { position, undo: Box::new(undo) };
            }
            Self::Unstorable | Self::Nothing => ("leaf", None, None),
            Self::Child(name, parameters, retry) => (*name, Some(parameters), *retry),
        };
        let child = AskedChild {
            spec: spec_of(name),
            locks: parameters.map(|parameters| locks_of(name, parameters)).unwrap_or_default(),
            parameters: parameters
                .map(text)
                .ok_or_else(|| Failure::new(FailureKind::NotStorable, "too large")),
            canonical: parameters.filter(|_| replaying).cloned(),
            retry,
        };
        Ask::Child { position, child: Box::new(child) }
    }
}
