//! `cargo run --example next_operation`: upgrades hosts one after the other, and leaves out the one
//! that fails. With `-- die` at the end it dies before the third; run it once more, and it goes on.
use coco_core::prelude::*;
use coco_store::SeaOrmStore;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, needs(Dies))]
struct UpgradeAll {
    waiting: Vec<u32>, // what comes next is said by the fields, and they are stored
    left_out: Vec<String>,
}

impl Execute for UpgradeAll {
    type Output = String;
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<String> {
        Ok(String::new())
    }
}

impl NextOperation for UpgradeAll {
    /// Called after `execute`, and each time when the child that was started has ended. What it
    /// changes and starts is stored in one commit: after a crash it is called again with the fields
    /// as they were, or the host is off the list and the child is there.
    async fn perform_next_operation(
        &mut self,
        output: &mut String,
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        let Some(host) = self.waiting.pop() else {
            let upgraded = completed.len() - self.left_out.len();
            *output = format!("{upgraded} hosts are upgraded; {}", self.left_out.join(", "));
            return Ok(false); // nothing is left to do
        };
        cx.start(Upgrade { host });
        if completed.len() == 2 && cx.get::<Dies>().0 {
            println!("died before the upgrade of host {host} was stored");
            std::process::exit(9);
        }
        Ok(true)
    }

    /// Asked for each failed child, once.
    fn ignore_child_failure(&mut self, failure: &Failure) -> bool {
        self.left_out.push(failure.message.clone());
        true
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent)]
struct Upgrade {
    host: u32,
}

impl Execute for Upgrade {
    type Output = ();
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        if self.host == 2 {
            return Err(Error::other("host 2 does not answer"));
        }
        println!("upgraded host {}", self.host);
        Ok(())
    }
}

/// Whether the process dies.
struct Dies(bool);

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::temp_dir().join("coco-next-operation.db");
    let store = SeaOrmStore::connect(&format!("sqlite://{}", file.display())).await?;
    let dies = Dies(std::env::args().any(|word| word == "die"));
    let coordinator = Coordinator::builder(store).provide(dies).start().await?;
    let all = UpgradeAll { waiting: vec![4, 3, 2, 1], left_out: Vec::new() };
    let upgrade = match coordinator.report().resumed.first() {
        Some(unfinished) => coordinator.handle::<UpgradeAll>(*unfinished).await?,
        None => coordinator.submit(all).await?,
    };
    println!("{}", upgrade.output().await?);
    coordinator.shutdown().await
}
