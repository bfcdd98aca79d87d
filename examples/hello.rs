//! `cargo run --example hello`: makes a virtual machine with two disks, and prints them.
use coco_core::prelude::*;
use coco_store::SeaOrmStore;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, callback = SerialChildren)]
struct CreateVm {
    #[lock(exclusive, group = "vm")]
    name: String,
}

impl Execute for CreateVm {
    type Output = String;
    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let disk = |purpose| CreateDisk(format!("{}-{purpose}", self.name));
        let disks = cx.children([disk("system"), disk("data")]).await?; // side by side
        Ok(format!("{} has {}", self.name, disks.join(" and ")))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent)]
struct CreateDisk(String);

impl Execute for CreateDisk {
    type Output = String;
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<String> {
        Ok(self.0.clone()) // here the disk would be made
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let store = SeaOrmStore::connect("sqlite://coco.db").await?;
    let coordinator = Coordinator::builder(store).start().await?;
    let vm = coordinator.submit(CreateVm { name: "web".to_owned() }).await?;
    println!("{}", vm.output().await?);
    coordinator.shutdown().await
}
