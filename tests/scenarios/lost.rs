//! Another engine has taken the store over: the one before hears of it, though it has nothing to
//! store, and stops.

use std::time::Duration;

use coco_core::EngineError;
use coco_core::prelude::*;
use coco_core::store::Store;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::home::{Home, engine_error_of, in_time, start};
use super::leaves::Nothing;
use super::world::World;

/// Waits at the gate of its name, and notes when its future is gone.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
struct Vigil {}

struct Watching(World, CommandId);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.note(self.1, "the vigil is over", 0);
    }
}

impl Execute for Vigil {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        let world: &World = cx.get();
        let _watching = Watching(world.clone(), cx.id());
        world.note(cx.id(), "the vigil begins", cx.attempt());
        world.pass("vigil").await;
        Ok(cx.attempt())
    }
}

#[tokio::test]
async fn user_code_is_dropped_though_there_is_nothing_to_commit() {
    in_time(async {
        let (home, world) = (Home::memory(), World::new());
        world.close("vigil");
        let store = home.faulty().await;
        let first = start(store.clone(), &world).await;
        let lost = first.submit(Vigil {}).await.unwrap();
        world.noted("the vigil begins").await;
        let commits = store.commits();

        let second = home.start(&world).await;
        world.noted("the vigil is over").await;
        assert_eq!(engine_error_of(lost.output().await), EngineError::Shutdown);
        assert_eq!(engine_error_of(first.submit(Nothing {}).await), EngineError::Shutdown);
        assert_eq!(engine_error_of(first.shutdown().await), EngineError::Shutdown);
        assert_eq!(store.commits(), commits, "it was told by a commit");

        world.noted_times("the vigil begins", 2).await;
        world.open("vigil");
        let taken = second.handle::<Vigil>(lost.id()).await.unwrap();
        assert_eq!(taken.output().await.unwrap(), 2);
        second.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_commit_is_told() {
    in_time(async {
        let (home, world) = (Home::memory(), World::new());
        let store = home.faulty().await;
        let first = start(store.clone(), &world).await;
        store.hold();
        let submit = tokio::spawn({
            let first = first.clone();
            async move { first.submit(Nothing {}).await }
        });
        store.held().await;
        let _lease = home.open().await.acquire().await.unwrap();
        assert_eq!(engine_error_of(submit.await.unwrap()), EngineError::Shutdown);
    })
    .await;
}

/// Its leaf has 30 seconds then, and does not need them.
#[tokio::test(start_paused = true)]
async fn an_engine_that_is_shutting_down_does_not_wait_for_its_leaves() {
    in_time(async {
        let (home, world) = (Home::memory(), World::new());
        world.close("vigil");
        let first = home.start(&world).await;
        let lost = first.submit(Vigil {}).await.unwrap();
        world.noted("the vigil begins").await;
        let began = Instant::now();
        let shutdown = tokio::spawn(first.clone().shutdown());
        while first.submit(Nothing {}).await.is_ok() {}
        let _lease = home.open().await.acquire().await.unwrap();
        shutdown.await.unwrap().unwrap();
        assert_eq!(world.count("the vigil is over"), 1);
        assert_eq!(engine_error_of(lost.output().await), EngineError::Shutdown);
        assert_eq!(began.elapsed(), Duration::ZERO);
    })
    .await;
}
