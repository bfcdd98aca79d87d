//! `cargo run --example external_task`: lets a storage copy two disks by itself. The engine asks it how
//! the copies stand; the second one is cancelled, and stopped.
use std::collections::HashMap;
use std::sync::Arc;

use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use coco_core::task::{ExternalTask, TaskContext, TaskFuture, TaskStatus, typetag};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "10ms"), needs(Storage))]
struct CopyDisk(u32);

impl Execute for CopyDisk {
    type Output = ();
    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let name = format!("copy of disk {}", self.0);
        cx.task(Copy(name.clone())).await?; // stored before it is begun
        cx.get::<Storage>().begin(name).await;
        Ok(())
    }
}

impl Polling for CopyDisk {
    /// Not called before the task is over.
    async fn poll(&mut self, _output: &mut (), _cx: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Ready)
    }
}

/// What the engine knows of a copy: enough to ask for it, also after a crash.
#[derive(Serialize, Deserialize)]
struct Copy(String);

#[typetag::serde(name = "copy")]
impl ExternalTask for Copy {
    fn status<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, TaskStatus> {
        Box::pin(async move {
            let mut copies = cx.get::<Storage>()?.0.lock().await;
            let Some(asked) = copies.get_mut(&self.0) else { return Ok(TaskStatus::Unknown) };
            *asked += 1; // disk 1 is copied when it was asked for three times, disk 2 never
            let is_done = *asked == 3 && self.0.ends_with('1');
            Ok(if is_done { TaskStatus::Succeeded } else { TaskStatus::Running })
        })
    }

    fn stop<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()> {
        Box::pin(async move { cx.get::<Storage>()?.end(&self.0, "stopped").await })
    }

    fn clear<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()> {
        Box::pin(async move { cx.get::<Storage>()?.end(&self.0, "forgotten").await })
    }
}

/// Stands for the storage: how often it was asked for each copy.
#[derive(Clone, Default)]
struct Storage(Arc<Mutex<HashMap<String, u32>>>);

impl Storage {
    async fn begin(&self, name: String) {
        println!("{name}: begun");
        self.0.lock().await.insert(name, 0);
    }

    async fn end(&self, name: &str, word: &str) -> Result<()> {
        println!("{name}: {word}");
        self.0.lock().await.remove(name);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let storage = Storage::default();
    let builder = Coordinator::builder(MemoryStore::default()).provide(storage.clone());
    let coordinator = builder.start().await?;
    coordinator.submit(CopyDisk(1)).await?.output().await?;
    println!("disk 1: it is copied");
    let second = coordinator.submit(CopyDisk(2)).await?;
    while storage.0.lock().await.is_empty() {
        tokio::task::yield_now().await;
    }
    second.cancel().await?;
    println!("disk 2: {}", second.output().await.unwrap_err());
    coordinator.shutdown().await
}
