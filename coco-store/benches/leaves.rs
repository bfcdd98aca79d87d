//! `cargo bench -p coco-store`: leaves and flow steps per second, and the time from submit to end,
//! on SQLite with `synchronous=FULL`, beside plain inserts with one commit each; and the same on
//! PostgreSQL, with `--features postgres,testing` and `COCO_TEST_POSTGRES_URL`.
//!
//! Machines are noisy: the measurements take turns for several rounds on fresh databases, and the
//! last column is the ratio to the plain inserts of the same round.

use std::time::{Duration, Instant};

use coco_core::prelude::*;
use coco_store::SeaOrmStore;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const ROUNDS: usize = 5;
const INSERTS: usize = 5_000;
const ALONE: usize = 3_000;
const TOGETHER: usize = 60_000;
const IN_FLIGHT: usize = 64;
const FLOWS: usize = 200;
const STEPS: u32 = 10;

#[derive(Command, Serialize, Deserialize)]
struct Leaf {
    number: u64,
}

impl Execute for Leaf {
    type Output = u64;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<u64> {
        Ok(self.number)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Flow {
    steps: u32,
}

impl Execute for Flow {
    type Output = u64;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
        let mut sum = 0;
        for number in 0..self.steps {
            sum += cx.child(Leaf { number: number.into() }).await?;
        }
        Ok(sum)
    }
}

/// The same, by operations.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation)]
struct Operations {
    steps: u32,
}

impl Execute for Operations {
    type Output = u64;

    async fn execute(&mut self, _: &Context<Self>) -> Result<u64> {
        Ok(0)
    }
}

impl NextOperation for Operations {
    async fn perform_next_operation(
        &mut self,
        _: &mut u64,
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        if completed.len() == self.steps as usize {
            return Ok(false);
        }
        cx.start(Leaf { number: completed.len() as u64 });
        Ok(true)
    }
}

/// What one measurement of one round gave.
struct Figure {
    per_second: f64,
    times: Vec<Duration>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    measure(Kind::Sqlite, "SQLite, WAL, synchronous=FULL").await?;
    #[cfg(feature = "postgres")]
    if std::env::var_os("COCO_TEST_POSTGRES_URL").is_some() {
        measure(Kind::Postgres, "PostgreSQL, synchronous_commit=on").await?;
    }
    Ok(())
}

/// Which database.
#[derive(Clone, Copy)]
enum Kind {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// An empty one.
enum Home {
    Sqlite(TempDir),
    #[cfg(feature = "postgres")]
    Postgres(coco_store::TestDatabase),
}

impl Home {
    async fn new(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Sqlite => Self::Sqlite(TempDir::new()?),
            #[cfg(feature = "postgres")]
            Kind::Postgres => Self::Postgres(coco_store::TestDatabase::create().await),
        })
    }
}

async fn measure(kind: Kind, what: &str) -> Result<()> {
    let names = [
        "plain inserts, 1 commit each",
        "leaves, 1 in flight",
        "leaves, 64 in flight",
        "steps of 200 serial flows",
        "steps of 200 next operations",
    ];
    let mut rows: [Vec<Figure>; 5] = Default::default();
    for _ in 0..ROUNDS {
        rows[0].push(plain_inserts(kind).await?);
        rows[1].push(leaves(kind, 1, ALONE).await?);
        rows[2].push(leaves(kind, IN_FLIGHT, TOGETHER).await?);
        rows[3].push(side_by_side(kind, || Flow { steps: STEPS }).await?);
        rows[4].push(side_by_side(kind, || Operations { steps: STEPS }).await?);
    }
    println!("{what}; min / median / max of {ROUNDS} rounds");
    println!(
        "{:<30} {:>26} {:>10} {:>10} {:>18}",
        "", "per second", "p50 µs", "p99 µs", "to plain inserts"
    );
    for (name, figures) in names.iter().zip(&rows) {
        let per_second = spread(figures.iter().map(|figure| figure.per_second));
        let ratios = figures
            .iter()
            .zip(&rows[0])
            .map(|(figure, plain)| figure.per_second / plain.per_second);
        let [low, middle, high] = spread(ratios);
        let mut times: Vec<_> = figures.iter().flat_map(|figure| &figure.times).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            times
                .get(times.len() * percent / 100)
                .map_or(String::new(), |t| t.as_micros().to_string())
        };
        let rate = per_second.map(|figure| format!("{figure:.0}")).join(" / ");
        println!(
            "{name:<30} {rate:>26} {:>10} {:>10} {:>18}",
            at(50),
            at(99),
            format!("{low:.1} / {middle:.1} / {high:.1}")
        );
    }
    Ok(())
}

fn spread(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    [figures[0], figures[figures.len() / 2], figures[figures.len() - 1]]
}

fn per_second(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn plain_inserts(kind: Kind) -> Result<Figure> {
    match Home::new(kind).await? {
        Home::Sqlite(home) => {
            let options = SqliteConnectOptions::new()
                .filename(home.path().join("plain.db"))
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .disable_statement_logging();
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
            let table = "CREATE TABLE plain (id BLOB PRIMARY KEY, name TEXT, parameters TEXT, created_at BIGINT, status TEXT)";
            sqlx::query(table).execute(&mut connection).await?;
            let begun = Instant::now();
            for number in 0..INSERTS {
                sqlx::query("INSERT INTO plain VALUES (?, 'leaf', ?, 0, 'active')")
                    .bind(uuid::Uuid::now_v7())
                    .bind(format!("{{\"number\":{number}}}"))
                    .execute(&mut connection)
                    .await?;
            }
            Ok(Figure { per_second: per_second(INSERTS, begun), times: Vec::new() })
        }
        #[cfg(feature = "postgres")]
        Home::Postgres(home) => {
            let mut connection = sqlx::PgConnection::connect(home.address()).await?;
            let table = "CREATE TABLE plain (id UUID PRIMARY KEY, name TEXT, parameters TEXT, created_at BIGINT, status TEXT)";
            sqlx::query(table).execute(&mut connection).await?;
            let begun = Instant::now();
            for number in 0..INSERTS {
                sqlx::query("INSERT INTO plain VALUES ($1, 'leaf', $2, 0, 'active')")
                    .bind(uuid::Uuid::now_v7())
                    .bind(format!("{{\"number\":{number}}}"))
                    .execute(&mut connection)
                    .await?;
            }
            Ok(Figure { per_second: per_second(INSERTS, begun), times: Vec::new() })
        }
    }
}

async fn engine(home: &Home) -> Result<Coordinator> {
    let store = match home {
        Home::Sqlite(home) => {
            let file = home.path().join("coco.db");
            SeaOrmStore::connect(&format!("sqlite://{}", file.display())).await?
        }
        #[cfg(feature = "postgres")]
        Home::Postgres(home) => SeaOrmStore::connect(home.address()).await?,
    };
    Coordinator::builder(store).start().await
}

async fn leaves(kind: Kind, in_flight: usize, count: usize) -> Result<Figure> {
    let home = Home::new(kind).await?;
    let coordinator = engine(&home).await?;
    let begun = Instant::now();
    let submitters: Vec<_> = (0..in_flight)
        .map(|_| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(count / in_flight);
                for number in 0..count / in_flight {
                    let begun = Instant::now();
                    coordinator.submit(Leaf { number: number as u64 }).await?.output().await?;
                    times.push(begun.elapsed());
                }
                Ok::<_, Error>(times)
            })
        })
        .collect();
    let mut times = Vec::with_capacity(count);
    for submitter in submitters {
        times.extend(submitter.await??);
    }
    let figure = Figure { per_second: per_second(times.len(), begun), times };
    coordinator.shutdown().await?;
    Ok(figure)
}

async fn side_by_side<C: Command>(kind: Kind, command: impl Fn() -> C) -> Result<Figure> {
    let home = Home::new(kind).await?;
    let coordinator = engine(&home).await?;
    let begun = Instant::now();
    let submitters: Vec<_> = (0..FLOWS)
        .map(|_| {
            let (coordinator, command) = (coordinator.clone(), command());
            tokio::spawn(async move { coordinator.submit(command).await?.output().await })
        })
        .collect();
    for submitter in submitters {
        submitter.await??;
    }
    let figure =
        Figure { per_second: per_second(FLOWS * STEPS as usize, begun), times: Vec::new() };
    coordinator.shutdown().await?;
    Ok(figure)
}
