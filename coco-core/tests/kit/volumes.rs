//! Commands that keep their promises, over a fake of a storage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coco_core::prelude::*;
use coco_core::testing::{
    Case, End, crash_sweep, fail_each_child, run_each_twice, undo_each_twice,
};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

/// A storage that is no more than its volumes, with the number of copies of each, and its log.
#[derive(Clone, Default)]
pub(crate) struct Storage(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<String, u32>,
    pub(crate) marks: BTreeSet<String>,
    pub(crate) log: Vec<String>,
    pub(crate) is_read_only: bool,
}

impl Storage {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Makes a volume, whether or not there is one.
    pub(crate) async fn add(&self, name: &str) {
        yield_now().await;
        *self.state().volumes.entry(name.to_owned()).or_default() += 1;
        yield_now().await;
    }

    /// Removes a volume that is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        yield_now().await;
        let gone = self.state().volumes.remove(name);
        yield_now().await;
        gone.map(drop).ok_or_else(|| Error::other(format!("there is no volume `{name}`")))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.state().volumes.contains_key(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let state = self.state();
        state.volumes.iter().map(|(name, copies)| format!("{name}*{copies}")).collect()
    }
}

/// Makes a volume, moves it, and says so. Eleven commits: two of them bring the tree back when it
/// has rested, for the long sleep and for the long pause.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution)]
pub(crate) struct Move {
    #[lock(exclusive, group = "volume")]
    name: String,
}

impl Execute for Move {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let both = ["left", "right"].map(|side| format!("{} {side}", self.name));
        cx.children(both.map(|name| Copy { name })).await?;
        cx.sleep(Duration::from_secs(30 * 86_400)).await?;
        cx.child(Label { name: self.name.clone() }).await
    }
}

/// Makes a volume, unless there is one; and removes it, if there is one.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage))]
pub(crate) struct Copy {
    pub(crate) name: String,
}

impl Execute for Copy {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let storage = cx.get::<Storage>();
        if !storage.has(&self.name) {
            storage.add(&self.name).await;
        }
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        let storage = cx.get::<Storage>();
        if storage.has(&self.name) { storage.remove(&self.name).await } else { Ok(()) }
    }
}

/// Fails when the storage is slow, and is tried again; undone by a command of its own.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage), retry(attempts = 3, backoff = "1h", max_backoff = "1h"))]
pub(crate) struct Label {
    name: String,
}

impl Execute for Label {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.compensate_with(Unlabel { name: self.name.clone() }).await?;
        if cx.get::<Storage>().state().is_read_only {
            return Err(Error::other("the storage is read-only").fatal());
        }
        if cx.attempt() == 1 {
            return Err(Error::other("the storage is slow"));
        }
        cx.get::<Storage>().state().marks.insert(self.name.clone());
        Ok(self.name.to_uppercase())
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        let mut state = cx.get::<Storage>().state();
        let line = format!("labelled {}", self.name);
        if !state.log.contains(&line) {
            state.log.push(line);
        }
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage))]
pub(crate) struct Unlabel {
    name: String,
}

impl Execute for Unlabel {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Storage>().state().marks.remove(&self.name);
        Ok(())
    }
}

fn moved(end: &End<Move>, storage: &Storage) {
    assert_eq!(end.output(), Ok(&"A".to_owned()));
    assert_eq!(storage.names(), ["a left*1", "a right*1"]);
    assert_eq!(storage.state().log, ["labelled a"]);
    assert!(storage.state().marks.contains("a"));
    assert_eq!(end.rows().commands.len(), 4);
}

fn always_moved() -> Case<Move> {
    let storage = Storage::default();
    let case = Case::new(Move { name: "a".to_owned() }).provide(storage.clone());
    case.check(move |end| moved(end, &storage))
}

fn moved_or_undone() -> Case<Move> {
    let storage = Storage::default();
    let case = Case::new(Move { name: "a".to_owned() }).provide(storage.clone());
    case.check(move |end| {
        if end.fault().is_none() {
            return moved(end, &storage);
        }
        assert_eq!(end.output().unwrap_err().code.as_deref(), Some("injected"));
        assert_eq!(storage.names(), [""; 0]);
        assert!(storage.state().marks.is_empty());
    })
}

#[tokio::test(start_paused = true)]
async fn what_survives_a_crash_anywhere_passes_the_sweep() {
    let report = crash_sweep(always_moved).await;
    assert_eq!(
        report.cases[..3],
        [
            "crash before commit 1 of 11",
            "crash after commit 1 of 11",
            "crash before commit 2 of 11"
        ]
    );
    assert_eq!(report.cases.len(), 22);
}

#[tokio::test(start_paused = true)]
async fn what_survives_two_crashes_passes_the_sweep() {
    let report = crash_sweep(always_moved).twice().await;
    let twice = report.cases.iter().filter(|case| case.contains(" of the recovery")).count();
    assert_eq!(report.cases.len() - twice, 22);
    assert!(twice > 100, "{twice}");
}

#[tokio::test(start_paused = true)]
async fn what_undoes_everything_passes_each_failure() {
    let report = fail_each_child(moved_or_undone).await;
    assert_eq!(
        report.cases,
        [
            "run 1 of 4 (`copy`) failed before it began",
            "run 1 of 4 (`copy`) failed at its await 1",
            "run 1 of 4 (`copy`) failed at its await 2",
            "run 1 of 4 (`copy`) failed after it was done",
            "run 2 of 4 (`copy`) failed before it began",
            "run 2 of 4 (`copy`) failed at its await 1",
            "run 2 of 4 (`copy`) failed at its await 2",
            "run 2 of 4 (`copy`) failed after it was done",
            "run 3 of 4 (`label`) failed before it began",
            "run 3 of 4 (`label`) failed at its await 1",
            "run 4 of 4 (`label`) failed before it began",
            "run 4 of 4 (`label`) failed at its await 1",
            "run 4 of 4 (`label`) failed after it was done",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_run_again_passes_each_second_run() {
    let report = run_each_twice(always_moved).await;
    assert_eq!(
        report.cases,
        [
            "run 1 of 5 (`copy`) was cut off at its await 1 and ran again",
            "run 1 of 5 (`copy`) was cut off at its await 2 and ran again",
            "run 1 of 5 (`copy`) ran twice",
            "run 2 of 5 (`copy`) was cut off at its await 1 and ran again",
            "run 2 of 5 (`copy`) was cut off at its await 2 and ran again",
            "run 2 of 5 (`copy`) ran twice",
            "run 3 of 5 (`label`) was cut off at its await 1 and ran again",
            "run 3 of 5 (`label`) ran twice",
            "run 4 of 5 (`label`) was cut off at its await 1 and ran again",
            "run 4 of 5 (`label`) ran twice",
            "run 5 of 5 (`end_successfully` of `label`) ran twice",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_be_undone_again_passes_each_second_undo() {
    let report = undo_each_twice(moved_or_undone).await;
    assert_eq!(report.cases.len(), 13);
    assert_eq!(
        report.cases[3],
        "run 1 of 4 (`copy`) failed after it was done, and all undo ran twice"
    );
}

/// Crashes while it undoes, too.
#[tokio::test(start_paused = true)]
async fn what_fails_and_undoes_everything_passes_the_sweep() {
    let case = || {
        let storage = Storage::default();
        storage.state().is_read_only = true;
        let case = Case::new(Move { name: "a".to_owned() }).provide(storage.clone());
        case.check(move |end| {
            assert_eq!(end.output().unwrap_err().message, "the storage is read-only");
            assert_eq!(storage.names(), [""; 0]);
        })
    };
    assert_eq!(crash_sweep(case).await.cases.len(), 20);
    assert!(crash_sweep(case).twice().await.cases.len() > 100);
}

/// The clock runs, and so do other threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_clock_may_run() {
    let copy = || {
        let storage = Storage::default();
        let case = Case::new(Copy { name: "a".to_owned() }).provide(storage.clone());
        case.check(move |end| {
            assert_eq!(end.output(), Ok(&()));
            assert_eq!(storage.names(), ["a*1"]);
        })
    };
    assert_eq!(crash_sweep(copy).await.cases.len(), 4);
    assert_eq!(run_each_twice(copy).await.cases.len(), 3);
}
