use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Double {
    n: u64,
}
impl Execute for Double {
    type Output = u64;
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<u64> {
        Ok(self.n * 2)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Sum {
    n: u64,
}
impl Execute for Sum {
    type Output = u64;
    async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
        let mut sum = 0;
        for n in 0..self.n {
            sum += cx.child(Double { n }).await?;
        }
        let side: Vec<u64> = cx.children((0..self.n).map(|n| Double { n })).await?;
        let extra: u64 = cx.once("extra", |_| async { Ok(100u64) }).await?;
        Ok(sum + side.iter().sum::<u64>() + extra)
    }
}

#[tokio::test]
async fn smoke() {
    let coordinator = Coordinator::builder(MemoryStore::default()).start().await.unwrap();
    let out = coordinator.submit(Sum { n: 4 }).await.unwrap().output().await.unwrap();
    assert_eq!(out, 124);
    coordinator.shutdown().await.unwrap();
}
