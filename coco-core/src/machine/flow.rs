//! One flow: what it asked for, what is stored of an earlier run, what it is to be given next.
//!
//! A run that replays is given what had ended one outcome at a time, in the order of ends, and
//! every request is compared with the one that is stored at its position. A request at a position
//! where nothing is stored is new, also between others: its step was in flight when the engine
//! died.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::input::{Stored, StoredName};
use crate::context::requests::{Ask, AskedChild, AskedUndo, Ended};
use crate::entity::OnceResult;
use crate::erased::Reply;
use crate::failure::Failure;
use crate::lock::Lock;
use crate::time::Timestamp;

/// The requests and outcomes of one flow.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) phase: Phase,
    /// Stored by an earlier run, and not asked for yet by this one.
    stored: BTreeMap<i32, StoredRequest>,
    /// Ended and not given yet, by end order.
    outcomes: BTreeMap<i64, (i32, Ended)>,
    /// When the sleeps that were asked for and have not ended are over.
    pub(super) sleeps: BTreeMap<i32, Timestamp>,
    /// The names of the `once` steps that were asked for and have not ended.
    onces: BTreeMap<i32, Arc<str>>,
    /// Asked for by this run, new, and not emitted yet.
    pub(super) new: Vec<Ask>,
    /// How often it was given outcomes.
    pub(super) given: u64,
    /// The failures among the outcomes that it was given and has not answered.
    unanswered: Vec<Failure>,
}

/// Where the run of a flow stands.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// It was not polled yet.
    #[default]
    Starting,
    /// It is pending.
    Waiting,
    /// It was given outcomes and has not answered.
    Polling,
    /// It returned.
    Returned(Box<Returned>),
    /// There is no run: stuck, or the engine stops.
    Gone,
}

/// What a flow returned.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) reply: Reply,
    pub(super) unseen: Option<Failure>,
}

/// A request that is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRequest {
    pub(crate) name: StoredName,
    pub(crate) kind: StoredKind,
}

impl StoredRequest {
    /// The `once` or the request for a lock that this is the answer to.
    pub(super) fn of(once: &OnceResult) -> Self {
        let kind = once.lock.clone().map_or(StoredKind::Once, StoredKind::Lock);
        Self { name: once.name.as_ref().to_owned().into(), kind }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StoredKind {
    /// A child, with its parameters as they are compared; none where they could not be stored.
    Child(Option<Value>),
    /// A `once`.
    Once,
    /// A sleep of so many microseconds.
    Sleep(i64),
    /// A lock.
    Lock(Lock),
    /// An undo command, with its parameters as they are compared.
    Undo(Option<Value>),
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is new.
    New,
    /// It is the stored one.
    Stored,
}

impl Flow {
    pub(super) fn replaying(stored: Stored) -> Self {
        let mut flow = Self::default();
        flow.restart(stored);
        flow
    }

    /// A new run, over all that is stored and what has ended since it was read.
    pub(super) fn restart(&mut self, stored: Stored) {
        self.phase = Phase::Starting;
        self.stored = stored.requests.into_iter().collect();
        let outcomes =
            stored.outcomes.into_iter().map(|(order, position, ended)| (order, (position, ended)));
        self.outcomes.extend(outcomes);
        self.sleeps = stored.sleeps.into_iter().collect();
        for (position, _) in self.outcomes.values() {
            self.sleeps.remove(position);
        }
        self.onces.clear();
        self.new.clear();
    }

    pub(super) fn is_replaying(&self) -> bool {
        !self.stored.is_empty()
    }

    pub(super) fn asks_child(
        &mut self,
        position: i32,
        child: &AskedChild,
    ) -> Result<Asked, String> {
        let Some(stored) = self.stored.remove(&position) else { return Ok(Asked::New) };
        let same = match &stored.kind {
            StoredKind::Child(None) => stored.name == child.spec.name,
            StoredKind::Child(parameters) => {
                stored.name == child.spec.name && *parameters == child.canonical
            }
            _ => false,
        };
        if same {
            return Ok(Asked::Stored);
        }
        let kind = StoredKind::Child(child.canonical.clone());
        Err(stored.differs(position, &StoredRequest { name: child.spec.name.into(), kind }))
    }

    pub(super) fn asks_once(&mut self, position: i32, name: Arc<str>) -> Result<Asked, String> {
        let Some(stored) = self.stored.remove(&position) else {
            self.onces.insert(position, name);
            return Ok(Asked::New);
        };
        if matches!(stored.kind, StoredKind::Once) && *stored.name == *name {
            return Ok(Asked::Stored);
        }
        let name = StoredName::Owned(name.as_ref().to_owned());
        Err(stored.differs(position, &StoredRequest { name, kind: StoredKind::Once }))
    }

    pub(super) fn asks_sleep(&mut self, position: i32, micros: i64) -> Result<Asked, String> {
        let kind = StoredKind::Sleep(micros);
        self.asks(position, &StoredRequest { name: "sleep".into(), kind })
    }

    pub(super) fn asks_lock(&mut self, position: i32, lock: &Lock) -> Result<Asked, String> {
        let kind = StoredKind::Lock(lock.clone());
        self.asks(position, &StoredRequest { name: "lock".into(), kind })
    }

    pub(super) fn asks_launch(
        &mut self,
        position: i32,
        root: &AskedChild,
    ) -> Result<Asked, String> {
        let name = launch_name(root.spec.name).into();
        self.asks(position, &StoredRequest { name, kind: StoredKind::Once })
    }

    pub(super) fn asks_undo(&mut self, position: i32, undo: &AskedUndo) -> Result<Asked, String> {
        let kind = StoredKind::Undo(undo.canonical.clone());
        self.asks(position, &StoredRequest { name: undo.name.into(), kind })
    }

    /// What becomes of a request of which the stored one must be the same.
    fn asks(&mut self, position: i32, asked: &StoredRequest) -> Result<Asked, String> {
        match self.stored.remove(&position) {
            None => Ok(Asked::New),
            Some(stored) if stored == *asked => Ok(Asked::Stored),
            Some(stored) => Err(stored.differs(position, asked)),
        }
    }

    /// Takes the sleeps that are over at `now`, in their order; none once the flow has returned.
    pub(super) fn take_slept(&mut self, now: Timestamp) -> Vec<i32> {
        if matches!(self.phase, Phase::Returned(_)) {
            return Vec::new();
        }
        let over = self.sleeps.extract_if(.., |_, wake_at| *wake_at <= now);
        let mut over: Vec<_> = over.map(|(position, wake_at)| (wake_at, position)).collect();
        over.sort_unstable();
        over.into_iter().map(|(_, position)| position).collect()
    }

    /// Whether its code runs, or that of a `once` may.
    pub(super) fn runs_code(&self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Polling => true,
            Phase::Waiting => !self.onces.is_empty(),
            Phase::Returned(_) | Phase::Gone => false,
        }
    }

    /// True when the `once` was asked for and has not ended.
    pub(super) fn has_open_once(&self, position: i32) -> bool {
        self.onces.contains_key(&position)
    }

    /// The name of the `once` that has run, if it was asked for.
    pub(super) fn once_ended(&mut self, position: i32) -> Option<Arc<str>> {
        self.onces.remove(&position)
    }

    pub(super) fn ended(&mut self, end_order: i64, position: i32, ended: Ended) {
        self.outcomes.insert(end_order, (position, ended));
    }

    /// Takes an ended child into what is stored.
    pub(super) fn store_child(
        &mut self,
        end_order: i64,
        position: i32,
        name: StoredName,
        ended: Ended,
    ) {
        self.stored.insert(position, StoredRequest { name, kind: StoredKind::Child(None) });
        self.ended(end_order, position, ended);
    }

    /// Takes an ended `once`, or an answer to a request for a lock, into what is stored.
    pub(super) fn store_once(&mut self, once: &OnceResult, ended: Ended) {
        self.stored.insert(once.position, StoredRequest::of(once));
        self.ended(once.end_order, once.position, ended);
    }

    /// What to give to the flow now: nothing unless it waits, one outcome on a replay, else all.
    ///
    /// # Errors
    /// What is stored and was not asked for, though the flow waits for more.
    pub(super) fn take_outcomes(&mut self) -> Result<Vec<(i32, Ended)>, String> {
        if !matches!(self.phase, Phase::Waiting) {
            return Ok(Vec::new());
        }
        let outcomes: Vec<_> = if self.is_replaying() {
            match self.outcomes.pop_first() {
                Some((_, first)) if !self.stored.contains_key(&first.0) => vec![first],
                _ => return Err(self.not_asked("waits for something else")),
            }
        } else {
            std::mem::take(&mut self.outcomes).into_values().collect()
        };
        let failures = outcomes.iter().filter_map(|(_, ended)| ended.result.as_ref().err());
        self.unanswered = failures.cloned().collect();
        self.given += u64::from(!outcomes.is_empty());
        Ok(outcomes)
    }

    /// The first failure that was given to the flow when it had returned already.
    pub(super) fn first_unanswered_failure(&mut self) -> Option<Failure> {
        match self.phase {
            Phase::Polling => self.unanswered.drain(..).next(),
            _ => None,
        }
    }

    /// # Errors
    /// When something that is stored was not asked for.
    pub(super) fn check_returned(&self) -> Result<(), String> {
        if self.is_replaying() { Err(self.not_asked("returned")) } else { Ok(()) }
    }

    /// The first failure that the flow returned without having seen.
    pub(super) fn first_undelivered_failure(&mut self) -> Option<Failure> {
        let outcomes = std::mem::take(&mut self.outcomes);
        outcomes.into_values().find_map(|(_, ended)| ended.result.err())
    }

    fn not_asked(&self, instead: &str) -> String {
        let stored = self.stored.iter().next();
        let (position, request) = stored.map_or((0, String::new()), |(p, r)| (*p, r.to_string()));
        format!(
            "request {position} was {request} before, and now the flow {instead} without asking for it"
        )
    }
}

/// The name of the stored answer to a launch.
pub(super) fn launch_name(command_type: &str) -> String {
    format!("launch {command_type}")
}

impl StoredRequest {
    fn differs(&self, position: i32, asked: &Self) -> String {
        format!("request {position} was {self} before, and now the flow asks for {asked}")
    }
}

/// Longest parameters that a message quotes, in characters.
const LONGEST_QUOTE: usize = 200;

impl std::fmt::Display for StoredRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, kind } = self;
        match kind {
            StoredKind::Once => write!(f, "once `{name}`"),
            StoredKind::Sleep(micros) => {
                let duration = Duration::from_micros(u64::try_from(*micros).unwrap_or(0));
                write!(f, "a sleep of {duration:?}")
            }
            StoredKind::Lock(lock) => {
                write!(f, "{} `{}` locked {}", lock.group, lock.key, lock.mode.as_str())
            }
            StoredKind::Child(parameters) => write!(f, "`{name}`{}", Quoted(parameters.as_ref())),
            StoredKind::Undo(parameters) => {
                write!(f, "the undo command `{name}`{}", Quoted(parameters.as_ref()))
            }
        }
    }
}

/// Parameters in a message, cut where they are long.
struct Quoted<'a>(Option<&'a Value>);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(parameters) = self.0 else { return Ok(()) };
        let text: String = parameters.to_string().chars().take(LONGEST_QUOTE).collect();
        write!(f, " {text}")
    }
}
