//! The world outside of the engine: it outlives the process, and remembers what commands did to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use coco_core::CommandId;
use tokio::sync::watch;
use tokio::time::Instant;

/// Given to every command as a resource. Flows reach it by its number, for they have no resources.
#[derive(Clone)]
pub(crate) struct World {
    number: u64,
    /// When it began, by tokio's clock.
    began: Instant,
    state: Arc<watch::Sender<State>>,
    /// The closed gates. Apart from the rest, so that who waits at one is not woken by a deed.
    closed: Arc<watch::Sender<BTreeSet<String>>>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: CommandId,
    pub(crate) deed: String,
    pub(crate) attempt: u32,
}

#[derive(Default)]
struct State {
    ledger: Vec<Entry>,
    words: BTreeMap<String, String>,
}

static WORLDS: LazyLock<Mutex<BTreeMap<u64, World>>> = LazyLock::new(Mutex::default);

impl World {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let world = Self { number, began, state: Arc::default(), closed: Arc::default() };
        let mut worlds = WORLDS.lock().unwrap_or_else(PoisonError::into_inner);
        worlds.insert(number, world.clone());
        world
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The world of this number.
    pub(crate) fn at(number: u64) -> Self {
        WORLDS.lock().unwrap_or_else(PoisonError::into_inner)[&number].clone()
    }

    /// How long it has been, by tokio's clock.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    // What commands do.

    /// Enters a deed into the ledger.
    pub(crate) fn note(&self, id: CommandId, deed: impl Into<String>, attempt: u32) {
        let deed = deed.into();
        self.state.send_modify(|state| state.ledger.push(Entry { id, deed, attempt }));
    }

    /// Waits while the gate is closed. A gate is open until somebody closes it.
    pub(crate) async fn pass(&self, gate: &str) {
        let _ = self.closed.subscribe().wait_for(|closed| !closed.contains(gate)).await;
    }

    /// What was said of this.
    pub(crate) fn word(&self, of: &str) -> Option<String> {
        self.state.borrow().words.get(of).cloned()
    }

    /// True when it was said at all.
    pub(crate) fn is_said(&self, what: &str) -> bool {
        self.word(what).is_some()
    }

    // What tests do.

    pub(crate) fn close(&self, gate: &str) {
        self.closed.send_modify(|closed| {
            closed.insert(gate.to_owned());
        });
    }

    pub(crate) fn open(&self, gate: &str) {
        self.closed.send_modify(|closed| {
            closed.remove(gate);
        });
    }

    pub(crate) fn say(&self, of: &str, word: &str) {
        self.state.send_modify(|state| {
            state.words.insert(of.to_owned(), word.to_owned());
        });
    }

    pub(crate) fn unsay(&self, of: &str) {
        self.state.send_modify(|state| {
            state.words.remove(of);
        });
    }

    pub(crate) fn ledger(&self) -> Vec<Entry> {
        self.state.borrow().ledger.clone()
    }

    /// All deeds, in their order.
    pub(crate) fn deeds(&self) -> Vec<String> {
        self.state.borrow().ledger.iter().map(|entry| entry.deed.clone()).collect()
    }

    /// How often this was done.
    pub(crate) fn count(&self, deed: &str) -> usize {
        self.state.borrow().ledger.iter().filter(|entry| entry.deed == deed).count()
    }

    /// Waits until this was done.
    pub(crate) async fn noted(&self, deed: &str) {
        self.noted_times(deed, 1).await;
    }

    /// Waits until this was done so many times.
    pub(crate) async fn noted_times(&self, deed: &str, times: usize) {
        let done = |state: &State| state.ledger.iter().filter(|e| e.deed == deed).count() >= times;
        let _ = self.state.subscribe().wait_for(done).await;
    }
}
