//! What code can ask its context, on every run of it.

use std::time::{Duration, SystemTime};

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, on_every_store};
use super::leaves::Mark;
use super::world::World;

on_every_store!(parents, resources, values_that_stay);

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(callback = SerialChildren)]
struct Mother {
    name: String,
}

impl Execute for Mother {
    type Output = (Vec<String>, Vec<String>);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {
        assert!(cx.parent::<Self>().is_none(), "a root has none");
        // What the flow changes of itself, its children do not see.
        self.name.push_str(", changed");
        let own = cx.child(Child {}).await?;
        let nested = cx.child(Nurse {}).await?;
        Ok((own, nested))
    }
}

/// Another parent, between the mother and the child.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Nurse {}

impl Execute for Nurse {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let mother = cx.parent::<Mother>().map(|mother| mother.name);
        let mut said = cx.child(Child {}).await?;
        said.extend(mother);
        Ok(said)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
struct Child {}

impl Child {
    fn said(by: &str, mother: Option<Mother>, nurse: &Option<Nurse>) -> String {
        let mother = mother.map_or_else(|| "nobody".to_owned(), |mother| mother.name);
        format!("{by}: {mother}, nursed: {}", nurse.is_some())
    }
}

impl Execute for Child {
    type Output = Vec<String>;

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        let said = Self::said("validate", cx.parent(), &cx.parent());
        cx.get::<World>().note(cx.id(), said, cx.attempt());
        Ok(())
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        cx.get::<World>().note(cx.id(), "execute", cx.attempt());
        cx.get::<World>().pass("child").await;
        Ok(vec![Self::said("execute", cx.parent(), &cx.parent())])
    }

    async fn end_successfully(&mut self, _: &Vec<String>, cx: &LeafContext<Self>) -> Result<()> {
        let said = Self::said("end", cx.parent(), &cx.parent());
        cx.get::<World>().note(cx.id(), said, cx.attempt());
        Ok(())
    }
}

async fn parents(home: Home) {
    let world = World::new();
    world.close("child");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Mother { name: "Ann".into() }).await.unwrap().id();
    world.noted("execute").await;
    drop(coordinator);
    world.open("child");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Mother>(id).await.unwrap();
    let (own, nested) = handle.output().await.unwrap();
    assert_eq!(own, ["execute: Ann, nursed: false"]);
    assert_eq!(nested, ["execute: nobody, nursed: true", "Ann"]);
    assert_eq!(
        world.deeds(),
        [
            "validate: Ann, nursed: false",
            "execute",
            "validate: Ann, nursed: false",
            "execute",
            "end: Ann, nursed: false",
            "validate: nobody, nursed: true",
            "execute",
            "end: nobody, nursed: true",
        ]
    );
    let child = &world.ledger()[..5];
    assert!(child.iter().all(|entry| entry.id == child[0].id), "one identity on every run");
    let attempts: Vec<_> = child.iter().map(|entry| entry.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 2, 2]);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Resourceful {}

impl Execute for Resourceful {
    type Output = u64;

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "validate", cx.attempt());
        Ok(())
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
        let flow = cx.id();
        let step = |cx: LeafContext<Self>| async move {
            assert_eq!(cx.id(), flow);
            cx.get::<World>().note(cx.id(), "once", cx.attempt());
            Ok(cx.get::<World>().number())
        };
        cx.once("number", step).await
    }

    async fn end_successfully(&mut self, _: &u64, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "end", cx.attempt());
        Ok(())
    }
}

async fn resources(home: Home) {
    let (first, world) = (World::new(), World::new());
    let builder = Coordinator::builder(home.open().await).provide(first).provide(world.clone());
    let coordinator = builder.start().await.unwrap();
    let handle = coordinator.submit(Resourceful {}).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), world.number(), "the one that was provided last");
    assert_eq!(world.deeds(), ["validate", "once", "end"]);
    assert!(world.ledger().iter().all(|entry| entry.id == handle.id()));
    coordinator.shutdown().await.unwrap();
}

/// Values that are derived, before and after the flow has waited.
#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Values {
    uuids: Vec<String>,
    times: Vec<SystemTime>,
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Derives {
    world: u64,
}

impl Execute for Derives {
    type Output = Values;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Values> {
        let world = World::at(self.world);
        let mut values = Values { uuids: Vec::new(), times: Vec::new() };
        for label in ["one", "two", "three"] {
            values.uuids.extend([cx.uuid().to_string(), cx.uuid().to_string()]);
            values.times.extend([cx.now(), cx.now()]);
            world.note(cx.id(), serde_json::to_string(&values)?, 1);
            cx.child(Mark::new(label)).await?;
        }
        values.times.push(cx.now());
        Ok(values)
    }
}

async fn values_that_stay(home: Home) {
    let world = World::new();
    world.close("three");
    let before = SystemTime::now() - Duration::from_millis(1);
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Derives { world: world.number() }).await.unwrap().id();
    world.noted("three").await;
    let live: Vec<_> = world.ledger().into_iter().filter(|entry| entry.id == id).collect();
    drop(coordinator);
    world.open("three");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Derives>(id).await.unwrap();
    let values = handle.output().await.unwrap();
    let all: Vec<_> = world.ledger().into_iter().filter(|entry| entry.id == id).collect();
    assert_eq!(all[..3], live[..], "a replay");
    assert_eq!(all[3..], live[..], "gives the same values again");
    let mut uuids = values.uuids.clone();
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 6, "each position has its own");
    assert!(values.times.is_sorted());
    assert!(values.times.chunks_exact(2).all(|pair| pair[0] == pair[1]));
    assert!(before < values.times[0] && values.times[6] <= SystemTime::now());
    coordinator.shutdown().await.unwrap();
}
