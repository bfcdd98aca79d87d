//! The channel by which a flow asks: positions, what was asked, what was answered.
//!
//! The flow's side takes positions and waits; the runtime's side takes what was asked, and gives
//! outcomes one at a time. Between two outcomes the flow is polled until it is pending.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use serde_json::Value;

use super::wake::{engine_wake, is_inside_once};
use crate::command::Spec;
use crate::failure::Failure;
use crate::lock::{Lock, LockProperties};
use crate::retry::Retry;
use crate::time::Timestamp;

/// One request of a flow, or a child that a round starts.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A child.
    Child { position: i32, child: Box<AskedChild> },
    /// Leave to run a `once`, or its stored result.
    Once { position: i32, name: Arc<str> },
    /// A sleep of so many microseconds.
    Sleep { position: i32, micros: i64 },
    /// A lock.
    Lock { position: i32, lock: Lock },
    /// A tree of its own to launch.
    Launch { position: i32, root: Box<AskedChild> },
    /// An undo command to store.
    Register { position: i32, undo: Box<AskedUndo> },
    /// The `once` at this position has run.
    OnceEnded { position: i32, result: Result<Arc<str>, Failure> },
    /// Nobody waits for what is at this position any more: a `once` there does not run.
    Dropped { position: i32 },
}

/// A child that a command asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskedChild {
    pub(crate) spec: &'static Spec,
    pub(crate) locks: LockProperties,
    /// As JSON, or why they cannot be stored.
    pub(crate) parameters: Result<Arc<str>, Failure>,
    /// As they are compared on a replay; none when nothing is replayed, or nothing can be stored.
    pub(crate) canonical: Option<Value>,
    /// How it is retried, where the flow says so.
    pub(crate) retry: Option<Retry>,
}

/// An undo command that a flow registers.
#[derive(Debug)]
pub(crate) struct AskedUndo {
    pub(crate) name: &'static str,
    pub(crate) parameters: Arc<str>,
    /// As they are compared on a replay.
    pub(crate) canonical: Option<Value>,
}

/// How a child or a `once` ended, as it is given to the flow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) result: Result<Arc<str>, Failure>,
    pub(crate) at: Timestamp,
}

/// The requests of one run of a flow, or the children that a round starts; unused by a leaf.
#[derive(Default)]
pub(crate) struct Requests(Mutex<State>);

#[derive(Default)]
struct State {
    next_position: i32,
    asks: Vec<Ask>,
    /// By first position: what the flow waits for now.
    waiting: BTreeMap<i32, Waiting>,
    /// The first failure that nobody took, because the future that asked was dropped.
    unseen_failure: Option<Failure>,
    now: Timestamp,
    replaying: bool,
    diverged: Option<String>,
}

/// A request that awaits one or several answers.
struct Waiting {
    positions: i32,
    /// In the order in which they came, with the position counted from the first.
    answers: Vec<(i32, Ended)>,
    /// True when the `once` of this request may run.
    may_run: bool,
    waker: Option<Waker>,
}

impl Waiting {
    const fn for_answers(positions: i32) -> Self {
        Self { positions, answers: Vec::new(), may_run: false, waker: None }
    }
}

impl Requests {
    /// For a run that starts at `now`. `replaying`: something of an earlier run is stored.
    pub(crate) fn new(now: Timestamp, replaying: bool) -> Self {
        Self(Mutex::new(State { now, replaying, ..State::default() }))
    }

    /// For a run that takes its positions from `next_position`.
    pub(crate) fn from_position(next_position: i32) -> Self {
        Self(Mutex::new(State { next_position, ..State::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The flow's side.

    pub(super) fn is_replaying(&self) -> bool {
        self.lock().replaying
    }

    pub(super) fn now(&self) -> Timestamp {
        self.lock().now
    }

    pub(super) fn take_position(&self) -> i32 {
        let mut state = self.lock();
        state.check_place();
        state.next_position += 1;
        state.next_position - 1
    }

    /// Asks for children at the next positions, and gives the first.
    pub(super) fn ask_children(&self, children: Vec<AskedChild>) -> i32 {
        let mut state = self.lock();
        state.check_place();
        let first = state.next_position;
        for child in children {
            let position = state.next_position;
            state.next_position += 1;
            state.asks.push(Ask::Child { position, child: Box::new(child) });
        }
        let positions = state.next_position - first;
        state.waiting.insert(first, Waiting::for_answers(positions));
        first
    }

    /// Asks for a child at the next position, which it gives; nobody waits for the answer.
    pub(super) fn start(&self, child: AskedChild) -> i32 {
        let mut state = self.lock();
        let position = state.next_position;
        state.next_position += 1;
        state.asks.push(Ask::Child { position, child: Box::new(child) });
        position
    }

    /// Asks at the next position for what has one answer, and gives the position.
    pub(super) fn ask(&self, ask: impl FnOnce(i32) -> Ask) -> i32 {
        let mut state = self.lock();
        state.check_place();
        let position = state.next_position;
        state.next_position += 1;
        state.asks.push(ask(position));
        state.waiting.insert(position, Waiting::for_answers(1));
        position
    }

    /// All answers, once they are there; else remembers whom to wake.
    pub(super) fn answers(&self, first: i32, waker: &Waker) -> Option<Vec<(i32, Ended)>> {
        let mut state = self.lock();
        let waiting = state.waiting.get_mut(&first)?;
        if usize::try_from(waiting.positions) == Ok(waiting.answers.len()) {
            return state.waiting.remove(&first).map(|waiting| waiting.answers);
        }
        waiting.waker = Some(waker.clone());
        None
    }

    /// True when the `once` at `first` is to run.
    pub(super) fn may_run(&self, first: i32) -> bool {
        self.lock().waiting.get(&first).is_some_and(|waiting| waiting.may_run)
    }

    pub(super) fn once_ended(&self, position: i32, result: Result<Arc<str>, Failure>) {
        self.lock().asks.push(Ask::OnceEnded { position, result });
    }

    /// The future that asked is gone: its answers are seen by nobody.
    pub(super) fn abandon(&self, first: i32) {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.remove(&first) {
            if waiting.positions == 1 && waiting.answers.is_empty() {
                state.asks.push(Ask::Dropped { position: first });
            }
            for (_, ended) in waiting.answers {
                state.not_seen(ended);
            }
        }
    }

    pub(super) fn diverge(&self, reason: String) {
        self.lock().diverged.get_or_insert(reason);
    }

    // The runtime's side.

    /// Launches a tree of its own.
    pub(super) fn launch(&self, root: AskedChild) {
        self.lock().asks.push(Ask::Launch { position: 0, root: Box::new(root) });
    }

    /// The children that were started, with their positions, and the trees that were launched.
    pub(crate) fn take_started(&self) -> (Vec<(i32, AskedChild)>, Vec<AskedChild>) {
        let (mut started, mut launched) = (Vec::new(), Vec::new());
        for ask in self.take_asks() {
            match ask {
                Ask::Child { position, child } => started.push((position, *child)),
                Ask::Launch { root, .. } => launched.push(*root),
                _ => {}
            }
        }
        (started, launched)
    }

    /// Whether something was asked for that was not taken yet.
    pub(crate) fn has_asks(&self) -> bool {
        !self.lock().asks.is_empty()
    }

    pub(crate) fn take_asks(&self) -> Vec<Ask> {
        std::mem::take(&mut self.lock().asks)
    }

    /// Gives one outcome, and wakes whoever waits for it.
    pub(crate) fn give(&self, position: i32, ended: Ended) {
        let mut state = self.lock();
        state.now = state.now.max(ended.at);
        let mut before = state.waiting.range_mut(..=position);
        let waker = match before.next_back() {
            Some((first, waiting)) if position < first + waiting.positions => {
                waiting.answers.push((position - first, ended));
                let complete = usize::try_from(waiting.positions) == Ok(waiting.answers.len());
                if complete { waiting.waker.take() } else { None }
            }
            _ => {
                state.not_seen(ended);
                None
            }
        };
        drop(state);
        waker.iter().for_each(engine_wake);
    }

    /// Lets the `once` at `position` run.
    pub(crate) fn let_run(&self, position: i32) {
        let mut state = self.lock();
        let waker = state.waiting.get_mut(&position).and_then(|waiting| {
            waiting.may_run = true;
            waiting.waker.take()
        });
        drop(state);
        waker.iter().for_each(engine_wake);
    }

    pub(crate) fn replay_is_over(&self) {
        self.lock().replaying = false;
    }

    /// True when the flow waits for something that it asked for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    pub(crate) fn unseen_failure(&self) -> Option<Failure> {
        self.lock().unseen_failure.take()
    }

    pub(crate) fn diverged(&self) -> Option<String> {
        self.lock().diverged.take()
    }
}

impl State {
    /// A replay does not run the code of a `once`, so what that asks would not be asked again.
    fn check_place(&mut self) {
        if is_inside_once() {
            let reason = "the code of a `once` asks something of its flow's context; ask before it";
            self.diverged.get_or_insert_with(|| reason.to_owned());
        }
    }

    fn not_seen(&mut self, ended: Ended) {
        if let Err(failure) = ended.result {
            self.unseen_failure.get_or_insert(failure);
        }
    }
}
