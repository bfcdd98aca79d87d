//! Commands that wait for others: for who is in the way of their locks, and for their children.

use std::time::Duration;

use coco_core::lock::{ConflictReason, LockConflict};
use coco_core::prelude::*;
use coco_core::{Pause, Timestamp, Why};
use serde::{Deserialize, Serialize};

use super::disks::{Disk, HoldDisk, Wait, hold, in_line, take};
use super::home::{Home, on_every_store};
use super::late_locks_of_flows::{TakingFlow, taking_flow};
use super::leaves::{Mark, Nothing};
use super::why_waiting::{children, told, why};
use super::world::World;

on_every_store!(locks, locks_of_what_runs, children_and_theirs, many_children, several_at_a_time);

/// Who is in the way, in short.
fn in_the_way(why: &Why) -> Vec<(CommandId, ConflictReason)> {
    match why {
        Why::Locks { in_the_way, .. } => {
            let short = |conflict: &LockConflict| (conflict.holder, conflict.reason);
            in_the_way.iter().map(short).collect()
        }
        other => panic!("{other}"),
    }
}

fn waits_for(why: &Why) -> (Vec<&str>, Timestamp, Option<Timestamp>) {
    match why {
        Why::Locks { locks, since, until, .. } => {
            (locks.iter().map(|lock| lock.key.as_str()).collect(), *since, *until)
        }
        other => panic!("{other}"),
    }
}

/// The holder, who came first, since when and until when; in memory, and where it rests.
async fn locks(home: Home) {
    use ConflictReason::{Ahead, Held};
    for room in [1000, 2] {
        let (home, world) = (home.another().await, World::new());
        world.close("hold 1");
        let coordinator = home.start_with(&world, |builder| builder.most_trees(room)).await;
        let holder = coordinator.submit(hold(1)).await.unwrap();
        let waits = |wait| HoldDisk { disk: Disk(1), wait };
        let first = coordinator.submit(waits(Wait::Yes)).await.unwrap();
        in_line(&coordinator, 1).await;
        let second = coordinator.submit(waits(Wait::Seconds(10_000))).await.unwrap();
        in_line(&coordinator, 2).await;
        for _ in 0..3 {
            let told = why(&coordinator, first.id()).await;
            assert_eq!(in_the_way(&told), [(holder.id(), Held)]);
            let rows = coordinator.locks().await.unwrap();
            let (one, other) = (&rows.waiting[0].request, &rows.waiting[1].request);
            assert_eq!(waits_for(&told), (vec!["1"], one.at, None));
            let told = why(&coordinator, second.id()).await;
            assert_eq!(in_the_way(&told), [(holder.id(), Held), (first.id(), Ahead)]);
            let end = Timestamp::from_micros(other.at.as_micros() + 10_000_000_000);
            assert_eq!(waits_for(&told), (vec!["1"], other.at, Some(end)));
            let text = told.to_string();
            assert!(text.contains(&format!("hold_disk `{}` holds", holder.id())), "{text}");
            // What rests has left by then.
            coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
        }
        world.open("hold 1");
        for handle in [holder, first, second] {
            handle.output().await.unwrap();
            assert_eq!(why(&coordinator, handle.id()).await, Why::Ended);
        }
        coordinator.shutdown().await.unwrap();
    }
}

/// A leaf and a flow that have taken one more.
async fn locks_of_what_runs(home: Home) {
    let world = World::new();
    world.close("hold 1");
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let leaf = coordinator.submit(take(1, Wait::Yes)).await.unwrap();
    in_line(&coordinator, 1).await;
    let flow = coordinator.submit(taking_flow(1, Wait::Yes)).await.unwrap();
    in_line(&coordinator, 2).await;
    let is_in_line = |why: &Why| matches!(why, Why::Locks { .. });
    let of_leaf = told(&coordinator, leaf.id(), is_in_line).await;
    assert_eq!(in_the_way(&of_leaf), [(holder.id(), ConflictReason::Held)]);
    let of_flow = told(&coordinator, flow.id(), is_in_line).await;
    let expected = [(holder.id(), ConflictReason::Held), (leaf.id(), ConflictReason::Ahead)];
    assert_eq!(in_the_way(&of_flow), expected);
    drop(coordinator);
    // The holder goes on, and so does nobody else; the flow is not admitted any more.
    let coordinator = home.start_with(&world, |builder| builder.most_trees(1)).await;
    let of_flow = why(&coordinator, flow.id()).await;
    assert_eq!(in_the_way(&of_flow), expected);
    world.open("hold 1");
    let flow = coordinator.handle::<TakingFlow>(flow.id()).await.unwrap();
    flow.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Waits for a child that waits for a child.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Above {
    depth: u32,
    wide: u32,
}

impl Execute for Above {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        match self.depth {
            0 => {
                let waits = |_| HoldDisk { disk: Disk(1), wait: Wait::Yes };
                cx.children((0..self.wide).map(waits)).await.map(drop)
            }
            depth => cx.child(Self { depth: depth - 1, wide: self.wide }).await,
        }
    }
}

/// In memory, and where the whole tree rests.
async fn children_and_theirs(home: Home) {
    for room in [1000, 2] {
        let (home, world) = (home.another().await, World::new());
        world.close("hold 1");
        let coordinator = home.start_with(&world, |builder| builder.most_trees(room)).await;
        let holder = coordinator.submit(hold(1)).await.unwrap();
        let above = coordinator.submit(Above { depth: 1, wide: 1 }).await.unwrap();
        in_line(&coordinator, 1).await;
        for _ in 0..3 {
            let why = why(&coordinator, above.id()).await;
            let [below] = children(&why) else { panic!("{why}") };
            assert_eq!(below.command_type, "above");
            let [leaf] = children(below.why.as_ref().unwrap()) else { panic!("{why}") };
            assert_eq!(leaf.command_type, "hold_disk");
            let locks = leaf.why.as_ref().unwrap();
            assert_eq!(in_the_way(locks), [(holder.id(), ConflictReason::Held)]);
            let text = why.to_string();
            let chain = format!(
                "it waits for above `{}` (it waits for hold_disk `{}` (it waits since",
                below.id, leaf.id
            );
            assert!(text.starts_with(&chain), "{text}");
            coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
        }
        world.open("hold 1");
        holder.output().await.unwrap();
        above.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}

async fn many_children(home: Home) {
    let world = World::new();
    world.close("hold 1");
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let above = coordinator.submit(Above { depth: 0, wide: 70 }).await.unwrap();
    in_line(&coordinator, 70).await;
    let why = why(&coordinator, above.id()).await;
    let all = children(&why);
    assert_eq!(all.len(), 70);
    let told: Vec<_> = all.iter().map(|child| child.why.is_some()).collect();
    assert_eq!(told, [vec![true; 50], vec![false; 20]].concat(), "enough is enough");
    assert!(why.to_string().ends_with(" and 60 more"), "{why}");
    world.open("hold 1");
    holder.output().await.unwrap();
    above.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Waits for a child, a lock and a time, and lets a step run.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution, wait, needs(World))]
struct Busy {
    #[lock(shared)]
    disk: Disk,
}

impl Execute for Busy {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let step = |cx: LeafContext<Self>| async move {
            cx.get::<World>().note(cx.id(), "step", 1);
            cx.get::<World>().pass("step").await;
            Ok(())
        };
        let (child, lock, sleep, step) = tokio::join!(
            cx.child(Mark::new("a")),
            cx.lock(Disk(1), Exclusive),
            cx.sleep(Duration::from_secs(1)),
            cx.once("step", step),
        );
        child?;
        lock?;
        sleep?;
        step
    }
}

async fn several_at_a_time(home: Home) {
    let world = World::new();
    ["a", "hold 1", "step"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(hold(1)).await.unwrap();
    let busy = coordinator.submit(Busy { disk: Disk(2) }).await.unwrap();
    world.noted("step").await;
    world.noted("a").await;
    in_line(&coordinator, 1).await;
    let all = |why: &Why| match why {
        Why::Several(all) => all.len() == 4,
        _ => false,
    };
    let Why::Several(all) = told(&coordinator, busy.id(), all).await else { panic!("several") };
    let [Why::Runs, locks, waits, Why::Time { pause: Pause::Sleep, .. }] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(in_the_way(locks), [(holder.id(), ConflictReason::Held)]);
    assert_eq!(children(waits)[0].why, Some(Why::Runs));
    ["a", "hold 1", "step"].iter().for_each(|gate| world.open(gate));
    holder.output().await.unwrap();
    busy.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}
