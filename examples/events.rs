//! `cargo run --example events`: creates a disk in a storage that tells by events how far it is. The
//! command is not polled meanwhile, and an event that comes twice is heard once.
use std::time::Duration;

use coco_core::event::Event;
use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "10ms"), event_timeout = "900ms", needs(Storage))]
struct CreateDisk {
    disk: u32,
    polls: u32,
}

impl Execute for CreateDisk {
    type Output = Vec<String>;
    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        // First listen, then begin: an event from before the subscription is not heard.
        cx.subscribe(format!("storage|*|disk-{}", self.disk)).await?;
        cx.get::<Storage>().0.send(self.disk)?;
        Ok(Vec::new())
    }
}

impl Polling for CreateDisk {
    async fn on_event(
        &mut self,
        heard: &mut Vec<String>,
        event: &Event,
        _cx: &Context<Self>,
    ) -> Result<Poll> {
        heard.push(format!("{} %", event.payload));
        if event.payload != 100 {
            return Ok(Poll::Pending);
        }
        heard.push(format!("polled {} times", self.polls));
        Ok(Poll::Ready)
    }

    /// Called when no event has come for `event_timeout`, and after a restart: one may be missing.
    async fn poll(&mut self, _heard: &mut Vec<String>, _cx: &Context<Self>) -> Result<Poll> {
        self.polls += 1; // here the storage would be asked
        Ok(Poll::Pending)
    }
}

/// The storage, which is told what to create.
struct Storage(mpsc::UnboundedSender<u32>);

#[tokio::main]
async fn main() -> Result<()> {
    let (storage, mut orders) = mpsc::unbounded_channel();
    let builder = Coordinator::builder(MemoryStore::default()).provide(Storage(storage));
    let coordinator = builder.start().await?;
    let event = |id: &str, percent: u32| Event::new(id, "storage|create|disk-7", percent);
    println!("too early: stored for {}", coordinator.publish(event("early", 0)?).await?);

    let create = coordinator.submit(CreateDisk { disk: 7, polls: 0 }).await?;
    let disk = orders.recv().await;
    println!("the storage begins disk {}", disk.unwrap_or_default());
    println!("50 %: stored for {}", coordinator.publish(event("half", 50)?).await?);
    println!("50 % again: stored for {}", coordinator.publish(event("half", 50)?).await?);
    tokio::time::sleep(Duration::from_millis(200)).await;
    println!("100 %: stored for {}", coordinator.publish(event("done", 100)?).await?);
    println!("heard: {}", create.output().await?.join(", "));
    coordinator.shutdown().await
}
