//! Many who want the same few things at once, over several deaths: no two ever have what only one
//! may have.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use coco_core::lock::LockProperties;
use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{EngineError, lock::LockMode};
use serde::{Deserialize, Serialize};

use super::home::{Home, in_time, start, until};
use super::turns::{Disk, nothing_is_locked};
use super::world::World;

const CONTENDERS: usize = 64;
const DISKS: u32 = 20;

/// Who has what at this moment, as the commands themselves see it.
#[derive(Clone, Default)]
struct Floor(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The process that lives, counted from 0. Code of one that has died runs on here up to its next
    /// await, where a process that is dead does nothing.
    life: usize,
    disks: BTreeMap<u32, Vec<(CommandId, LockMode)>>,
    overlaps: Vec<String>,
    /// How often one came to who shares.
    shared: usize,
    ended: usize,
}

/// The floors, each with the life that is spent on it, by the number of the world of that life.
static FLOORS: LazyLock<Mutex<BTreeMap<u64, (Floor, usize)>>> = LazyLock::new(Mutex::default);

impl Floor {
    fn of(world: &World) -> (Self, usize) {
        let floors = FLOORS.lock().unwrap_or_else(PoisonError::into_inner);
        floors[&world.number()].clone()
    }

    /// The world of this life on it.
    fn world(&self, life: usize) -> World {
        let world = World::new();
        let mut floors = FLOORS.lock().unwrap_or_else(PoisonError::into_inner);
        floors.insert(world.number(), (self.clone(), life));
        world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes its place beside those who are there, and says whom it may not meet.
    fn enter(&self, id: CommandId, life: usize, keys: &[(u32, LockMode)]) -> Entered {
        let mut state = self.state();
        let lives = life == state.life;
        for (disk, mode) in keys.iter().filter(|_| lives) {
            let there = state.disks.entry(*disk).or_default();
            let others = there.iter().filter(|(other, _)| *other != id);
            let met: Vec<_> = others.copied().collect();
            there.push((id, *mode));
            let exclusive = LockMode::Exclusive;
            let (bad, good): (Vec<_>, Vec<_>) =
                met.into_iter().partition(|(_, other)| *mode == exclusive || *other == exclusive);
            state.shared += good.len();
            state.overlaps.extend(
                bad.into_iter().map(|other| format!("{id} {mode:?} met {other:?} on {disk}")),
            );
        }
        Entered { floor: self.clone(), id }
    }
}

/// Leaves when it is over, however that comes.
struct Entered {
    floor: Floor,
    id: CommandId,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.floor.state();
        state.disks.values_mut().for_each(|there| there.retain(|(id, _)| *id != self.id));
        state.disks.retain(|_, there| !there.is_empty());
    }
}

#[derive(Command, Serialize, Deserialize, Clone)]
#[command(idempotent, lock = Execution, needs(World))]
struct Contend {
    #[lock(exclusive)]
    first: Disk,
    others: Vec<(u32, LockMode)>,
    is_locked: bool,
}

impl Contend {
    /// One to three disks, in both modes.
    fn nth(n: u32, is_locked: bool) -> Self {
        let mix = n.wrapping_mul(2_654_435_761).rotate_left(7);
        let mode = |bit: u32| {
            if mix >> bit & 1 == 0 { LockMode::Exclusive } else { LockMode::Shared }
        };
        let others = (1..1 + mix % 3).map(|k| ((mix >> (5 * k)) % DISKS, mode(k)));
        // The first one is taken alone by few, so that many share.
        let first = DISKS + mix % DISKS;
        Self { first: Disk(first), others: others.collect(), is_locked }
    }

    /// Each disk once, in the stronger mode.
    fn keys(&self) -> Vec<(u32, LockMode)> {
        let mut keys = BTreeMap::from([(self.first.0, LockMode::Exclusive)]);
        for (disk, mode) in &self.others {
            let stronger = keys.get(disk).map_or(*mode, |other| *mode.max(other));
            keys.insert(*disk, stronger);
        }
        keys.into_iter().collect()
    }
}

impl Execute for Contend {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        if !self.is_locked {
            return properties.with_scope(coco_core::lock::LockScope::None);
        }
        let others = self.others.iter();
        others.fold(properties.with_wait(), |properties, (disk, mode)| match mode {
            LockMode::Shared => properties.with_shared(&Disk(*disk)),
            LockMode::Exclusive => properties.with_exclusive(&Disk(*disk)),
        })
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (floor, life) = Floor::of(cx.get());
        let entered = floor.enter(cx.id(), life, &self.keys());
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        drop(entered);
        Ok(())
    }
}

/// A command that is to end, and its identity once it is stored.
struct Job {
    command: Contend,
    id: Option<CommandId>,
}

type Jobs = Arc<Mutex<VecDeque<Job>>>;

/// Brings jobs to their end, one after the other, until none is left or the engine dies.
async fn contend(coordinator: Coordinator, jobs: Jobs, floor: Floor) {
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
            Ok(()) => floor.state().ended += 1,
            Err(error) => {
                jobs.lock().unwrap_or_else(PoisonError::into_inner).push_front(job);
                match error.downcast_ref() {
                    Some(EngineError::Shutdown) => return,
                    // It ran whenever an engine died. Where this one dies too, it is stuck again.
                    Some(EngineError::Stuck { command, .. }) => {
                        drop(coordinator.retry(*command).await);
                    }
                    _ => panic!("{error}"),
                }
            }
        }
    }
}

/// Lets so many commands contend, in processes of which all but the last die. Gives the floor, and
/// how many died.
async fn contest(home: &Home, commands: u32, deaths: usize, is_locked: bool) -> (Floor, usize) {
    let (floor, jobs) = (Floor::default(), Jobs::default());
    let all = (0..commands).map(|n| Job { command: Contend::nth(n, is_locked), id: None });
    jobs.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
    let died = AtomicUsize::new(0);
    for life in 0..=deaths {
        let store = home.faulty().await;
        if life < deaths {
            let n = 10 + 3 * life;
            store.crash(if life % 2 == 0 { Crash::Before(n) } else { Crash::After(n) });
        }
        let coordinator = start(store.clone(), &floor.world(life)).await;
        let contenders: Vec<_> = (0..CONTENDERS)
            .map(|_| {
                let (jobs, floor) = (Arc::clone(&jobs), floor.clone());
                tokio::spawn(contend(coordinator.clone(), jobs, floor))
            })
            .collect();
        for contender in contenders {
            contender.await.unwrap();
        }
        if store.is_dead() {
            died.fetch_add(1, Ordering::Relaxed);
            drop(coordinator);
        } else {
            // Also those whose submit was not answered.
            until(async || home.open().await.open_trees(None, None, 1).await.unwrap().is_empty())
                .await;
            coordinator.shutdown().await.unwrap();
        }
        floor.state().life = life + 1;
        until(async || floor.state().disks.is_empty()).await;
    }
    (floor, died.into_inner())
}

async fn no_two_at_once(home: Home) {
    let commands = if home.is_memory() { 2000 } else { 600 };
    let (floor, died) = contest(&home, commands, 4, true).await;
    {
        let state = floor.state();
        assert_eq!(state.overlaps, [""; 0]);
        assert_eq!((state.ended, died), (commands as usize, 4));
        assert!(state.shared > 0, "nobody ever shared");
    }
    nothing_is_locked(&home).await;
    let (floor, _) = contest(&home.another().await, 200, 0, false).await;
    assert!(!floor.state().overlaps.is_empty(), "they would not meet without locks either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory() {
    in_time(no_two_at_once(Home::memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite() {
    in_time(no_two_at_once(Home::sqlite())).await;
}
