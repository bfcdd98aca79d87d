//! The life of a command in a test: one engine after the other on the same store, until it ends.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::Case;
use super::end::{End, Outcome};
use super::faults::{Crash, FaultyStore};
use super::script::Script;
use crate::caught::caught;
use crate::command::{Command, Stored};
use crate::coordinator::{CommandHandle, Coordinator};
use crate::error::{EngineError, Error, Result};
use crate::id::CommandId;
use crate::runtime::clock::Clock;
use crate::runtime::intercept::Interceptor;
use crate::store::{Store, StoreError};

/// The key by which a submit is made again.
const KEY: &str = "the command of this case";
/// How long to wait for an engine that is about to give a store free.
const PAUSE: Duration = Duration::from_millis(1);
/// What does nothing for so long by tokio's clock does nothing any more.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

type AnyStore = FaultyStore<Arc<dyn Store>>;

/// What goes wrong in a life.
#[derive(Default)]
pub(super) struct Faults {
    /// Where the engines die, one after the other; the next one does not.
    pub(super) crashes: Vec<Crash>,
    pub(super) script: Option<Arc<Script>>,
}

/// What was seen of a life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// How many engines died.
    pub(super) deaths: usize,
    /// How many commits the last engine made.
    pub(super) commits: usize,
}

/// Lets a case live, and checks it. `name` says what went wrong in it.
///
/// # Panics
/// When it does not end, or does not hold what it promises.
pub(super) async fn live<C: Command>(
    mut case: Case<C>,
    faults: Faults,
    name: impl Fn(Seen) -> Option<String>,
) -> Seen {
    let check = case.check.take();
    let life = Life { case: &case, faults: &faults, clock: Clock::tokio(), root: Cell::new(None) };
    let mut seen = Seen::default();
    let end = life.to_its_end(&mut seen).await;
    let fault = name(seen);
    let held = end.and_then(|end| {
        let end = End { fault: fault.clone(), ..end };
        if end.stuck().is_some() && !case.may_be_stuck {
            return Err(format!("{end:?}"));
        }
        let Some(check) = check else { return Ok(()) };
        caught(|| check(&end)).map_err(|panic| format!("{panic}\n({end:?})"))
    });
    if let Err(why) = held {
        let command = C::DESCRIPTOR.spec.name;
        panic!("`{command}`: {}: {why}", fault.as_deref().unwrap_or("without a fault"));
    }
    seen
}

struct Life<'a, C: Command> {
    case: &'a Case<C>,
    faults: &'a Faults,
    clock: Clock,
    root: Cell<Option<CommandId>>,
}

impl<C: Command> Life<'_, C> {
    async fn to_its_end(&self, seen: &mut Seen) -> Result<End<C>, String> {
        let mut crashes = self.faults.crashes.iter();
        loop {
            let store = (self.case.open)().await.map_err(|error| error.to_string())?;
            let store = FaultyStore::new(store);
            crashes.next().into_iter().for_each(|crash| store.crash(*crash));
            let outcome = tokio::select! {
                outcome = self.one_engine(&store) => outcome,
                () = too_long(self.case.within) => {
                    seen.deaths += usize::from(store.is_dead());
                    return Err(self.hangs(&store).await);
                }
            };
            seen.commits = store.commits();
            if store.is_dead() {
                seen.deaths += 1;
                continue;
            }
            let outcome = outcome.map_err(|error| error.to_string())?;
            let id = self.root.get().ok_or("it was not submitted")?;
            let rows = store.tree(id).await.map_err(|error| error.to_string())?;
            return Ok(End { id, outcome, rows: rows.unwrap_or_default(), fault: None });
        }
    }

    /// Waits for its outcome in one engine, and until that has stopped.
    async fn one_engine(&self, store: &AnyStore) -> Result<Outcome<C>> {
        let coordinator = self.start(store).await?;
        // An engine that dies may leave a caller without an answer.
        let outcome = tokio::select! {
            biased;
            outcome = self.outcome(&coordinator) => outcome,
            () = coordinator.stopped() => Err(EngineError::Shutdown.into()),
        };
        if store.is_dead() {
            // Its code has ended then, too.
            coordinator.stopped().await;
        } else {
            // It may die at this, and then the next one goes on.
            let _ = coordinator.shutdown().await;
        }
        outcome
    }

    async fn start(&self, store: &AnyStore) -> Result<Coordinator> {
        loop {
            let builder = Coordinator::builder(store.clone());
            let builder = self.case.setup.iter().fold(builder, |builder, setup| setup(builder));
            let mut builder = builder.with_clock(self.clock);
            if let Some(script) = &self.faults.script {
                builder = builder.provide(Interceptor(Arc::clone(script) as _));
            }
            match builder.start_with_what_there_is().await {
                Err(error) if matches!(error.downcast_ref(), Some(StoreError::InUse { .. })) => {
                    tokio::time::sleep(PAUSE).await;
                }
                started => return started,
            }
        }
    }

    async fn outcome(&self, coordinator: &Coordinator) -> Result<Outcome<C>> {
        let handle = self.handle(coordinator).await?;
        self.root.set(Some(handle.id()));
        match handle.output().await {
            Ok(output) => Ok(Outcome::Ended(Ok(output))),
            Err(error) => match (error.failure(), error.downcast_ref()) {
                (Some(failure), _) => Ok(Outcome::Ended(Err(failure.clone()))),
                (None, Some(EngineError::Stuck { command, reason })) => {
                    Ok(Outcome::Stuck(*command, reason.clone()))
                }
                _ => Err(error),
            },
        }
    }

    /// Submits the command, unless that is known to be stored. A caller who was told nothing
    /// submits it again, with the same key.
    async fn handle(&self, coordinator: &Coordinator) -> Result<CommandHandle<C>> {
        match self.root.get() {
            Some(root) => coordinator.handle(root).await,
            None => {
                let command = <C as Stored>::decode(&self.case.parameters)?;
                let submitted = coordinator.submit_with_key(KEY, command).await;
                submitted.map_err(|error| Error::other(format!("it is not submitted: {error}")))
            }
        }
    }

    /// Says where everything stands in a life that does not end.
    async fn hangs(&self, store: &AnyStore) -> String {
        let rows = match self.root.get() {
            Some(root) => store.tree(root).await.ok().flatten().unwrap_or_default(),
            None => return "it hangs, and is not submitted yet".to_owned(),
        };
        let open = rows.commands.iter().filter(|row| !row.progress.status.is_terminal());
        let open: Vec<_> =
            open.map(|row| format!("`{}` is {}", row.command_type, row.progress.status)).collect();
        format!("it hangs: {}", open.join(", "))
    }
}

/// Is over when a case has taken too long. A paused clock jumps when nobody has anything to do,
/// so it says nothing before it has jumped very far.
async fn too_long(within: Duration) {
    let (began, began_by_tokio) = (Instant::now(), tokio::time::Instant::now());
    let mut pause = within;
    while began.elapsed() < within && began_by_tokio.elapsed() < YEAR {
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(YEAR);
    }
}
