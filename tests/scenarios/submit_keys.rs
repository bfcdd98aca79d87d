//! Submit keys: who asks twice gets one command, whatever happened in between.

use std::collections::HashSet;
use std::sync::Arc;

use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{CommandStatus, EngineError};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, start};
use super::leaves::{Fragile, Mark};
use super::world::World;

on_every_store!(
    the_same_command,
    sixty_four_at_once,
    another_command,
    after_its_end_and_a_restart,
    a_lost_reply,
    a_crash_before_it_is_stored,
    what_is_refused_leaves_the_key_free,
    with_locks,
    keys_of_any_text,
);

async fn the_same_command(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let first = coordinator.submit_with_key("k", Mark::new("a")).await.unwrap();
    let second = coordinator.submit_with_key("k", Mark::new("a")).await.unwrap();
    assert_eq!(first.id(), second.id());
    let other = coordinator.submit_with_key("l", Mark::new("a")).await.unwrap();
    assert_ne!(other.id(), first.id());
    world.open("a");
    for handle in [first, second, other] {
        assert_eq!(handle.output().await.unwrap(), "a!");
    }
    assert_eq!(world.count("a"), 2);
    coordinator.shutdown().await.unwrap();
}

async fn sixty_four_at_once(home: Home) {
    for held in [false, true] {
        let (home, world) = (home.another().await, World::new());
        let store = home.faulty().await;
        let coordinator = start(store.clone(), &world).await;
        if held {
            store.hold();
        }
        let submits: Vec<_> = (0..64)
            .map(|_| {
                let coordinator = coordinator.clone();
                tokio::spawn(async move {
                    coordinator.submit_with_key("k", Mark::new("a")).await.unwrap()
                })
            })
            .collect();
        if held {
            store.held().await;
            store.let_go();
        }
        let mut ids = HashSet::new();
        for submit in submits {
            let handle = submit.await.unwrap();
            ids.insert(handle.id());
            assert_eq!(handle.output().await.unwrap(), "a!");
        }
        assert_eq!((ids.len(), world.count("a")), (1, 1));
        coordinator.shutdown().await.unwrap();
        assert_eq!(home.start(&world).await.report().resumed, []);
    }
}

async fn another_command(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let first = coordinator.submit_with_key("k", Mark::new("a")).await.unwrap();
    first.output().await.unwrap();
    let taken =
        EngineError::KeyTaken { key: "k".into(), command: first.id(), command_type: "mark".into() };
    let parameters = coordinator.submit_with_key("k", Mark::new("b")).await;
    assert_eq!(engine_error_of(parameters), taken);
    let of_another_type = coordinator.submit_with_key("k", Fragile::new("a")).await;
    assert_eq!(engine_error_of(of_another_type), taken);
    let text = taken.to_string();
    assert!(text.contains("`k`") && text.contains(&first.id().to_string()), "{text}");
    assert_eq!(world.deeds(), ["a", "a done"]);
    coordinator.shutdown().await.unwrap();
}

async fn after_its_end_and_a_restart(home: Home) {
    let world = World::new();
    world.say("fail b", "it broke");
    let coordinator = home.start(&world).await;
    let a = coordinator.submit_with_key("a", Mark::new("a")).await.unwrap();
    a.output().await.unwrap();
    let b = coordinator.submit_with_key("b", Mark::new("b")).await.unwrap();
    failure_of(b.output().await);
    world.close("c");
    let c = coordinator.submit_with_key("c", Mark::new("c")).await.unwrap();
    world.noted("c").await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let again = coordinator.submit_with_key("a", Mark::new("a")).await.unwrap();
    assert_eq!((again.id(), again.output().await.unwrap()), (a.id(), "a!".to_owned()));
    let again = coordinator.submit_with_key("b", Mark::new("b")).await.unwrap();
    assert_eq!(again.id(), b.id());
    assert_eq!(failure_of(again.output().await).message, "it broke", "also a failure");
    let again = coordinator.submit_with_key("c", Mark::new("c")).await.unwrap();
    assert_eq!(again.id(), c.id());
    world.open("c");
    again.output().await.unwrap();
    assert_eq!((world.count("a"), world.count("b"), world.count("c done")), (1, 1, 1));
    coordinator.shutdown().await.unwrap();
}

/// It was stored, but the one who asked did not hear of it.
async fn a_lost_reply(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    store.crash(Crash::After(1));
    let coordinator = start(store, &world).await;
    let lost = coordinator.submit_with_key("k", Mark::new("a")).await;
    assert_eq!(engine_error_of(lost), EngineError::Shutdown);
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let resumed = coordinator.report().resumed.clone();
    let handle = coordinator.submit_with_key("k", Mark::new("a")).await.unwrap();
    assert_eq!(resumed, [handle.id()]);
    assert_eq!(handle.output().await.unwrap(), "a!");
    assert_eq!(world.count("a"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn a_crash_before_it_is_stored(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    store.crash(Crash::Before(1));
    let coordinator = start(store, &world).await;
    assert!(coordinator.submit_with_key("k", Mark::new("a")).await.is_err());
    drop(coordinator);
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.report().resumed, []);
    let handle = coordinator.submit_with_key("k", Mark::new("b")).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "b!");
    coordinator.shutdown().await.unwrap();
}

/// Holds a key of its own, and may be refused by its validation.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct Keyed {
    #[lock(exclusive, group = "submit keys")]
    disk: u32,
    label: String,
}

impl Execute for Keyed {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), &*self.label, 1);
        cx.get::<World>().pass(&self.label).await;
        Ok(())
    }
}

fn keyed(disk: u32, label: &str) -> Keyed {
    Keyed { disk, label: label.to_owned() }
}

async fn what_is_refused_leaves_the_key_free(home: Home) {
    let world = World::new();
    world.close("holder");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let holder = coordinator.submit(keyed(1, "holder")).await.unwrap();
    let refused = coordinator.submit_with_key("k", keyed(1, "refused")).await;
    assert!(refused.err().unwrap().downcast_ref::<coco_core::lock::LockConflict>().is_some());
    store.reject(|step| step.writes.iter().any(|write| format!("{write:?}").contains("unwanted")));
    assert!(coordinator.submit_with_key("k", Mark::new("unwanted")).await.is_err());
    assert!(coordinator.submit_with_key("k", Mark::new("nul \0")).await.is_err());
    let handle = coordinator.submit_with_key("k", Mark::new("b")).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "b!");
    world.open("holder");
    holder.output().await.unwrap();
    assert_eq!(world.count("refused") + world.count("unwanted"), 0);
    coordinator.shutdown().await.unwrap();
}

/// The one who asks twice is not refused by the locks of its own command.
async fn with_locks(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let first = coordinator.submit_with_key("k", keyed(1, "a")).await.unwrap();
    let second = coordinator.submit_with_key("k", keyed(1, "a")).await.unwrap();
    assert_eq!(first.id(), second.id());
    world.noted("a").await;
    world.open("a");
    second.output().await.unwrap();
    let third = coordinator.submit_with_key("k", keyed(1, "a")).await.unwrap();
    third.output().await.unwrap();
    assert_eq!((third.id(), world.count("a")), (first.id(), 1));
    let free = coordinator.submit(keyed(1, "free")).await.unwrap();
    free.output().await.unwrap();
    assert_eq!(first.status().await.unwrap(), CommandStatus::EndedSuccessfully);
    coordinator.shutdown().await.unwrap();
}

async fn keys_of_any_text(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let keys =
        ["", " ", "k", "K", "k ", "ä", "a\u{308}", "'; drop table x --", "\u{1}\n", "%", "_"];
    let mut ids = HashSet::new();
    for key in keys {
        ids.insert(coordinator.submit_with_key(key, Mark::new("a")).await.unwrap().id());
    }
    assert_eq!(ids.len(), keys.len());
    for key in keys {
        assert!(
            ids.contains(&coordinator.submit_with_key(key, Mark::new("a")).await.unwrap().id())
        );
    }
    assert!(coordinator.submit_with_key("nul \0", Mark::new("a")).await.is_err());
    let large: Arc<str> = "x".repeat(1_000_000).into();
    let first = coordinator.submit_with_key(Arc::clone(&large), Mark::new("a")).await;
    if let Ok(first) = first {
        let second = coordinator.submit_with_key(large, Mark::new("a")).await.unwrap();
        assert_eq!(first.id(), second.id());
    }
    coordinator.shutdown().await.unwrap();
}
