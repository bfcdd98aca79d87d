//! `cargo run --example polling`: reboots two hosts and asks, at growing intervals, whether they are
//! up; the second one never is, and runs into the time-out.
use std::collections::HashMap;
use std::sync::Arc;

use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// Is polled after 10 ms, then after 20, 40, 80, 80 …, for a second and a half at most.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "10ms", max = "80ms"), timeout = "1500ms")]
#[command(needs(Arc<Hosts>))]
struct Reboot {
    host: u32,
}

impl Execute for Reboot {
    type Output = u32;
    /// Begins the work outside, and waits for nothing.
    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        cx.get::<Arc<Hosts>>().reboot(self.host).await;
        Ok(0)
    }
}

impl Polling for Reboot {
    /// Called again and again, also after a restart. As long as it changes nothing it stores nothing.
    async fn poll(&mut self, polls: &mut u32, cx: &Context<Self>) -> Result<Poll> {
        let Some(asked) = cx.get::<Arc<Hosts>>().is_up(self.host).await else {
            return Ok(Poll::Pending);
        };
        *polls = asked;
        Ok(Poll::Ready)
    }
}

/// Stands for hosts that are up when they were asked five times: how often each one was.
#[derive(Default)]
struct Hosts(Mutex<HashMap<u32, u32>>);

impl Hosts {
    async fn reboot(&self, host: u32) {
        self.0.lock().await.insert(host, 0);
    }

    /// How often it was asked, when it is up.
    async fn is_up(&self, host: u32) -> Option<u32> {
        let mut hosts = self.0.lock().await;
        let asked = hosts.get_mut(&host)?;
        *asked += 1;
        (*asked == 5 && host != 2).then_some(*asked)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let hosts = Arc::new(Hosts::default());
    let coordinator = Coordinator::builder(MemoryStore::default()).provide(hosts).start().await?;
    let first = coordinator.submit(Reboot { host: 1 }).await?;
    let second = coordinator.submit(Reboot { host: 2 }).await?;
    println!("host 1 is up, after {} polls", first.output().await?);
    match second.output().await {
        Ok(_) => println!("host 2 is up"),
        Err(failure) => println!("host 2: {failure}"),
    }
    coordinator.shutdown().await
}
