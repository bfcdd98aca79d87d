//! Lets a tree live through deaths of its process, and looks at what is left in the end.

use std::collections::{HashMap, HashSet};

use coco_core::EngineError;
use coco_core::entity::{CommandEntity, TreeRows};
use coco_core::prelude::*;
use coco_core::testing::Crash;

use super::home::{Home, engine_error_of, start};
use super::picture::{Row, picture};
use super::sagas::Unmake;
use super::world::World;

/// Crashes before and after every commit of the tree of `command`, each time in an empty home:
/// the rows are the same in the end as without a crash. Gives how many commits that were.
pub(crate) async fn sweep<C: Command>(
    home: &Home,
    ordered: bool,
    command: impl Fn(&World) -> C,
) -> usize {
    let expected = live(home, &[], &command, waits).await.picture(ordered);
    for n in 1.. {
        let mut died = false;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let life = live(home, &[crash], &command, waits).await;
            assert_eq!(life.picture(ordered), expected, "{crash:?}");
            died |= life.deaths > 0;
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
    let expected = live(home, &[], &command, waits).await.picture(ordered);
    for first in crashes() {
        for second in crashes() {
            let life = live(home, &[first, second], &command, waits).await;
            assert_eq!(life.picture(ordered), expected, "{first:?}, then {second:?}");
            match life.deaths {
                0 => return,
                1 => break,
                _ => {}
            }
        }
    }
}

/// The same, where what is left in the end depends on when it died: `check` looks at each life. Until
/// the tree ends, each process does `meanwhile`.
pub(crate) async fn sweep_lives<C: Command>(
    home: &Home,
    command: impl Fn(&World) -> C,
    meanwhile: impl AsyncFn(&Coordinator, CommandId, &World),
    check: impl Fn(&Life),
) -> usize {
    check(&live(home, &[], &command, &meanwhile).await);
    for n in 1.. {
        let mut died = false;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let life = live(home, &[crash], &command, &meanwhile).await;
            check(&life);
            died |= life.deaths > 0;
        }
        if !died {
            return n - 1;
        }
    }
    unreachable!("a run has no end")
}

/// Does nothing meanwhile.
pub(crate) async fn waits(_: &Coordinator, _: CommandId, _: &World) {}

/// Before the first commit, after it, before the second, …
fn crashes() -> impl Iterator<Item = Crash> {
    (1..).flat_map(|n| [Crash::Before(n), Crash::After(n)])
}

/// One tree, from its submit to its end.
pub(crate) struct Life {
    /// Where its processes died.
    pub(crate) crashes: Vec<Crash>,
    /// How many of the crashes there were.
    pub(crate) deaths: usize,
    pub(crate) world: World,
    /// What is stored in the end.
    pub(crate) rows: TreeRows,
}

impl Life {
    pub(crate) fn picture(&self, ordered: bool) -> Vec<Row> {
        picture(&self.rows, ordered)
    }

    /// The row of the root.
    pub(crate) fn root(&self) -> &CommandEntity {
        let root = self.rows.commands.iter().find(|row| row.parent_command_id.is_none());
        root.expect("a root is stored")
    }
}

/// One tree in an empty home, in processes that die in turn at `crashes` and a last one that
/// does not.
async fn live<C: Command>(
    home: &Home,
    crashes: &[Crash],
    command: &impl Fn(&World) -> C,
    meanwhile: impl AsyncFn(&Coordinator, CommandId, &World),
) -> Life {
    let (home, world) = (home.another().await, World::new());
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
                tokio::select! {
                    biased;
                    () = async {
                        meanwhile(&coordinator, handle.id(), &world).await;
                        std::future::pending::<()>().await;
                    } => unreachable!("it is pending"),
                    output = handle.output() => output.map(drop),
                }
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
        let is_told = output.as_ref().map_or_else(|error| error.failure().is_some(), |()| true);
        if !is_told {
            assert_eq!(engine_error_of(output), EngineError::Shutdown);
        }
        drop(coordinator);
        if is_told {
            let rows = home.tree(root.expect("it has a handle")).await;
            let root = rows.commands.iter().find(|row| row.parent_command_id.is_none());
            let is_stored = root.is_some_and(|root| root.progress.status.is_terminal());
            assert!(is_stored, "an end was told that is not stored: {root:?}");
        }
        deaths += 1;
        memory.push(Memory::of(&world, root, &home).await);
    }
    let rows = home.tree(root.expect("a root is stored")).await;
    assert!(rows.commands.iter().all(|row| row.progress.status.is_terminal()), "{rows:?}");
    memory.iter().for_each(|memory| memory.check(&world));
    check_ends(&world, &rows);
    Life { crashes: crashes.to_vec(), deaths, world, rows }
}

/// A parent ends after its children, and no command has ended well and badly.
fn check_ends(world: &World, rows: &TreeRows) {
    let order: HashMap<_, _> =
        rows.commands.iter().map(|row| (row.command_id, row.progress.end_order)).collect();
    for row in &rows.commands {
        let parent = row.parent_command_id.map_or(Some(i64::MAX), |parent| order[&parent]);
        assert!(row.progress.end_order < parent, "a parent ended before {row:?}");
    }
    let ledger = world.ledger();
    let ended = |how: &str| {
        let entries = ledger.iter().filter(|entry| entry.deed.ends_with(how));
        entries.map(|entry| entry.id).collect::<HashSet<_>>()
    };
    assert!(ended("ends well").is_disjoint(&ended("ends badly")), "{ledger:?}");
}

/// What was done, and what of it was stored as ended or undone, when a process died.
struct Memory {
    deeds: usize,
    ended: HashSet<(CommandId, Option<String>)>,
    executed: HashSet<CommandId>,
    undone: HashSet<CommandId>,
    /// The undo commands that were through, by what they note.
    unmade: HashSet<String>,
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
            // Not those of undo commands, nor of another tree.
            let others = ["undo by entry", "contender"];
            let is_own = |deed: &str| !others.iter().any(|other| deed.starts_with(other));
            for entry in ledger.iter().filter(|entry| is_own(&entry.deed)) {
                assert!(stored.contains(&entry.id), "done before it was stored: {entry:?}");
            }
        }
        let executed = rows.commands.iter().filter(|row| row.progress.executed);
        let undone = rows.commands.iter().filter(|row| row.progress.compensated_at.is_some());
        let unmade = rows.compensations.iter().filter(|entry| entry.compensated_at.is_some());
        let unmade = unmade.map(|entry| {
            let undo: Unmake = serde_json::from_str(&entry.command_parameters).expect("an undo");
            format!("undo by entry {}", undo.label)
        });
        Self {
            deeds: ledger.len(),
            ended: ended(&rows),
            executed: executed.map(|row| row.command_id).collect(),
            undone: undone.map(|row| row.command_id).collect(),
            unmade: unmade.collect(),
        }
    }

    /// Nothing was done again that was stored as ended, or undone again that was stored as undone.
    fn check(&self, world: &World) {
        for entry in world.ledger().split_off(self.deeds) {
            if entry.deed.starts_with("undo ") {
                assert!(!self.undone.contains(&entry.id), "undone again: {entry:?}");
                assert!(!self.unmade.contains(&entry.deed), "undone again: {entry:?}");
                continue;
            }
            // A round comes after `execute`, and is stored with what it changes.
            let is_end = entry.deed.contains("end") || entry.deed.starts_with("round ");
            assert!(is_end || !self.executed.contains(&entry.id), "executed again: {entry:?}");
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
