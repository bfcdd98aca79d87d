//! Lets a tree live through deaths of its process, and looks at what is left in the end.

use std::collections::HashSet;

use coco_core::EngineError;
use coco_core::entity::TreeRows;
use coco_core::prelude::*;
use coco_core::testing::Crash;

use super::home::{Home, engine_error_of, start};
use super::picture::{Row, picture};
use super::world::World;

/// Crashes before and after every commit of the tree of `command`, each time in an empty home:
/// the rows are the same in the end as without a crash. Gives how many commits that were.
pub(crate) async fn sweep<C: Command>(
    home: &Home,
    ordered: bool,
    command: impl Fn(&World) -> C,
) -> usize {
    let (expected, _) = live(home, &[], ordered, &command).await;
    for n in 1.. {
        let mut died = false;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let (rows, deaths) = live(home, &[crash], ordered, &command).await;
            assert_eq!(rows, expected, "{crash:?}");
            died |= deaths > 0;
        }
        if !died {
            return n - 1;
        }
    }
    unreachable!("a run has no end")
}

/// The same with a second crash, before and after every commit of the process that recovers.
pub(crate) async fn sweep_twice<C: Command>(
    home: &Home,
    ordered: bool,
    command: impl Fn(&World) -> C,
) {
    let (expected, _) = live(home, &[], ordered, &command).await;
    for first in crashes() {
        for second in crashes() {
            let (rows, deaths) = live(home, &[first, second], ordered, &command).await;
            assert_eq!(rows, expected, "{first:?}, then {second:?}");
            match deaths {
                0 => return,
                1 => break,
                _ => {}
            }
        }
    }
}

/// Before the first commit, after it, before the second, …
fn crashes() -> impl Iterator<Item = Crash> {
    (1..).flat_map(|n| [Crash::Before(n), Crash::After(n)])
}

/// One tree in an empty home, in processes that die in turn at `crashes` and a last one that
/// does not. Gives the rows in the end, and how many of the crashes there were.
async fn live<C: Command>(
    home: &Home,
    crashes: &[Crash],
    ordered: bool,
    command: &impl Fn(&World) -> C,
) -> (Vec<Row>, usize) {
    let (home, world) = (home.another(), World::new());
    let (mut root, mut deaths, mut memory) = (None, 0, Vec::new());
    for crash in crashes.iter().copied().map(Some).chain([None]) {
        let store = home.faulty().await;
        if let Some(crash) = crash {
            store.crash(crash);
        }
        let coordinator = start(store.clone(), &world).await;
        root = root.or_else(|| coordinator.report().resumed.first().copied());
        let handle = match root {
            Some(root) => coordinator.handle::<C>(root).await,
            None => coordinator.submit(command(&world)).await,
        };
        let output = match &handle {
            Ok(handle) => {
                root = Some(handle.id());
                handle.output().await.map(drop)
            }
            Err(_) => handle.map(drop),
        };
        if !store.is_dead() {
            if let Err(error) = output {
                assert!(error.failure().is_some(), "without a crash: {error}");
            }
            coordinator.shutdown().await.expect("it shuts down");
            break;
        }
        assert_eq!(engine_error_of(output), EngineError::Shutdown);
        drop(coordinator);
        deaths += 1;
        memory.push(Memory::of(&world, root, &home).await);
    }
    let rows = home.tree(root.expect("a root is stored")).await;
    assert!(rows.commands.iter().all(|row| row.progress.status.is_terminal()), "{rows:?}");
    memory.iter().for_each(|memory| memory.check(&world));
    (picture(&rows, ordered), deaths)
}

/// What was done, and what of it was stored as ended, when a process died.
struct Memory {
    deeds: usize,
    ended: HashSet<(CommandId, Option<String>)>,
}

impl Memory {
    async fn of(world: &World, root: Option<CommandId>, home: &Home) -> Self {
        let rows = match root {
            Some(root) => home.open().await.tree(root).await.expect("the store is read"),
            None => None,
        };
        let rows = rows.unwrap_or_default();
        let ledger = world.ledger();
        if root.is_some() {
            let stored: HashSet<_> = rows.commands.iter().map(|row| row.command_id).collect();
            for entry in &ledger {
                assert!(stored.contains(&entry.id), "done before it was stored: {entry:?}");
            }
        }
        Self { deeds: ledger.len(), ended: ended(&rows) }
    }

    /// Nothing was done again that was stored as ended.
    fn check(&self, world: &World) {
        for entry in world.ledger().split_off(self.deeds) {
            let done = (entry.id, entry.deed.starts_with("once ").then(|| entry.deed.clone()));
            assert!(!self.ended.contains(&done), "done after its end was stored: {entry:?}");
            assert!(!self.ended.contains(&(entry.id, None)), "done after its end: {entry:?}");
        }
    }
}

fn ended(rows: &TreeRows) -> HashSet<(CommandId, Option<String>)> {
    let commands = rows.commands.iter().filter(|row| row.progress.status.is_terminal());
    let commands = commands.map(|row| (row.command_id, None));
    let steps = rows.once_results.iter();
    let steps = steps.map(|once| (once.command_id, Some(format!("once {}", once.name))));
    commands.chain(steps).collect()
}
