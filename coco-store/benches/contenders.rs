//! `cargo bench -p coco-store --bench contenders`: 64 contenders run 10,000 commands that lock one
//! to three of 200 keys each, over several deaths of the engine, on SQLite with
//! `synchronous=FULL`; beside the same commands without locks, and with locks that nobody else
//! wants.
//!
//! The commands see for themselves that no two of them have what only one may have: otherwise this
//! ends with an error. `COCO_CONTENDERS=2000` sets the number of commands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coco_core::EngineError;
use coco_core::entity::{Audit, CommandEntity, Delivery, TreeRows};
use coco_core::lock::{LockMode, LockProperties, LockScope};
use coco_core::prelude::*;
use coco_core::store::{
    CommitError, Committed, EngineId, Lease, LockRows, Step, Store, StoreError, StoreFuture,
};
use coco_core::testing::{Crash, FaultyStore};
use coco_store::SeaOrmStore;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const CONTENDERS: u32 = 64;
const COMMANDS: u32 = 10_000;
const KEYS: u32 = 200;
const DEATHS: usize = 5;
const COMMITS_OF_A_LIFE: usize = 60;

#[derive(LockKey, Serialize, Deserialize, Clone, Copy)]
#[lock_key(group = "key")]
struct Key(u32);

/// What the commands of one measurement lock.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
enum Locking {
    Nothing,
    /// Keys of the contender's own.
    OwnKeys,
    SharedKeys,
}

/// Who has which key at this moment, as the commands themselves see it.
#[derive(Clone, Default)]
struct Floor(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    keys: BTreeMap<u32, Vec<(CommandId, LockMode)>>,
    overlaps: usize,
}

impl Floor {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, id: CommandId, keys: &[(u32, LockMode)]) -> Entered {
        let mut state = self.state();
        for (key, mode) in keys {
            let there = state.keys.entry(*key).or_default();
            let excludes = |other: LockMode| (*mode).max(other) == LockMode::Exclusive;
            let met = there.iter().filter(|(other, mode)| *other != id && excludes(*mode)).count();
            there.push((id, *mode));
            state.overlaps += met;
        }
        Entered { floor: self.clone(), id }
    }
}

/// Leaves when it is over, also where the engine dies.
struct Entered {
    floor: Floor,
    id: CommandId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.floor.state();
        state.keys.values_mut().for_each(|there| there.retain(|(id, _)| *id != self.id));
        state.keys.retain(|_, there| !there.is_empty());
    }
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(idempotent, needs(Floor))]
struct Contend {
    keys: Vec<(u32, LockMode)>,
    locking: Locking,
}

impl Contend {
    fn nth(n: u32, locking: Locking) -> Self {
        let mix = n.wrapping_mul(2_654_435_761).rotate_left(7);
        let own = KEYS + n * 3;
        let mut keys = BTreeMap::new();
        for k in 0..=mix % 3 {
            let is_shared = mix >> (20 + k) & 3 == 0;
            let mode = if is_shared { LockMode::Shared } else { LockMode::Exclusive };
            let key = (mix >> (3 + 7 * k)) % KEYS;
            keys.insert(if locking == Locking::OwnKeys { own + k } else { key }, mode);
        }
        Self { keys: keys.into_iter().collect(), locking }
    }
}

impl Execute for Contend {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        if self.locking == Locking::Nothing {
            return properties;
        }
        let properties = properties.with_scope(LockScope::Execution).with_wait();
        self.keys.iter().fold(properties, |properties, (key, mode)| match mode {
            LockMode::Shared => properties.with_shared(&Key(*key)),
            LockMode::Exclusive => properties.with_exclusive(&Key(*key)),
        })
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let _entered = cx.get::<Floor>().enter(cx.id(), &self.keys);
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Counts what each batch takes.
#[derive(Clone)]
struct Metered {
    store: SeaOrmStore,
    meter: Arc<Meter>,
}

#[derive(Default)]
struct Meter {
    commits: AtomicUsize,
    most_statements: AtomicU64,
    most_steps: AtomicUsize,
}

impl Store for Metered {
    fn acquire(&self) -> StoreFuture<'_, Result<Lease, StoreError>> {
        self.store.acquire()
    }

    fn release(&self, lease: Lease, clean: bool) -> StoreFuture<'_, Result<(), StoreError>> {
        self.store.release(lease, clean)
    }

    fn commit<'a>(
        &'a self,
        lease: &'a Lease,
        steps: Arc<[Step]>,
    ) -> StoreFuture<'a, Result<Committed, CommitError>> {
        Box::pin(async move {
            let (meter, before) = (&self.meter, self.store.statistics().statements);
            meter.most_steps.fetch_max(steps.len(), Ordering::Relaxed);
            meter.commits.fetch_add(1, Ordering::Relaxed);
            let committed = self.store.commit(lease, steps).await;
            let statements = self.store.statistics().statements - before;
            meter.most_statements.fetch_max(statements, Ordering::Relaxed);
            committed
        })
    }

    fn lost<'a>(&'a self, lease: &'a Lease) -> StoreFuture<'a, ()> {
        self.store.lost(lease)
    }

    fn open_trees(
        &self,
        of: Option<EngineId>,
        after: Option<CommandId>,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<TreeRows>, StoreError>> {
        self.store.open_trees(of, after, limit)
    }

    fn own_tree(
        &self,
        engine: EngineId,
        root: CommandId,
    ) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.store.own_tree(engine, root)
    }

    fn tree(&self, root: CommandId) -> StoreFuture<'_, Result<Option<TreeRows>, StoreError>> {
        self.store.tree(root)
    }

    fn entity(&self, id: CommandId) -> StoreFuture<'_, Result<Option<CommandEntity>, StoreError>> {
        self.store.entity(id)
    }

    fn audit(&self, root: CommandId) -> StoreFuture<'_, Result<Vec<Audit>, StoreError>> {
        self.store.audit(root)
    }

    fn inbox(
        &self,
        command: CommandId,
        limit: usize,
    ) -> StoreFuture<'_, Result<Vec<Delivery>, StoreError>> {
        self.store.inbox(command, limit)
    }

    fn locks(&self, behind: Option<CommandId>) -> StoreFuture<'_, Result<LockRows, StoreError>> {
        self.store.locks(behind)
    }
}

/// A command that is to end, and its identity once it is stored.
struct Job {
    command: Contend,
    id: Option<CommandId>,
}

type Jobs = Arc<Mutex<VecDeque<Job>>>;

/// Brings jobs to their end, one after the other, until none is left or the engine dies. Gives how
/// many ended.
async fn contend(coordinator: Coordinator, jobs: Jobs) -> Result<usize> {
    let mut ended = 0;
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(mut job) = next() {
        let handle = match job.id {
            Some(id) => coordinator.handle::<Contend>(id).await,
            None => coordinator.submit(job.command.clone()).await,
        };
        let output = match handle {
            Ok(handle) => {
                job.id = Some(handle.id());
                handle.output().await
            }
            Err(error) => Err(error),
        };
        match output {
            Ok(()) => ended += 1,
            Err(error) if error.downcast_ref() == Some(&EngineError::Shutdown) => {
                jobs.lock().unwrap_or_else(PoisonError::into_inner).push_front(job);
                return Ok(ended);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

/// What one measurement gave.
struct Figure {
    took: Duration,
    commits: usize,
    most_statements: u64,
    most_steps: usize,
    overlaps: usize,
}

async fn measure(commands: u32, locking: Locking) -> Result<Figure> {
    let (home, floor, jobs) = (TempDir::new()?, Floor::default(), Jobs::default());
    let address = format!("sqlite://{}", home.path().join("coco.db").display());
    let all = (0..commands).map(|n| Job { command: Contend::nth(n, locking), id: None });
    jobs.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
    let (meter, mut ended, begun) = (Arc::new(Meter::default()), 0, Instant::now());
    for life in 0..=DEATHS {
        let store = SeaOrmStore::connect(&address).await?;
        let store = FaultyStore::new(Metered { store, meter: Arc::clone(&meter) });
        if life < DEATHS {
            store.crash(Crash::After(COMMITS_OF_A_LIFE));
        }
        let coordinator = loop {
            match Coordinator::builder(store.clone()).provide(floor.clone()).start().await {
                Err(error) if matches!(error.downcast_ref(), Some(StoreError::InUse { .. })) => {
                    tokio::task::yield_now().await;
                }
                started => break started?,
            }
        };
        let contenders: Vec<_> = (0..CONTENDERS)
            .map(|_| tokio::spawn(contend(coordinator.clone(), Arc::clone(&jobs))))
            .collect();
        for contender in contenders {
            ended += contender.await??;
        }
        if life == DEATHS {
            coordinator.shutdown().await?;
        }
        while !floor.state().keys.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(ended, commands as usize, "every command ends, and is told once");
    Ok(Figure {
        took: begun.elapsed(),
        commits: meter.commits.load(Ordering::Relaxed),
        most_statements: meter.most_statements.load(Ordering::Relaxed),
        most_steps: meter.most_steps.load(Ordering::Relaxed),
        overlaps: floor.state().overlaps,
    })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let commands = std::env::var("COCO_CONTENDERS").ok().and_then(|n| n.parse().ok());
    let commands: u32 = commands.unwrap_or(COMMANDS);
    println!(
        "SQLite, WAL, synchronous=FULL; {CONTENDERS} contenders, {commands} commands, {DEATHS} deaths"
    );
    println!(
        "{:<28} {:>10} {:>10} {:>16} {:>22} {:>10}",
        "", "per second", "commits", "commits/command", "statements, steps max", "overlaps"
    );
    let mut figures = Vec::new();
    for (name, locking) in [
        ("without locks", Locking::Nothing),
        ("keys that nobody else wants", Locking::OwnKeys),
        ("200 keys for all", Locking::SharedKeys),
    ] {
        let figure = measure(commands, locking).await?;
        let Figure { took, commits, most_statements, most_steps, overlaps } = &figure;
        println!(
            "{name:<28} {:>10.0} {commits:>10} {:>16.3} {:>22} {overlaps:>10}",
            f64::from(commands) / took.as_secs_f64(),
            *commits as f64 / f64::from(commands),
            format!("{most_statements}, {most_steps}"),
        );
        figures.push(figure);
    }
    let [free, own, all] = &figures[..] else { unreachable!("three were measured") };
    assert!(free.overlaps > 0, "they would not meet without locks either");
    assert_eq!((own.overlaps, all.overlaps), (0, 0), "two had what only one may have");
    let limit = free.commits + free.commits / 10;
    assert!(own.commits <= limit, "locks add commits: {} to {}", own.commits, free.commits);
    Ok(())
}
