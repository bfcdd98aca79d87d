//! `cargo bench -p coco-store --bench scale`: what many commands cost, on SQLite with
//! `synchronous=FULL`: the memory of a process that has submitted a million, of which none can
//! end, and how soon the first of 100,000 unfinished ones goes on after a start.
//!
//! Each figure is taken in a process of its own. `COCO_SCALE=1000000,100000` sets both numbers.

use std::path::Path;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use coco_core::prelude::*;
use coco_store::SeaOrmStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Submits that wait for their answer at a time.
const IN_FLIGHT: usize = 1_000;

/// Tells when the first leaf has begun, and when all have ended.
#[derive(Clone, Default)]
struct Progress(Arc<Inner>);

#[derive(Default)]
struct Inner {
    begun: AtomicUsize,
    first: Notify,
    ended: AtomicUsize,
    all: Notify,
}

/// Ends at once, or never.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Progress, Ends))]
struct Leaf {
    number: usize,
}

/// How many leaves there are; none when they do not end.
#[derive(Clone, Copy)]
struct Ends(Option<usize>);

impl Execute for Leaf {
    type Output = usize;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<usize> {
        let Progress(progress) = cx.get::<Progress>();
        if progress.begun.fetch_add(1, Ordering::Relaxed) == 0 {
            progress.first.notify_one();
        }
        let Some(leaves) = cx.get::<Ends>().0 else { return std::future::pending().await };
        if progress.ended.fetch_add(1, Ordering::Relaxed) + 1 == leaves {
            progress.all.notify_one();
        }
        Ok(self.number)
    }
}

async fn start(path: &Path, ends: Option<usize>, progress: Progress) -> Coordinator {
    let store = SeaOrmStore::connect(&format!("sqlite://{}", path.display())).await;
    let builder = Coordinator::builder(store.expect("the store opens"));
    let started = builder.provide(progress).provide(Ends(ends)).start().await;
    started.expect("the engine starts")
}

/// Submits leaves that do not end.
async fn fill(path: &Path, leaves: usize) {
    let coordinator = start(path, None, Progress::default()).await;
    let (began, empty) = (Instant::now(), memory());
    let next = Arc::new(AtomicUsize::new(0));
    let mut submitters = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (coordinator, next) = (coordinator.clone(), Arc::clone(&next));
        submitters.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= leaves {
                    break;
                }
                coordinator.submit(Leaf { number }).await.expect("it is submitted");
            }
        });
    }
    submitters.join_all().await;
    let per_second = leaves as f64 / began.elapsed().as_secs_f64();
    println!(
        "{leaves} submitted, none ended: {} MiB in use, {} MiB at most ({} MiB when it was empty), {per_second:.0} submits/s",
        memory().0,
        memory().1,
        empty.0,
    );
    // As if the process had died.
    std::process::exit(0);
}

/// Starts over leaves that were interrupted, and lets them end.
async fn go_on(path: &Path, leaves: usize) {
    let progress = Progress::default();
    let began = Instant::now();
    let first = tokio::spawn({
        let progress = progress.clone();
        async move {
            progress.0.first.notified().await;
            began.elapsed()
        }
    });
    let coordinator = start(path, Some(leaves), progress.clone()).await;
    let started = began.elapsed();
    let first = first.await.expect("it is told");
    progress.0.all.notified().await;
    println!(
        "{leaves} unfinished: the first went on after {first:.1?}, `start` was back after {started:.1?}, all ran after {:.1?}; {} MiB at most",
        began.elapsed(),
        memory().1,
    );
    coordinator.shutdown().await.expect("it stops");
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
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, what, path, leaves] = &arguments[..] {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (path, leaves) = (Path::new(path), leaves.parse().expect("a number"));
        match what.as_str() {
            "fill" => runtime.block_on(fill(path, leaves)),
            _ => runtime.block_on(go_on(path, leaves)),
        }
        return;
    }
    let sizes = std::env::var("COCO_SCALE").unwrap_or_else(|_| "1000000,100000".to_owned());
    let (many, some) = sizes.split_once(',').expect("COCO_SCALE is two numbers");
    let directory = tempfile::tempdir().expect("a directory");
    let run = |what: &str, name: &str, leaves: &str| {
        let program = std::env::current_exe().expect("this program");
        let path = directory.path().join(name);
        let status = Process::new(program).arg(what).arg(path).arg(leaves).status();
        assert!(status.expect("it runs").success(), "{what} {leaves}");
    };
    run("fill", "many.db", many);
    run("fill", "some.db", some);
    run("go_on", "some.db", some);
}
