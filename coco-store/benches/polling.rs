//! `cargo bench -p coco-store --bench polling`: what 100,000 polled commands cost when nothing
//! changes, on SQLite, with the default intervals: their polls, the processor's time, the commits and
//! the memory, and how soon a leaf beside them is through; and what the same polls cost with nothing
//! but tokio, a task for each. `COCO_POLLED=100000` sets their number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use coco_core::prelude::*;
use coco_store::{Durability, Options, SeaOrmStore};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Submits that wait for their answer at a time.
const IN_FLIGHT: usize = 1_000;
/// After so long every interval is the longest.
const SETTLING: Duration = Duration::from_secs(40);
const MEASURED: Duration = Duration::from_secs(30);
/// The longest pause by default.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How late an engine with as many alarms is woken, for all that are due by then.
const TOGETHER: Duration = Duration::from_millis(50);
/// The ticks of a second in which Linux counts.
const TICKS: f64 = 100.0;

#[derive(Clone, Default)]
struct Polls(Arc<AtomicUsize>);

/// Is never done.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(Polls))]
struct Polled {
    number: usize,
}

impl Execute for Polled {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Polling for Polled {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        cx.get::<Polls>().0.fetch_add(1, Ordering::Relaxed);
        Ok(Poll::Pending)
    }
}

#[derive(Command, Serialize, Deserialize)]
struct Leaf {}

impl Execute for Leaf {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

async fn run(commands: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("polled.db");
    let options = Options::default().durability(Durability::Relaxed);
    let store = SeaOrmStore::connect_with(&format!("sqlite://{}", path.display()), options).await?;
    let counters = store.clone();
    let commits = move || counters.statistics().commits;
    let polls = Polls::default();
    let coordinator = Coordinator::builder(store).provide(polls.clone()).start().await?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut submitters = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (coordinator, next) = (coordinator.clone(), Arc::clone(&next));
        submitters.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= commands {
                    break;
                }
                coordinator.submit(Polled { number }).await.expect("it is submitted");
            }
        });
    }
    submitters.join_all().await;
    tokio::time::sleep(SETTLING).await;
    let before = (polls.0.load(Ordering::Relaxed), processor(), commits());
    tokio::time::sleep(MEASURED).await;
    let after = (polls.0.load(Ordering::Relaxed), processor(), commits());
    let seconds = MEASURED.as_secs_f64();
    let share = (after.1 - before.1) / seconds;
    println!(
        "{commands} polled commands, nothing changes: {:.0} polls/s, {:.1} % of one core, {} commits, {} MiB",
        (after.0 - before.0) as f64 / seconds,
        share * 100.0,
        after.2 - before.2,
        memory(),
    );
    let began = Instant::now();
    coordinator.submit(Leaf {}).await?.output().await?;
    println!("a leaf beside them was through after {:.1?}", began.elapsed());
    coordinator.shutdown().await?;
    let bare = tokio::spawn(bare(commands)).await?;
    println!(
        "tokio alone, a task, an alarm and a decoding for each poll: {:.1} % of one core; ratio {:.1}",
        bare * 100.0,
        share / bare
    );
    Ok(())
}

/// The share of a core that it takes to do no more than poll: find what is due, decode it, call it in
/// a task of its own, see that nothing has changed, and set the next alarm.
async fn bare(commands: usize) -> f64 {
    let started = Instant::now();
    let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (mut fields, mut alarms, mut running) = (HashMap::new(), BTreeMap::new(), HashMap::new());
    for number in 0..commands {
        let id = uuid::Uuid::now_v7();
        let json: Arc<str> = serde_json::to_string(&Polled { number }).expect("it is JSON").into();
        fields.insert(id, json);
        alarms.insert((started + LONGEST_PAUSE.mul_f64(number as f64 / commands as f64), id), ());
    }
    let settled = started + LONGEST_PAUSE;
    let mut before = None;
    loop {
        let next = alarms.first_key_value().map_or_else(Instant::now, |((when, _), ())| *when);
        tokio::select! {
            biased;
            Some((id, when)) = heard.recv() => {
                running.remove(&id);
                alarms.insert((when + LONGEST_PAUSE, id), ());
            }
            () = tokio::time::sleep_until((next + TOGETHER).into()) => {
                let now = Instant::now();
                while let Some(due) = alarms.first_entry().filter(|due| due.key().0 <= now) {
                    let ((when, id), ()) = due.remove_entry();
                    let (fields, said) = (Arc::clone(&fields[&id]), said.clone());
                    let poll = async move {
                        let polled: Box<Polled> = serde_json::from_str(&fields).expect("it is one");
                        let same = serde_json::to_string(&polled).expect("it is JSON") == *fields;
                        assert!(same, "it changes nothing");
                        // When all is measured nobody listens.
                        let _ = said.send((id, when));
                    };
                    running.insert(id, tokio::spawn(poll));
                }
                if now > settled + MEASURED {
                    let (since, processor_then) = before.expect("it was settled before");
                    return (processor() - processor_then) / now.duration_since(since).as_secs_f64();
                }
                if now > settled && before.is_none() {
                    before = Some((now, processor()));
                }
            }
        }
    }
}

/// The processor's time of this process, in seconds.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// What this process has in memory, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn main() {
    let commands = std::env::var("COCO_POLLED").ok().and_then(|number| number.parse().ok());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(commands.unwrap_or(100_000))).expect("it runs");
}
