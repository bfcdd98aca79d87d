//! `cargo bench -p coco-store --bench storm`: events in a storm for one command, on SQLite and in
//! memory: how many are published and heard a second, and the memory meanwhile.
//! `COCO_EVENTS=300000` sets their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use coco_core::prelude::*;
use coco_core::store::{MemoryStore, Store};
use coco_store::{Durability, Options, SeaOrmStore};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Events that wait for their answer at a time.
const IN_FLIGHT: usize = 1_000;

/// Tells when the command listens.
#[derive(Clone, Default)]
struct Listens(Arc<Notify>);

/// Hears so many events.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(Listens))]
struct Hears {
    events: usize,
    heard: usize,
}

impl Execute for Hears {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("*|storage|created|*").await?;
        cx.get::<Listens>().0.notify_one();
        Ok(())
    }
}

impl Polling for Hears {
    async fn poll(&mut self, (): &mut (), _: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Pending)
    }

    async fn on_event(&mut self, (): &mut (), _: &Event, _: &Context<Self>) -> Result<Poll> {
        self.heard += 1;
        Ok(if self.heard < self.events { Poll::Pending } else { Poll::Ready })
    }
}

async fn run(events: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let address = format!("sqlite://{}", directory.path().join("storm.db").display());
    let options = Options::default().durability(Durability::Relaxed);
    let store = SeaOrmStore::connect_with(&address, options).await?;
    storm(events, "on SQLite", store).await?;
    storm(events, "in memory", MemoryStore::default()).await
}

async fn storm(events: usize, place: &str, store: impl Store + 'static) -> Result<()> {
    let listens = Listens::default();
    let coordinator = Coordinator::builder(store).provide(listens.clone()).start().await?;
    let handle = coordinator.submit(Hears { events, heard: 0 }).await?;
    listens.0.notified().await;
    let (began, before) = (Instant::now(), memory().0);
    let next = Arc::new(AtomicUsize::new(0));
    let mut publishers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (coordinator, next) = (coordinator.clone(), Arc::clone(&next));
        publishers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    break;
                }
                let event = Event::new(number.to_string(), "host|storage|created|7", number);
                let told = coordinator.publish(event.expect("JSON")).await;
                assert_eq!(told.expect("it is published"), 1);
            }
        });
    }
    publishers.join_all().await;
    let published = began.elapsed();
    handle.output().await?;
    let heard = began.elapsed();
    let (_, most) = memory();
    println!(
        "{events} events for one command {place}: {:.0} published/s, {:.0} heard/s, {most} MiB at most ({before} MiB before)",
        events as f64 / published.as_secs_f64(),
        events as f64 / heard.as_secs_f64(),
    );
    coordinator.shutdown().await
}

/// What this process has in memory now, and had at most, in MiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn main() {
    let events = std::env::var("COCO_EVENTS").ok().and_then(|number| number.parse().ok());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(events.unwrap_or(300_000))).expect("it runs");
}
