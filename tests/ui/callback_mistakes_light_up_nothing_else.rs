use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Leaf;

impl Execute for Leaf {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChild)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.once("measure", async |_| Ok(())).await?;
        cx.child(Leaf).await
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(calback = ConcurrentChildren)]
struct UpgradeAll;

impl Execute for UpgradeAll {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(Leaf);
        Ok(())
    }
}

impl ConcurrentChildren for UpgradeAll {}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling)]
struct Reboot<H> {
    host: H,
}

impl<H> Execute for Reboot<H>
where
    H: Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static,
{
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.compensate_with(Shutdown).await
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = None)]
struct Shutdown;

impl Execute for Shutdown {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
