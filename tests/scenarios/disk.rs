//! The disk is full, cannot be written, or is damaged under an engine that runs. SQLite only.

use std::fs;
use std::path::{Path, PathBuf};

use coco_core::prelude::*;
use coco_core::store::{Store, StoreError};
use coco_core::{CommandStatus, EngineError};
use coco_store::{Faults, Options, SeaOrmStore};
use sea_orm::sqlx::{self, Connection, Row, SqliteConnection};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::home::{engine_error_of, in_time, start, until};
use super::leaves::{Fragile, Mark};
use super::world::World;

const PAGE: usize = 4096;

struct Disk {
    directory: TempDir,
    faults: Faults,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { directory, faults: Faults::default() }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("coco.db")
    }

    fn address(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    async fn open(&self) -> SeaOrmStore {
        let options = Options::default().faults(self.faults.clone());
        SeaOrmStore::connect_with(&self.address(), options).await.expect("the file opens")
    }

    /// Another program that uses the same file.
    async fn stranger(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.address()).await.expect("the file opens")
    }
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.expect(sql);
}

/// Waits until a commit has failed again: it is the one before the last that was begun.
async fn tried_again(disk: &Disk, store: &SeaOrmStore) {
    let commits = store.statistics().commits;
    disk.faults.struck(2).await;
    assert_eq!(store.statistics().commits, commits, "something was committed");
}

/// So large that it does not fit into the pages that the file has.
fn large(label: &str) -> String {
    format!("{label}{}", "x".repeat(100_000))
}

/// Two children that may not run twice, one after the other.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Pair {
    labels: [String; 2],
}

impl Execute for Pair {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let first = cx.child(Fragile::new(&self.labels[0])).await?;
        let second = cx.child(Fragile::new(&self.labels[1])).await?;
        Ok(first + &second)
    }
}

/// What runs when the store cannot be written waits, and so does what is submitted. All goes on by
/// itself when `over` is set, and nothing is done twice.
async fn waits(fault: &'static str, over: &'static str) {
    let disk = Disk::new();
    let store = disk.open().await;
    let world = World::new();
    let coordinator = start(store.clone(), &world).await;
    let labels = [large("first"), large("second")];
    world.close(&labels[0]);
    let flow = coordinator.submit(Pair { labels: labels.clone() }).await.unwrap();
    world.noted(&labels[0]).await;

    disk.faults.set(fault);
    world.open(&labels[0]);
    world.noted(&format!("{} done", labels[0])).await;
    let late = large("late");
    let submitted = tokio::spawn({
        let (coordinator, late) = (coordinator.clone(), Fragile::new(&late));
        async move { coordinator.submit(late).await }
    });
    tried_again(&disk, &store).await;
    assert!(!submitted.is_finished(), "it was accepted, and is not stored");
    assert_eq!(world.count(&labels[1]) + world.count(&late), 0, "it ran, and is not stored");
    // What is stored can be read.
    assert_eq!(flow.status().await.unwrap(), CommandStatus::Active);

    disk.faults.set(over);
    let submitted = submitted.await.unwrap().unwrap();
    assert_eq!(submitted.output().await.unwrap(), format!("{late}!"));
    assert_eq!(flow.output().await.unwrap(), format!("{}!{}!", labels[0], labels[1]));
    for label in [&labels[0], &labels[1], &late] {
        assert_eq!(world.count(label), 1);
        assert_eq!(world.count(&format!("{label} done")), 1);
        assert_eq!(world.count(&format!("{label} ended")), 1);
    }
    coordinator.shutdown().await.unwrap();
    let coordinator = start(disk.open().await, &world).await;
    assert!(coordinator.report().resumed.is_empty());
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_waited_out() {
    in_time(waits("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 4294967294")).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_waited_out() {
    in_time(waits("PRAGMA query_only = true", "PRAGMA query_only = false")).await;
}

#[tokio::test]
async fn another_that_writes_is_waited_out() {
    in_time(async {
        let disk = Disk::new();
        disk.faults.set("PRAGMA busy_timeout = 0");
        let store = disk.open().await;
        let world = World::new();
        let coordinator = start(store.clone(), &world).await;
        world.close("early");
        let early = coordinator.submit(Fragile::new("early")).await.unwrap();
        world.noted("early").await;
        let mut other = disk.stranger().await;
        run(&mut other, "BEGIN IMMEDIATE").await;
        world.open("early");
        tried_again(&disk, &store).await;
        run(&mut other, "COMMIT").await;
        assert_eq!(early.output().await.unwrap(), "early!");
        assert_eq!(world.count("early done"), 1);
        coordinator.shutdown().await.unwrap();
    })
    .await;
}

/// What could not be stored is done again.
#[tokio::test]
async fn a_death_on_a_full_disk_loses_nothing() {
    in_time(async {
        let disk = Disk::new();
        let store = disk.open().await;
        let world = World::new();
        let coordinator = start(store.clone(), &world).await;
        let label = large("early");
        world.close(&label);
        let early = coordinator.submit(Mark::new(&label)).await.unwrap();
        world.noted(&label).await;
        disk.faults.set("PRAGMA max_page_count = 1");
        world.open(&label);
        tried_again(&disk, &store).await;
        drop(coordinator);
        assert_eq!(engine_error_of(early.output().await), EngineError::Shutdown);
        disk.faults.set("");
        let coordinator = start(disk.open().await, &world).await;
        assert_eq!(coordinator.report().resumed, [early.id()]);
        let early = coordinator.handle::<Mark>(early.id()).await.unwrap();
        assert_eq!(early.output().await.unwrap(), format!("{label}!"));
        assert_eq!(world.count(&format!("{label} done")), 2);
        coordinator.shutdown().await.unwrap();
    })
    .await;
}

/// Brings all that is stored into the file, and writes nonsense over the page that `sql` names.
async fn damage(disk: &Disk, sql: &'static str) {
    let mut other = disk.stranger().await;
    let page: i64 = sqlx::query(sql).fetch_one(&mut other).await.unwrap().get(0);
    // Others read anew what somebody has written.
    run(&mut other, "UPDATE engines SET clean = clean; PRAGMA wal_checkpoint(TRUNCATE)").await;
    let mut bytes = fs::read(disk.file()).unwrap();
    bytes[(page as usize - 1) * PAGE..][..PAGE].fill(0xa5);
    fs::write(disk.file(), bytes).unwrap();
}

/// Starting refuses the file, and leaves it as it is.
async fn refused(disk: &Disk, world: &World) {
    let before = fs::read(disk.file()).unwrap();
    let builder = Coordinator::builder(disk.open().await).provide(world.clone());
    let error = builder.start().await.expect_err("the file is damaged");
    assert!(matches!(error.downcast_ref(), Some(StoreError::Damaged(_))), "{error}");
    let text = error.to_string();
    assert!(text.ends_with("nothing of it was deleted, restore it from a backup"), "{text}");
    let after = fs::read(disk.file()).unwrap();
    assert!(after.len() >= before.len(), "something was deleted");
}

/// A copy of all that is stored.
async fn back_up(disk: &Disk, backup: &Path) {
    let sql = format!("VACUUM INTO '{}'", backup.display());
    let sql = sqlx::AssertSqlSafe(sql);
    sqlx::raw_sql(sql).execute(&mut disk.stranger().await).await.unwrap();
}

#[tokio::test]
async fn damage_stops_the_engine_and_a_backup_goes_on() {
    in_time(async {
        let disk = Disk::new();
        let world = World::new();
        let coordinator = start(disk.open().await, &world).await;
        world.close("early");
        let early = coordinator.submit(Mark::new("early")).await.unwrap();
        world.noted("early").await;
        let backup = disk.directory.path().join("backup.db");
        back_up(&disk, &backup).await;

        damage(&disk, "SELECT rootpage FROM sqlite_master WHERE name = 'command_entities'").await;
        let refusal = coordinator.submit(Mark::new("late")).await.map(drop);
        assert_eq!(engine_error_of(refusal), EngineError::Shutdown);
        assert_eq!(engine_error_of(early.output().await), EngineError::Shutdown);
        assert_eq!(world.count("late"), 0);
        let error = early.status().await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(StoreError::Damaged(_))), "{error}");
        drop(coordinator);
        refused(&disk, &world).await;

        for name in ["coco.db", "coco.db-wal", "coco.db-shm"] {
            let path = disk.directory.path().join(name);
            let _ = fs::rename(&path, path.with_extension("damaged"));
        }
        fs::rename(backup, disk.file()).unwrap();
        world.open("early");
        let coordinator = start(disk.open().await, &world).await;
        let early = coordinator.handle::<Mark>(early.id()).await.unwrap();
        assert_eq!(early.output().await.unwrap(), "early!");
        coordinator.shutdown().await.unwrap();
    })
    .await;
}

/// More open trees than recovery reads at a time, and what lies behind the first of them is
/// damaged.
#[tokio::test]
async fn damage_that_recovery_meets_late_is_not_waited_out() {
    in_time(async {
        let disk = Disk::new();
        let world = World::new();
        let coordinator = start(disk.open().await, &world).await;
        world.close("open");
        let mut submits = tokio::task::JoinSet::new();
        for _ in 0..600 {
            let coordinator = coordinator.clone();
            submits.spawn(async move { coordinator.submit(Mark::new("open")).await.map(drop) });
        }
        submits.join_all().await.into_iter().collect::<Result<()>>().unwrap();
        drop(coordinator);
        // The rows lie in their order.
        damage(
            &disk,
            "SELECT max(pageno) FROM dbstat WHERE name = 'command_entities' AND pagetype = 'leaf'",
        )
        .await;
        until(|| async { disk.open().await.acquire().await.is_ok() }).await;
        refused(&disk, &world).await;
    })
    .await;
}
