//! Many trees at once, on several threads, and a crash in the middle of them.

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, in_time};
use super::leaves::Mark;
use super::world::World;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution, needs(World))]
struct Member {
    #[lock(exclusive, group = "crowd")]
    number: u32,
}

impl Member {
    fn output(number: u32) -> Vec<String> {
        ["one", "two", "three", "four"].map(|part| format!("{number} {part}!")).to_vec()
    }
}

impl Execute for Member {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let number = self.number;
        let mark = |part: &str| Mark::new(format!("{number} {part}"));
        let branch = async {
            let label = cx.once("label", |_| async { Ok(format!("{number} three")) }).await?;
            cx.child(Mark::new(label)).await
        };
        let (two, three) = tokio::join!(cx.children([mark("one"), mark("two")]), branch);
        let mut outputs = two?;
        outputs.push(three?);
        outputs.push(cx.child(mark("four")).await?);
        Ok(outputs)
    }
}

const CROWD: u32 = 300;

async fn a_crowd(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut members = Vec::new();
    for number in 0..CROWD {
        let coordinator = coordinator.clone();
        members.push(tokio::spawn(async move { coordinator.submit(Member { number }).await }));
    }
    let mut ids = Vec::new();
    for member in members {
        ids.push(member.await.unwrap().unwrap().id());
    }
    world.noted(&format!("{} four done", CROWD / 2)).await;
    drop(coordinator);

    let coordinator = home.start(&world).await;
    assert!(coordinator.report().quarantined.is_empty());
    for (number, id) in (0..CROWD).zip(ids) {
        let handle = coordinator.handle::<Member>(id).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), Member::output(number));
    }
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    assert!(coordinator.report().resumed.is_empty());
    for number in 0..CROWD {
        coordinator.submit(Member { number }).await.unwrap();
    }
    coordinator.shutdown_within(std::time::Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory() {
    in_time(a_crowd(Home::memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite() {
    in_time(a_crowd(Home::sqlite())).await;
}
