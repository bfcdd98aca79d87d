//! `cargo run --example fan_out`: asks three pools side by side how much room they have, and then
//! starts a second wave of children: a copy in each of the two pools that have most.
use std::sync::Arc;

use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct PlaceCopies {
    pools: Vec<String>,
    asked: Vec<Child<MeasurePool>>, // fields are stored, with the children that they name
    copies: Vec<Child<PlaceCopy>>,
}

impl Execute for PlaceCopies {
    type Output = Vec<String>;
    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        for pool in &self.pools {
            self.asked.push(cx.start(MeasurePool { pool: pool.clone() }));
        }
        Ok(Vec::new()) // now all three are stored, in one commit, and begin
    }
}

impl ConcurrentChildren for PlaceCopies {
    /// Called when all children have ended: the three pools, and then the two copies.
    async fn children_ended(
        &mut self,
        output: &mut Vec<String>,
        outcomes: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        outcomes.all_succeeded()?;
        for copy in &self.copies {
            output.push(outcomes.of(copy)?);
        }
        let pools = self.asked.drain(..).map(|asked| outcomes.of(&asked));
        let mut pools = pools.collect::<Result<Vec<_>>>()?;
        pools.sort_unstable_by(|a, b| b.cmp(a));
        for (_, pool) in pools.into_iter().take(2) {
            self.copies.push(cx.start(PlaceCopy { pool }));
        }
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Arc<Barrier>))]
struct MeasurePool {
    pool: String,
}

impl Execute for MeasurePool {
    type Output = (usize, String);
    async fn execute(&mut self, cx: &Context<Self>) -> Result<(usize, String)> {
        // Each waits for the other two: one after the other they would never end.
        if cx.get::<Arc<Barrier>>().wait().await.is_leader() {
            println!("three pools are asked at the same time");
        }
        Ok((self.pool.len(), self.pool.clone())) // here the pool would be asked
    }
}

#[derive(Command, Serialize, Deserialize)]
struct PlaceCopy {
    pool: String,
}

impl Execute for PlaceCopy {
    type Output = String;
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<String> {
        Ok(format!("a copy in {}", self.pool)) // here it would be made
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let builder = Coordinator::builder(MemoryStore::default()).provide(Arc::new(Barrier::new(3)));
    let coordinator = builder.start().await?;
    let pools = ["silver", "gold", "platinum"].map(str::to_owned).to_vec();
    let place = PlaceCopies { pools, asked: Vec::new(), copies: Vec::new() };
    let copies = coordinator.submit(place).await?.output().await?;
    println!("{}", copies.join(", "));
    coordinator.shutdown().await
}
