//! A command that waits in line, whose process dies before and after every commit; and in the kit
//! for tests of commands.

use coco_core::prelude::*;
use coco_core::testing::{Case, crash_sweep, fail_each_child, run_each_twice, undo_each_twice};
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::crash::{sweep, sweep_lives, sweep_twice};
use super::home::{Home, on_every_store};
use super::turns::{Disk, Part, Plan, alone, close, free, mark, plan, shared, take};
use super::world::World;

on_every_store!(
    children_that_wait_for_each_other,
    a_second_death,
    a_flow_and_a_contender,
    a_contender_that_fails_the_flow,
);

/// Holds a disk for children of which all but one wait, each for the one before.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution)]
struct Quarrel {
    #[lock(exclusive)]
    disk: Disk,
}

impl Execute for Quarrel {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let child = |label: &str| take(label, alone([self.disk.0]).and(shared([7])));
        let mut all = cx.children([child("one"), child("two"), child("three")]).await?;
        all.push(cx.child(close("four", alone([self.disk.0]))).await?.to_uppercase());
        all.push(cx.child(child("five")).await?);
        Ok(all)
    }
}

fn quarrel(_: &World) -> Quarrel {
    Quarrel { disk: Disk(1) }
}

async fn children_that_wait_for_each_other(home: Home) {
    let commits = sweep(&home, true, quarrel).await;
    assert!(commits > 6, "{commits}");
}

async fn a_second_death(home: Home) {
    let flow = |_: &World| {
        let parts = vec![take("one", alone([1])), take("two", alone([1]))];
        plan(free(), [Part::Together(parts)])
    };
    sweep_twice(&home, true, flow).await;
}

/// Submits a contender for what the flow wants, once, and lets it end.
async fn contends(coordinator: &Coordinator, world: &World) {
    let contender = take("contender", alone([1, 2]));
    let submitted = coordinator.submit_with_key("contender", contender).await;
    let Ok(handle) = submitted else { return };
    if handle.output().await.is_ok() {
        world.say("the contender", "ended");
    }
}

fn contended(_: &World) -> Plan {
    let takes = vec![take("a", alone([1])), take("b", alone([1, 2]))];
    let last = close("last", alone([2]));
    plan(shared([9]), [mark("first"), Part::Together(takes), last.into(), mark("over")])
}

async fn a_flow_and_a_contender(home: Home) {
    let meanwhile = async |coordinator: &Coordinator, _, world: &World| {
        contends(coordinator, world).await;
    };
    let commits = sweep_lives(&home, contended, meanwhile, |life| {
        assert_eq!(life.root().progress.status, CommandStatus::EndedSuccessfully);
        assert_eq!(life.rows.commands.len(), 6);
        let deeds = life.world.deeds();
        let mut now: Vec<&str> = Vec::new();
        for deed in &deeds {
            match deed.as_str() {
                "a" | "b" | "contender" => now.push(deed),
                "a done" | "b done" | "contender done" => now.clear(),
                _ => {}
            }
            now.dedup();
            assert!(now.len() < 2, "two at once, {:?}: {deeds:?}", life.crashes);
        }
    })
    .await;
    assert!(commits > 5, "{commits}");
}

async fn a_contender_that_fails_the_flow(home: Home) {
    let meanwhile = async |coordinator: &Coordinator, _, world: &World| {
        contends(coordinator, world).await;
    };
    let failing = |world: &World| {
        world.say("fail over", "it broke");
        contended(world)
    };
    sweep_lives(&home, failing, meanwhile, |life| {
        assert_eq!(life.root().progress.status, CommandStatus::EndedWithFailure);
        assert!(life.world.count("undo done last") > 0, "{:?}", life.crashes);
    })
    .await;
}

fn case() -> Case<Quarrel> {
    let world = World::new();
    Case::new(quarrel(&world)).provide(world)
}

#[tokio::test(start_paused = true)]
async fn the_kit_with_children_that_wait() {
    let report =
        crash_sweep(|| case().check(|end| assert_eq!(end.output().unwrap().len(), 5))).await;
    assert!(report.cases.len() > 10, "{:?}", report.cases);
    fail_each_child(case).await;
    run_each_twice(|| case().check(|end| assert!(end.output().is_ok()))).await;
    undo_each_twice(case).await;
}

#[tokio::test(start_paused = true)]
async fn the_kit_with_a_root_that_may_wait() {
    let case = || {
        let world = World::new();
        Case::new(take("alone", alone([1]))).provide(world)
    };
    let report =
        crash_sweep(|| case().check(|end| assert_eq!(end.output().unwrap(), "alone!"))).await;
    assert!(report.cases.len() >= 4, "{:?}", report.cases);
    run_each_twice(|| case().check(|end| assert!(end.output().is_ok()))).await;
}

/// Its one child waits for what its parent's other child keeps until its time is out.
#[tokio::test(start_paused = true)]
async fn the_kit_with_a_time_that_is_out() {
    let case = || {
        let world = World::new();
        world.close("one");
        let short = alone([1]).at_most(std::time::Duration::from_secs(5));
        let takes = vec![take("one", alone([1])), take("two", short)];
        let opens = world.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
            opens.open("one");
        });
        Case::new(plan(free(), [Part::Together(takes)])).provide(world)
    };
    crash_sweep(|| {
        case().check(|end| {
            let failures = end.output().unwrap();
            let kind = failures[1].as_ref().map(|failure| failure.kind);
            assert_eq!((&failures[0], kind), (&None, Some(FailureKind::LockTimedOut)));
        })
    })
    .await;
}
