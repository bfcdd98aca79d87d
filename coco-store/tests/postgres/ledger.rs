//! Commands whose effects are outside, and what they have done.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coco_core::prelude::*;
use coco_core::store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Outlives all engines. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    done: Arc<Mutex<BTreeMap<String, usize>>>,
    is_closed: Arc<watch::Sender<bool>>,
}

impl Ledger {
    fn note(&self, deed: String) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done.entry(deed).or_default() += 1;
    }

    /// How often each deed was done.
    pub(crate) fn done(&self) -> BTreeMap<String, usize> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaves that wait do so from now on.
    pub(crate) fn close(&self) {
        self.is_closed.send_replace(true);
    }

    pub(crate) fn open(&self) {
        self.is_closed.send_replace(false);
    }

    /// How many leaves wait.
    pub(crate) fn waiting(&self) -> usize {
        self.is_closed.receiver_count()
    }

    /// Waits until one does.
    pub(crate) async fn until_waiting(&self) {
        while self.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until none does.
    pub(crate) async fn until_left(&self) {
        self.is_closed.closed().await;
    }

    async fn pass(&self) {
        let _ = self.is_closed.subscribe().wait_for(|is_closed| !is_closed).await;
    }
}

/// Has its effect once: it may not run twice.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "postgres_deed", needs(Ledger), lock = Execution, wait)]
pub(crate) struct Deed {
    #[lock(exclusive, group = "deeds")]
    pub(crate) key: String,
    pub(crate) name: String,
}

impl Deed {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { key: name.clone(), name }
    }
}

impl Execute for Deed {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let ledger: &Ledger = cx.get();
        ledger.note(self.name.clone());
        ledger.pass().await;
        Ok(self.name.clone())
    }
}

/// Three deeds, one after the other. The second is on what others do deeds on too.
#[derive(Command, Serialize, Deserialize)]
#[command(name = "postgres_deeds", callback = SerialChildren)]
pub(crate) struct Deeds {
    pub(crate) name: String,
    pub(crate) shared: String,
}

impl Execute for Deeds {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let mut done = vec![cx.child(Deed::new(format!("{} first", self.name))).await?];
        let (key, name) = (self.shared.clone(), format!("{} second", self.name));
        done.push(cx.child(Deed { key, name }).await?);
        done.push(cx.child(Deed::new(format!("{} third", self.name))).await?);
        Ok(done)
    }
}

/// An engine on `store`.
pub(crate) async fn start(store: impl Store, ledger: &Ledger) -> Coordinator {
    let builder = Coordinator::builder(store).provide(ledger.clone());
    builder.start().await.expect("the engine starts")
}

/// Fails a test that hangs.
pub(crate) async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(90), test).await.expect("the test hangs")
}
