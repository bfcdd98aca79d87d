//! Two branches with two children of one type each, ended in every order: each branch is given
//! what its own children returned, in the order in which they ended, alive and after a crash.

use std::sync::Mutex;

use coco_core::prelude::*;
use coco_core::testing::Crash;
use serde::{Deserialize, Serialize};

use super::home::{Home, on_every_store, start};
use super::leaves::Mark;
use super::world::World;

on_every_store!(every_order, a_crash_at_every_commit);

const LABELS: [&str; 4] = ["a one", "a two", "b one", "b two"];

/// What the flow saw: what each branch got, and in which order.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
struct Seen {
    branches: Vec<Vec<String>>,
    order: Vec<String>,
    followers: Vec<String>,
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct TwoBranches {}

impl Execute for TwoBranches {
    type Output = Seen;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Seen> {
        let (order, followers) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let child = async |label: &str| {
            let output = cx.child(Mark::new(label)).await?;
            let place = {
                let mut order = order.lock().expect("no poison");
                order.push(label.to_owned());
                order.len()
            };
            // Asked for at a position, and with a parameter, that depend on the order.
            let follower = cx.child(Mark::new(format!("{place} is {label}"))).await?;
            followers.lock().expect("no poison").push(follower);
            Ok::<_, Error>(output)
        };
        let branch = async |name: &str| {
            let (one, two) = (format!("{name} one"), format!("{name} two"));
            let (one, two) = tokio::join!(child(&one), child(&two));
            Ok::<_, Error>(vec![one?, two?])
        };
        let (a, b) = tokio::join!(branch("a"), branch("b"));
        let branches = vec![a?, b?];
        let mut followers = followers.into_inner().expect("no poison");
        followers.sort();
        Ok(Seen { branches, order: order.into_inner().expect("no poison"), followers })
    }
}

fn expected(order: &[&str]) -> Seen {
    let outputs = |name: &str| vec![format!("{name} one!"), format!("{name} two!")];
    let follower = |(place, label): (usize, &&str)| format!("{} is {label}!", place + 1);
    Seen {
        branches: vec![outputs("a"), outputs("b")],
        order: order.iter().map(ToString::to_string).collect(),
        followers: order.iter().enumerate().map(follower).collect(),
    }
}

/// All orders of four.
fn orders() -> Vec<[&'static str; 4]> {
    let mut all = Vec::new();
    for n in 0..256 {
        let places = [n & 3, (n >> 2) & 3, (n >> 4) & 3, n >> 6];
        if (0..4).all(|place| places.contains(&place)) {
            all.push(places.map(|place| LABELS[place]));
        }
    }
    assert_eq!(all.len(), 24);
    all
}

/// Lets the four end one by one in this order, as far as the engine lives.
async fn end_in(world: &World, order: &[&str], handle: &CommandHandle<TwoBranches>) {
    let all_end = async {
        for label in LABELS {
            world.noted(label).await;
        }
        for label in order {
            world.open(label);
            world.noted(&format!("{label} done")).await;
        }
    };
    tokio::select! {
        () = all_end => {}
        _ = handle.output() => {}
    }
}

fn closed() -> World {
    let world = World::new();
    LABELS.iter().for_each(|label| world.close(label));
    world
}

async fn every_order(home: Home) {
    for order in orders() {
        let world = closed();
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(TwoBranches {}).await.unwrap();
        end_in(&world, &order, &handle).await;
        assert_eq!(handle.output().await.unwrap(), expected(&order));
        coordinator.shutdown().await.unwrap();
    }
}

async fn a_crash_at_every_commit(home: Home) {
    let step = if home.is_memory() { 1 } else { 7 };
    for order in orders().into_iter().step_by(step) {
        for n in 1.. {
            let before = crash_in(&home, &order, Crash::Before(n)).await;
            let after = crash_in(&home, &order, Crash::After(n)).await;
            if !before && !after {
                assert!(n > 4, "only {n} commits");
                break;
            }
        }
    }
}

/// True when it came to the crash.
async fn crash_in(home: &Home, order: &[&str], crash: Crash) -> bool {
    let (home, world) = (home.another().await, closed());
    let store = home.faulty().await;
    store.crash(crash);
    let coordinator = start(store.clone(), &world).await;
    if let Ok(handle) = coordinator.submit(TwoBranches {}).await {
        end_in(&world, order, &handle).await;
        let _ = handle.output().await;
    }
    drop(coordinator);
    LABELS.iter().for_each(|label| world.open(label));

    let coordinator = home.start(&world).await;
    if let Some(root) = coordinator.report().resumed.first() {
        let ended = ended(&home, *root).await;
        let seen = coordinator.handle::<TwoBranches>(*root).await.unwrap().output().await.unwrap();
        assert_eq!(seen.order[..ended.len()], ended, "the order that was stored, {crash:?}");
        assert_eq!(seen.branches, expected(order).branches, "{crash:?}");
        let order: Vec<_> = seen.order.iter().map(String::as_str).collect();
        assert_eq!(seen, expected(&order), "{crash:?}");
    }
    coordinator.shutdown().await.unwrap();
    store.is_dead()
}

/// Those of the four whose ends were stored, in their order.
async fn ended(home: &Home, root: CommandId) -> Vec<String> {
    let rows = home.tree(root).await.commands;
    let mut ends: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let mark: Mark = serde_json::from_str(&row.command_parameters).ok()?;
            let order = row.progress.end_order?;
            LABELS.contains(&&*mark.label).then_some((order, mark.label))
        })
        .collect();
    ends.sort();
    ends.into_iter().map(|(_, label)| label).collect()
}
