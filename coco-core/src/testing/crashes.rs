//! A crash at every commit of a command.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use super::case::Case;
use super::faults::Crash;
use super::life::{Faults, Seen, live};
use super::report::Report;
use crate::command::Command;

/// Lets the process die before and after every commit of a command, each time in a new case. The
/// next engine finds what is stored, and the check says whether the command has kept its promise.
///
/// A tree commits when it is submitted, and when something in it begins or ends, so these are all
/// the deaths that the store can tell apart. Code that runs then is dropped at its next await; for
/// a death in the middle of a leaf there are [`run_each_twice`](super::run_each_twice) and
/// [`fail_each_child`](super::fail_each_child). When the death takes the submit, it is made again,
/// with the same key.
///
/// ```standalone_crate
/// use std::sync::{Arc, Mutex};
///
/// use coco_core::prelude::*;
/// use coco_core::testing::{Case, crash_sweep};
/// use serde::{Deserialize, Serialize};
///
/// /// A fake of the storage: the names of its volumes.
/// #[derive(Clone, Default)]
/// struct Storage(Arc<Mutex<Vec<String>>>);
///
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(idempotent, needs(Storage))]
/// struct MakeVolume { name: String }
///
/// impl Execute for MakeVolume {
///     type Output = ();
///
///     async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
///         let mut volumes = cx.get::<Storage>().0.lock().unwrap();
///         if !volumes.contains(&self.name) {
///             volumes.push(self.name.clone());
///         }
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// // In a #[tokio::test(start_paused = true)]:
/// let report = crash_sweep(|| {
///     let storage = Storage::default();
///     Case::new(MakeVolume { name: "data".into() }).provide(storage.clone()).check(move |end| {
///         assert!(end.output().is_ok());
///         assert_eq!(*storage.0.lock().unwrap(), ["data"]);
///     })
/// })
/// .await;
/// assert_eq!(report.cases.len(), 4);
/// assert_eq!(report.cases[1], "crash after commit 1 of 2");
/// # }
/// ```
///
/// # Panics
/// When a check does, when a command is stuck though the case does not let it be, and when it does
/// not end. The message begins with the name of the command and of the crash.
pub fn crash_sweep<'a, C: Command>(case: impl FnMut() -> Case<C> + 'a) -> CrashSweep<'a, C> {
    CrashSweep { case: Box::new(case), twice: false }
}

/// A [`crash_sweep`], when it is awaited.
#[must_use = "nothing is swept before it is awaited"]
pub struct CrashSweep<'a, C: Command> {
    case: Box<dyn FnMut() -> Case<C> + 'a>,
    twice: bool,
}

impl<'a, C: Command> CrashSweep<'a, C> {
    /// Lets the engine that recovers die as well, before and after every commit that it makes:
    /// about as many cases as the square of those without it.
    pub fn twice(mut self) -> Self {
        self.twice = true;
        self
    }

    async fn run(mut self) -> Report {
        let total = live((self.case)(), Faults::default(), |_| None).await.commits;
        let mut report = Report::default();
        for first in crashes() {
            let n = number(first);
            let deaths = self.crash(&[first], total, &mut report).await;
            // A life may have other commits than the first one had.
            if deaths == 0 && matches!(first, Crash::After(_)) && n > total {
                return report;
            }
            if !self.twice || deaths == 0 {
                continue;
            }
            for second in crashes() {
                if self.crash(&[first, second], total, &mut report).await < 2 {
                    break;
                }
            }
        }
        unreachable!("a life has no end")
    }

    async fn crash(&mut self, crashes: &[Crash], total: usize, report: &mut Report) -> usize {
        let faults = Faults { crashes: crashes.to_vec(), script: None };
        let name = |seen: Seen| name(&crashes[..seen.deaths], total);
        let deaths = live((self.case)(), faults, name).await.deaths;
        if deaths == crashes.len() {
            report.cases.extend(name(Seen { deaths, commits: 0 }));
        }
        deaths
    }
}

impl<'a, C: Command> IntoFuture for CrashSweep<'a, C> {
    type Output = Report;
    type IntoFuture = Pin<Box<dyn Future<Output = Report> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<C: Command> fmt::Debug for CrashSweep<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashSweep").field("twice", &self.twice).finish_non_exhaustive()
    }
}

/// Before the first commit, after it, before the second, …
fn crashes() -> impl Iterator<Item = Crash> {
    (1..).flat_map(|n| [Crash::Before(n), Crash::After(n)])
}

fn number(crash: Crash) -> usize {
    match crash {
        Crash::Before(n) | Crash::After(n) => n,
    }
}

fn name(crashes: &[Crash], total: usize) -> Option<String> {
    let when = |crash: &Crash| match crash {
        Crash::Before(n) => format!("before commit {n}"),
        Crash::After(n) => format!("after commit {n}"),
    };
    let (first, then) = crashes.split_first()?;
    let mut name = format!("crash {} of {total}", when(first));
    for crash in then {
        name += &format!(", and {} of the recovery", when(crash));
    }
    Some(name)
}
