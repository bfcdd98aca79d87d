//! Panics in every hook, in what is written, read and dropped around them, and panics whose payload
//! panics once more: they harm their own tree only.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::home::{Home, failure_of, on_every_store, stuck_of};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    in_each_hook,
    in_an_undo_below,
    in_the_output,
    with_a_payload_that_panics,
    in_a_flow_with_a_payload_that_panics,
    in_an_undo_command,
);

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the payload panics");
    }
}

/// Panics where the world says so: `panic`, or with a payload that panics.
fn pass(world: &World, place: &str) {
    match world.word(&format!("panic in {place}")).as_deref() {
        Some("payload") => std::panic::panic_any(Grenade),
        Some(_) => panic!("boom in {place}"),
        None => {}
    }
}

/// Passes many places.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct Minefield {
    fails: bool,
}

impl Execute for Minefield {
    type Output = ();

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        pass(cx.get(), "validate");
        Ok(())
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        tokio::task::yield_now().await;
        pass(cx.get(), "execute");
        if self.fails { Err(Error::other("it broke")) } else { Ok(()) }
    }

    async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
        pass(cx.get(), "end_successfully");
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        tokio::task::yield_now().await;
        pass(cx.get(), "compensate");
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        pass(cx.get(), "end_with_failure");
        Ok(())
    }
}

async fn panics_everywhere(home: &Home, how: &str, message: impl Fn(&str) -> String) {
    let places = ["validate", "execute", "end_successfully", "compensate", "end_with_failure"];
    for place in places {
        let world = World::new();
        let say = format!("panic in {place}");
        world.say(&say, how);
        let coordinator = home.start(&world).await;
        let fails = ["compensate", "end_with_failure"].contains(&place);
        let handle = coordinator.submit(Minefield { fails }).await.unwrap();
        let other = coordinator.submit(Mark::new("other")).await.unwrap();
        other.output().await.unwrap();
        let output = handle.output().await;
        if ["validate", "execute"].contains(&place) {
            let failure = failure_of(output);
            assert_eq!((failure.kind, failure.message), (FailureKind::Panicked, message(place)));
        } else {
            let (command, reason) = stuck_of(output);
            assert_eq!((command, reason.kind), (handle.id(), FailureKind::Panicked));
            assert_eq!(reason.message, message(place));
            world.unsay(&say);
            coordinator.retry(handle.id()).await.unwrap();
            assert_eq!(handle.output().await.is_err(), fails, "{place}");
        }
        coordinator.shutdown().await.unwrap();
    }
}

async fn in_each_hook(home: Home) {
    panics_everywhere(&home, "panic", |place| format!("it panicked: boom in {place}")).await;
}

async fn with_a_payload_that_panics(home: Home) {
    panics_everywhere(&home, "payload", |_| "it panicked: with no message".to_owned()).await;
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct OverMines {
    world: u64,
    entry: bool,
}

impl Execute for OverMines {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = World::at(self.world);
        pass(&world, "flow at first");
        if self.entry {
            cx.compensate_with(UndoMine {}).await?;
        } else {
            cx.child(Minefield { fails: false }).await?;
        }
        pass(&world, "flow");
        cx.once("step", |cx| async move {
            let _ = cx;
            pass(&world, "once");
            Ok(())
        })
        .await?;
        Err(Error::other("it broke"))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct UndoMine {}

impl Execute for UndoMine {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        pass(cx.get(), "undo command");
        Ok(())
    }
}

/// The command whose failure is undone is stuck, and goes on there.
async fn undo_panics(home: &Home, entry: bool, place: &str, how: &str) {
    let world = World::new();
    let say = format!("panic in {place}");
    world.say(&say, how);
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(OverMines { world: world.number(), entry }).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.kind), (handle.id(), FailureKind::Panicked));
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Stuck);
    world.unsay(&say);
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    coordinator.shutdown().await.unwrap();
}

async fn in_an_undo_below(home: Home) {
    for how in ["panic", "payload"] {
        undo_panics(&home, false, "compensate", how).await;
    }
}

async fn in_an_undo_command(home: Home) {
    for how in ["panic", "payload"] {
        undo_panics(&home, true, "undo command", how).await;
    }
}

async fn in_a_flow_with_a_payload_that_panics(home: Home) {
    for place in ["flow at first", "flow", "once"] {
        let world = World::new();
        world.say(&format!("panic in {place}"), "payload");
        let coordinator = home.start(&world).await;
        let mines = OverMines { world: world.number(), entry: false };
        let handle = coordinator.submit(mines).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, FailureKind::Panicked, "{place}");
        let other = coordinator.submit(Mark::new("other")).await.unwrap();
        other.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}

/// An output that panics where it says.
#[derive(Clone)]
struct Brittleware(String);

impl Serialize for Brittleware {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != "write", "boom in writing");
        if self.0 == "write payload" {
            std::panic::panic_any(Grenade)
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Brittleware {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert!(text != "read", "boom in reading");
        if text == "read payload" {
            std::panic::panic_any(Grenade)
        }
        Ok(Self(text))
    }
}

impl Drop for Brittleware {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0 != "drop", "boom in dropping");
            if self.0 == "drop payload" {
                std::panic::panic_any(Grenade)
            }
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct GivesBrittleware {
    at: String,
}

impl Execute for GivesBrittleware {
    type Output = Brittleware;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<Brittleware> {
        Ok(Brittleware(self.at.clone()))
    }

    async fn compensate(&mut self, _: Option<&Brittleware>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "undo", 1);
        Ok(())
    }
}

async fn in_the_output(home: Home) {
    for at in ["write", "read", "drop", "write payload", "read payload", "drop payload"] {
        let world = World::new();
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(GivesBrittleware { at: at.to_owned() }).await.unwrap();
        let id = handle.id();
        let failure = failure_of(handle.output().await);
        let kinds = [FailureKind::Panicked, FailureKind::NotStorable];
        assert!(kinds.contains(&failure.kind), "{at}: {failure:?}");
        assert_eq!(home.entity(id).await.progress.status, CommandStatus::EndedWithFailure);
        assert_eq!(world.count("undo"), 1, "{at}: it may have half happened");
        let other = coordinator.submit(Mark::new("other")).await.unwrap();
        other.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}
