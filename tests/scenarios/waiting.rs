//! A parent goes on as soon as its child has ended: nothing waits for a clock.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use coco_core::CommandStatus;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::home::{Home, in_time, until};
use super::leaves::{Fragile, Mark, Nothing};
use super::world::World;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Walk {
    depth: u32,
}

impl Execute for Walk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for _ in 0..5 {
            cx.child(Nothing {}).await?;
            cx.child(Fragile::new("step")).await?;
            cx.once("step", |_| async { Ok(()) }).await?;
        }
        cx.children((0..5).map(|n| Mark::new(n.to_string()))).await?;
        if self.depth > 0 {
            cx.child(Self { depth: self.depth - 1 }).await?;
        }
        Ok(())
    }
}

/// With the clock stopped, a timer that anything waited for would show as time that has passed.
#[tokio::test(start_paused = true)]
async fn no_timer_is_waited_for() {
    let (home, world) = (Home::memory(), World::new());
    let start = Instant::now();
    let coordinator = home.start(&world).await;
    coordinator.submit(Walk { depth: 2 }).await.unwrap().output().await.unwrap();
    let id = coordinator.submit(Walk { depth: 0 }).await.unwrap().id();
    drop(coordinator);
    let coordinator = home.start(&world).await;
    coordinator.handle::<Walk>(id).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// Blocks its thread inside a poll, until it is told to go on.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Blocks {}

/// How the flow is told to go on.
static GO: Mutex<Option<Receiver<()>>> = Mutex::new(None);

impl Execute for Blocks {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.child(Mark::new("before the block")).await?;
        let go = GO.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(go) = go {
            go.recv().map_err(Error::from)?;
        }
        cx.child(Mark::new("after the block")).await
    }
}

/// The end of a child is stored together with what its flow asks next, but does not wait for a
/// flow that takes long to ask.
async fn a_poll_that_takes_long(home: Home) {
    let (go, gone): (Sender<()>, _) = channel();
    *GO.lock().unwrap_or_else(PoisonError::into_inner) = Some(gone);
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Blocks {}).await.unwrap();
    world.noted("before the block done").await;
    let stored = || async {
        let rows = home.tree(handle.id()).await.commands;
        rows.iter().any(|row| row.progress.status == CommandStatus::EndedSuccessfully)
    };
    until(stored).await;
    assert_eq!(home.tree(handle.id()).await.commands.len(), 2, "the flow has not asked yet");
    go.send(()).unwrap();
    assert_eq!(handle.output().await.unwrap(), "after the block!");
    coordinator.shutdown().await.unwrap();
}

/// One after the other, for there is one such flow.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_a_child_is_not_held_for_long() {
    in_time(a_poll_that_takes_long(Home::memory())).await;
    in_time(a_poll_that_takes_long(Home::sqlite())).await;
}
