//! `cargo bench -p coco-store --features postgres,testing --bench snapshot`: leaves per second on
//! PostgreSQL before, while and after another connection holds a snapshot, as a dump does: for so
//! long the server cannot forget what was overwritten. `COCO_TEST_POSTGRES_URL` says where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coco_core::prelude::*;
use coco_store::{SeaOrmStore, TestDatabase};
use sea_orm::sqlx::{self, Connection, Row};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

const IN_FLIGHT: u64 = 64;
/// What comes before the first figure: connections, plans, the first pages.
const WARM_UP: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(10);
/// So many windows under the snapshot.
const HELD: usize = 3;

#[derive(Command, Serialize, Deserialize)]
struct Leaf {
    number: u64,
}

impl Execute for Leaf {
    type Output = u64;

    async fn execute(&mut self, _: &Context<Self>) -> Result<u64> {
        Ok(self.number)
    }
}

/// How many leaves have ended, and whether there are to be more.
#[derive(Default)]
struct Load {
    ended: AtomicU64,
    is_over: AtomicBool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    if std::env::var_os("COCO_TEST_POSTGRES_URL").is_none() {
        println!(
            "the benchmark `snapshot` needs a server: say where one is in COCO_TEST_POSTGRES_URL"
        );
        return Ok(());
    }
    let database = TestDatabase::create().await;
    let store = SeaOrmStore::connect(database.address()).await?;
    let coordinator = Coordinator::builder(store.clone()).start().await?;
    let load = Arc::new(Load::default());
    let mut submitters = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        submitters.spawn(keep_submitting(coordinator.clone(), Arc::clone(&load)));
    }
    tokio::time::sleep(WARM_UP).await;

    println!("PostgreSQL, {IN_FLIGHT} leaves in flight, {WINDOW:?} each");
    println!("{:<24} {:>10} {:>10} {:>14}", "", "ends/s", "commits/s", "to before");
    let before = window(&load, &store).await;
    before.print("before", before);
    let mut dump = sqlx::PgConnection::connect(database.address()).await?;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut dump).await?;
    sqlx::raw_sql("SELECT count(*) FROM command_entities").execute(&mut dump).await?;
    let mut held = before;
    for n in 1..=HELD {
        held = window(&load, &store).await;
        held.print(&format!("snapshot held, window {n}"), before);
    }
    let dead = dead_rows(&database).await?;
    sqlx::raw_sql("ROLLBACK").execute(&mut dump).await?;
    window(&load, &store).await.print("let go", before);
    println!("ends/s under the snapshot, at last, to before: {:.2}", held.ends / before.ends);
    println!("dead rows when it was let go: {dead}");

    load.is_over.store(true, Ordering::Relaxed);
    while let Some(submitter) = submitters.join_next().await {
        submitter??;
    }
    coordinator.shutdown().await?;
    Ok(())
}

async fn keep_submitting(coordinator: Coordinator, load: Arc<Load>) -> Result<()> {
    for number in 0.. {
        if load.is_over.load(Ordering::Relaxed) {
            break;
        }
        coordinator.submit(Leaf { number }).await?.output().await?;
        load.ended.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Per second.
#[derive(Clone, Copy)]
struct Rate {
    ends: f64,
    commits: f64,
}

impl Rate {
    fn print(self, name: &str, before: Self) {
        let ratio = self.ends / before.ends;
        println!("{name:<24} {:>10.0} {:>10.0} {ratio:>14.2}", self.ends, self.commits);
    }
}

async fn window(load: &Load, store: &SeaOrmStore) -> Rate {
    let count = || (load.ended.load(Ordering::Relaxed), store.statistics().commits);
    let (begun, first) = (Instant::now(), count());
    tokio::time::sleep(WINDOW).await;
    let (seconds, last) = (begun.elapsed().as_secs_f64(), count());
    Rate { ends: (last.0 - first.0) as f64 / seconds, commits: (last.1 - first.1) as f64 / seconds }
}

/// In each table that has some.
async fn dead_rows(database: &TestDatabase) -> Result<String> {
    let mut connection = sqlx::PgConnection::connect(database.address()).await?;
    let rows = sqlx::query(
        "SELECT relname::text, n_dead_tup, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
         WHERE n_dead_tup > 0 ORDER BY n_dead_tup DESC",
    );
    let mut tables = Vec::new();
    for row in rows.fetch_all(&mut connection).await? {
        let name: String = row.try_get(0)?;
        let (dead, updated, hot): (i64, i64, i64) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        tables.push(format!("{name} {dead} ({updated} updates, {hot} of them in their page)"));
    }
    Ok(tables.join("; "))
}
