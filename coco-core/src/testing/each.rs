//! A fault at every run of a method: it fails there, or is cut off and runs again.

use std::sync::Arc;

use super::case::Case;
use super::life::{Faults, live};
use super::report::Report;
use super::script::{Plan, Script};
use crate::command::Command;
use crate::runtime::intercept::Point;

/// At how many awaits a run is cut off, at most.
const MOST_AWAITS: usize = 16;

/// Lets every run of `execute` of every leaf of a tree fail, in the order in which they begin,
/// each time in a new case: once before it does anything, once at each of its first 16 awaits, and
/// once after it has done all. The root counts, when it is a leaf.
///
/// The failure has the code `injected` and is not retried. So whoever undoes has to do with
/// everything that can be there: with `compensate(None, …)`, what it undoes may be there, or not,
/// or in part.
///
/// The steps of [`Context::once`](crate::Context::once) and the flows themselves do not fail.
///
/// ```standalone_crate
/// # use std::sync::{Arc, Mutex};
/// # use coco_core::prelude::*;
/// # use coco_core::testing::{Case, fail_each_child};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Clone, Default)]
/// # struct Storage(Arc<Mutex<Vec<String>>>);
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(callback = SerialChildren)]
/// struct MakeDisks { names: Vec<String> }
///
/// impl Execute for MakeDisks {
///     type Output = ();
///
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         for name in self.names.clone() {
///             cx.child(MakeDisk { name }).await?;
///         }
///         Ok(())
///     }
/// }
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(needs(Storage))]
/// struct MakeDisk { name: String }
///
/// impl Execute for MakeDisk {
///     type Output = ();
///
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         cx.get::<Storage>().0.lock().unwrap().push(self.name.clone());
///         Ok(())
///     }
///
///     async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
///         cx.get::<Storage>().0.lock().unwrap().retain(|name| *name != self.name);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let report = fail_each_child(|| {
///     let storage = Storage::default();
///     let names = vec!["data".into(), "log".into()];
///     Case::new(MakeDisks { names }).provide(storage.clone()).check(move |end| {
///         let disks = storage.0.lock().unwrap();
///         match end.fault() {
///             None => assert_eq!(*disks, ["data", "log"]),
///             Some(_) => assert!(disks.is_empty(), "left behind: {disks:?}"),
///         }
///     })
/// })
/// .await;
/// assert_eq!(report.cases[3], "run 2 of 2 (`make_disk`) failed after it was done");
/// # }
/// ```
///
/// # Panics
/// When no leaf runs, when a check panics, when the command is stuck though the case does not let
/// it be, and when it does not end. The message begins with the name of the command and what
/// failed.
pub async fn fail_each_child<C: Command>(case: impl FnMut() -> Case<C>) -> Report {
    let report = each(case, Plan::Fail).await;
    assert!(!report.cases.is_empty(), "`{}`: no leaf ran that could fail", name::<C>());
    report
}

/// Runs what may run twice after a crash in fact twice, each in turn and in a new case: `execute`
/// of every idempotent leaf, and every end hook. It is dropped at each of its first 16 awaits, or
/// when it has done all, and then runs again from what is stored, as the next attempt.
///
/// Crashes at commits are the affair of [`crash_sweep`](super::crash_sweep), and only that one
/// repeats the steps of [`Context::once`](crate::Context::once).
///
/// ```should_panic,standalone_crate
/// # use std::sync::{Arc, Mutex};
/// # use coco_core::prelude::*;
/// # use coco_core::testing::{Case, run_each_twice};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Clone, Default)]
/// # struct Storage(Arc<Mutex<Vec<String>>>);
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(idempotent, needs(Storage))]
/// struct MakeSnapshot { name: String }
///
/// impl Execute for MakeSnapshot {
///     type Output = ();
///
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         cx.get::<Storage>().0.lock().unwrap().push(self.name.clone()); // not idempotent
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// run_each_twice(|| {
///     let storage = Storage::default();
///     Case::new(MakeSnapshot { name: "data".into() }).provide(storage.clone()).check(move |end| {
///         assert!(end.output().is_ok());
///         assert_eq!(*storage.0.lock().unwrap(), ["data"]);
///     })
/// })
/// .await; // panics: `make_snapshot`: run 1 of 1 (`make_snapshot`) ran twice: …
/// # }
/// ```
///
/// # Panics
/// When there is nothing of the kind, and like [`fail_each_child`].
pub async fn run_each_twice<C: Command>(case: impl FnMut() -> Case<C>) -> Report {
    let report = each(case, Plan::Again).await;
    let name = name::<C>();
    assert!(!report.cases.is_empty(), "`{name}`: no idempotent leaf and no end hook ran");
    report
}

/// As [`fail_each_child`], and every `compensate` and every undo command of the case is run twice,
/// as after a crash: whatever undoes must also do when there is nothing left to undo.
///
/// ```standalone_crate
/// # use std::sync::{Arc, Mutex};
/// # use coco_core::prelude::*;
/// # use coco_core::testing::{Case, undo_each_twice};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Clone, Default)]
/// # struct Storage(Arc<Mutex<Vec<String>>>);
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(needs(Storage))]
/// # struct MakeBucket { name: String }
/// impl Execute for MakeBucket {
///     type Output = ();
///
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         cx.get::<Storage>().0.lock().unwrap().push(self.name.clone());
///         Ok(())
///     }
///
///     async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
///         cx.get::<Storage>().0.lock().unwrap().retain(|name| *name != self.name);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let report = undo_each_twice(|| {
///     let storage = Storage::default();
///     Case::new(MakeBucket { name: "data".into() }).provide(storage.clone()).check(move |end| {
///         assert_eq!(storage.0.lock().unwrap().is_empty(), end.fault().is_some());
///     })
/// })
/// .await;
/// assert_eq!(report.cases.len(), 2);
/// # }
/// ```
///
/// # Panics
/// When nothing is undone in any case, and like [`fail_each_child`].
pub async fn undo_each_twice<C: Command>(case: impl FnMut() -> Case<C>) -> Report {
    let report = each(case, Plan::FailAndUndoTwice).await;
    assert!(!report.cases.is_empty(), "`{}`: nothing was undone in any case", name::<C>());
    report
}

const fn name<C: Command>() -> &'static str {
    C::DESCRIPTOR.spec.name
}

/// Goes on until a life has fewer runs than the one whose turn it is.
async fn each<C: Command>(mut case: impl FnMut() -> Case<C>, plan: Plan) -> Report {
    let whole = attempt(case(), plan, None, 0).await;
    let (total, mut report) = (whole.runs(), Report::default());
    for nth in 1.. {
        let mut point = if plan == Plan::Again { Point::Await(1) } else { Point::Before };
        loop {
            let script = attempt(case(), plan, Some((nth, point)), total).await;
            if script.runs() < nth {
                return report;
            }
            if script.has_happened() {
                report.cases.extend(script.name(total));
            }
            point = match point {
                Point::Before => Point::Await(1),
                Point::Await(n) if n < MOST_AWAITS && script.came_so_far() => Point::Await(n + 1),
                Point::Await(_) => Point::After,
                Point::After => break,
            };
        }
    }
    unreachable!("a life has no end")
}

async fn attempt<C: Command>(
    case: Case<C>,
    plan: Plan,
    fault: Option<(usize, Point)>,
    total: usize,
) -> Arc<Script> {
    let script = Arc::new(Script::new(plan, fault));
    let faults = Faults { script: Some(Arc::clone(&script)), ..Faults::default() };
    live(case, faults, |_| script.name(total)).await;
    script
}
