//! `concurrency`: never more of a type at once, in the order of asking, also over a restart.

use coco_core::CommandStatus;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store};
use super::world::World;

on_every_store!(
    never_more_at_once,
    in_the_order_of_asking,
    over_a_restart,
    below_its_own_type,
    children_of_many_flows,
    a_place_is_given_back,
);

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, concurrency = 3, needs(World))]
struct Narrow {
    label: String,
}

impl Execute for Narrow {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), "in", cx.attempt());
        world.note(cx.id(), &*self.label, cx.attempt());
        world.pass(&self.label).await;
        tokio::task::yield_now().await;
        world.note(cx.id(), "out", cx.attempt());
        match world.word(&format!("fail {}", self.label)).as_deref() {
            Some("panic") => panic!("{}", self.label),
            Some(why) => Err(Error::other(why)),
            None => Ok(()),
        }
    }
}

fn narrow(label: impl Into<String>) -> Narrow {
    Narrow { label: label.into() }
}

/// The most that were in at once.
fn most(world: &World) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for deed in world.deeds() {
        match deed.as_str() {
            "in" => now += 1,
            "out" => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

fn labels(world: &World) -> Vec<String> {
    world.deeds().into_iter().filter(|deed| deed.starts_with("n ")).collect()
}

async fn never_more_at_once(home: Home) {
    let world = World::new();
    (0..3).for_each(|n| world.close(&format!("n {n}")));
    let coordinator = home.start(&world).await;
    let mut handles = Vec::new();
    for n in 0..40 {
        handles.push(coordinator.submit(narrow(format!("n {n}"))).await.unwrap());
    }
    (0..3).for_each(|n| world.open(&format!("n {n}")));
    for handle in handles {
        handle.output().await.unwrap();
    }
    assert_eq!(most(&world), 3);
    assert_eq!(world.count("in"), 40);
    coordinator.shutdown().await.unwrap();
}

async fn in_the_order_of_asking(home: Home) {
    let world = World::new();
    (0..3).for_each(|n| world.close(&format!("n {n}")));
    let coordinator = home.start(&world).await;
    let mut handles = Vec::new();
    for n in 0..10 {
        handles.push(coordinator.submit(narrow(format!("n {n}"))).await.unwrap());
    }
    for n in 0..3 {
        world.noted(&format!("n {n}")).await;
    }
    assert_eq!(labels(&world).len(), 3);
    assert_eq!(handles[3].status().await.unwrap(), CommandStatus::NotStarted);
    world.open("n 1");
    for handle in handles.iter().skip(3) {
        handle.output().await.unwrap();
    }
    let expected: Vec<_> = (0..10).map(|n| format!("n {n}")).collect();
    assert_eq!(labels(&world), expected);
    world.open("n 0");
    world.open("n 2");
    coordinator.shutdown().await.unwrap();
}

/// What had a place has it again, and the others wait as they did.
async fn over_a_restart(home: Home) {
    let world = World::new();
    (0..3).for_each(|n| world.close(&format!("n {n}")));
    let coordinator = home.start(&world).await;
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(coordinator.submit(narrow(format!("n {n}"))).await.unwrap().id());
    }
    world.noted_times("in", 3).await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("in", 6).await;
    let mut again = labels(&world)[3..].to_vec();
    again.sort();
    assert_eq!(again, ["n 0", "n 1", "n 2"]);
    assert_eq!(home.entity(ids[3]).await.progress.status, CommandStatus::NotStarted);
    (0..3).for_each(|n| world.open(&format!("n {n}")));
    for id in ids {
        coordinator.handle::<Narrow>(id).await.unwrap().output().await.unwrap();
    }
    let waited: Vec<_> = (3..8).map(|n| format!("n {n}")).collect();
    assert_eq!(labels(&world)[6..], waited);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, concurrency = 1)]
struct Doll {
    depth: u32,
}

impl Execute for Doll {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        match self.depth {
            0 => Ok(1),
            depth => Ok(1 + cx.child(Self { depth: depth - 1 }).await?),
        }
    }
}

/// It would wait for its own ancestor.
async fn below_its_own_type(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let one = coordinator.submit(Doll { depth: 4 }).await.unwrap();
    let other = coordinator.submit(Doll { depth: 4 }).await.unwrap();
    assert_eq!(one.output().await.unwrap(), 5);
    assert_eq!(other.output().await.unwrap(), 5);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Many {
    width: usize,
}

impl Execute for Many {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.children((0..self.width).map(|n| narrow(format!("n {n}")))).await?;
        cx.child(narrow("n last")).await
    }
}

async fn children_of_many_flows(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut handles = Vec::new();
    for _ in 0..5 {
        handles.push(coordinator.submit(Many { width: 7 }).await.unwrap());
    }
    for handle in handles {
        handle.output().await.unwrap();
    }
    assert_eq!((most(&world), world.count("in")), (3, 40));
    coordinator.shutdown().await.unwrap();
}

/// However it ends: by an error, a panic, or cancelled.
async fn a_place_is_given_back(home: Home) {
    let world = World::new();
    ["n 0", "n 1", "n 2"].iter().for_each(|gate| world.close(gate));
    world.say("fail n 0", "it broke");
    world.say("fail n 1", "panic");
    let grace = |builder: coco_core::Builder| builder.cancel_grace(std::time::Duration::ZERO);
    let coordinator = home.start_with(&world, grace).await;
    let mut handles = Vec::new();
    for n in 0..6 {
        handles.push(coordinator.submit(narrow(format!("n {n}"))).await.unwrap());
    }
    world.noted_times("in", 3).await;
    world.close("n 3");
    world.close("n 4");
    world.close("n 5");
    world.open("n 0");
    world.noted("n 3").await;
    world.open("n 1");
    world.noted("n 4").await;
    handles[2].cancel().await.unwrap();
    world.noted("n 5").await;
    (3..6).for_each(|n| world.open(&format!("n {n}")));
    for (n, handle) in handles.into_iter().enumerate() {
        let output = handle.output().await;
        if n < 3 {
            failure_of(output);
        } else {
            output.unwrap();
        }
    }
    coordinator.shutdown().await.unwrap();
}
