//! A panic anywhere in the code of a command harms that command and nothing else.

use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, stuck_of};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    of_a_leaf,
    of_a_child,
    in_an_end_hook,
    in_a_flow,
    when_it_is_dropped,
    when_the_engine_stops,
    parameters_that_cannot_be_read_back,
    outputs_that_cannot_be_read_back,
    messages,
);

/// Explodes at one place, once it has been through the store.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(idempotent, needs(World))]
struct Mine {
    at: String,
    fuse: Fuse,
}

impl Mine {
    fn at(place: &str) -> Self {
        Self { at: place.to_owned(), fuse: Fuse { lit: false } }
    }

    fn pass(&self, place: &str) {
        assert!(self.at != place, "boom in {place}");
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        if self.fuse.lit && !std::thread::panicking() {
            self.pass("drop");
        }
    }
}

/// Lit in what was decoded, so that the copy of the submitter does not explode.
#[derive(Clone)]
struct Fuse {
    lit: bool,
}

impl Serialize for Fuse {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fuse {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self { lit: true })
    }
}

/// Explodes when it is dropped, or written as JSON.
#[derive(Deserialize)]
struct Shell {
    on_drop: bool,
    on_write: bool,
}

impl Serialize for Shell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.on_write, "boom in output");
        (self.on_drop, self.on_write).serialize(serializer)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        assert!(!self.on_drop || std::thread::panicking(), "boom in future");
    }
}

impl Execute for Mine {
    type Output = Shell;

    async fn validate(&self, _cx: &LeafContext<Self>) -> Result<()> {
        self.pass("validate");
        Ok(())
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Shell> {
        self.pass("execute");
        let held = Shell { on_drop: self.at == "future", on_write: false };
        cx.get::<World>().note(cx.id(), "executed", cx.attempt());
        cx.get::<World>().pass("mine").await;
        drop(held);
        Ok(Shell { on_drop: false, on_write: self.at == "output" })
    }

    async fn end_with_failure(&mut self, failure: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("ends: {failure}"), cx.attempt());
        Ok(())
    }
}

/// The places of a leaf that explodes by itself, and whether it has begun then.
const PLACES: [(&str, bool); 5] =
    [("validate", false), ("execute", true), ("future", true), ("output", true), ("drop", true)];

async fn of_a_leaf(home: Home) {
    for (place, begun) in PLACES {
        let world = World::new();
        world.close("beside");
        let coordinator = home.start(&world).await;
        let beside = coordinator.submit(Mark::new("beside")).await.unwrap();
        let mine = coordinator.submit(Mine::at(place)).await.unwrap();
        let failure = failure_of(mine.output().await);
        assert_eq!(failure.kind, FailureKind::Panicked, "{place}");
        assert_eq!(failure.message, format!("it panicked: boom in {place}"));
        assert_eq!(failure.command, Some(mine.id()));
        assert_eq!(mine.status().await.unwrap(), CommandStatus::EndedWithFailure);
        assert!(!home.entity(mine.id()).await.progress.executed);
        let ended = world.count(&format!("ends: it panicked: boom in {place}"));
        assert_eq!(ended, usize::from(begun), "what did not begin has no end: {place}");
        world.open("beside");
        assert_eq!(beside.output().await.unwrap(), "beside!");
        coordinator.shutdown().await.unwrap();
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Field {
    at: String,
}

impl Execute for Field {
    type Output = (String, String);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<(String, String)> {
        let (mine, mark) =
            tokio::join!(cx.child(Mine::at(&self.at)), cx.child(Mark::new("beside")));
        let message = mine.err().map(|error| error.to_string()).unwrap_or_default();
        cx.child(Mark::new(message.as_str())).await?;
        Ok((message, mark?))
    }
}

async fn of_a_child(home: Home) {
    for (place, _) in PLACES {
        let message = format!("it panicked: boom in {place}");
        let world = World::new();
        world.close(&message);
        let coordinator = home.start(&world).await;
        let id = coordinator.submit(Field { at: place.to_owned() }).await.unwrap().id();
        world.noted(&message).await;
        drop(coordinator);
        world.open(&message);
        let coordinator = home.start(&world).await;
        // What explodes when it is dropped cannot be looked at either.
        if place == "drop" {
            let [quarantine] = &coordinator.report().quarantined[..] else { panic!("{place}") };
            assert!(quarantine.reason.message.contains("panicked"), "{}", quarantine.reason);
        } else {
            let handle = coordinator.handle::<Field>(id).await.unwrap();
            assert_eq!(handle.output().await.unwrap(), (message, "beside!".to_owned()));
        }
        coordinator.shutdown().await.unwrap();
    }
}

/// Explodes in an end hook, while its world says so.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct LateMine {
    fails: bool,
    hooks: u32,
}

impl LateMine {
    fn end(&mut self, cx: &LeafContext<Self>) {
        self.hooks += 1;
        cx.get::<World>().note(cx.id(), format!("hook {}", self.hooks), cx.attempt());
        assert!(cx.get::<World>().is_said("disarmed"), "boom in hook");
    }
}

impl Execute for LateMine {
    type Output = u32;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<u32> {
        if self.fails { Err(Error::other("it failed")) } else { Ok(7) }
    }

    async fn end_successfully(&mut self, _: &u32, cx: &LeafContext<Self>) -> Result<()> {
        self.end(cx);
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        self.end(cx);
        Ok(())
    }
}

async fn in_an_end_hook(home: Home) {
    for (fails, stands) in [(false, CommandStatus::Succeeded), (true, CommandStatus::Failed)] {
        let world = World::new();
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(LateMine { fails, hooks: 0 }).await.unwrap();
        let (command, reason) = stuck_of(handle.output().await);
        assert_eq!((command, reason.kind), (handle.id(), FailureKind::Panicked));
        assert_eq!(reason.message, "it panicked: boom in hook");
        let row = home.entity(handle.id()).await.progress;
        assert_eq!((row.status, row.stuck_from), (CommandStatus::Stuck, Some(stands)));
        assert_eq!(row.executed, !fails);
        let beside = coordinator.submit(Mark::new("beside")).await.unwrap();
        assert_eq!(beside.output().await.unwrap(), "beside!");

        world.say("disarmed", "yes");
        coordinator.retry(handle.id()).await.unwrap();
        match handle.output().await {
            Ok(output) => assert_eq!((fails, output), (false, 7)),
            failed => assert_eq!((fails, failure_of(failed).message.as_str()), (true, "it failed")),
        }
        assert_eq!(world.count("hook 1"), 2, "the changes of a panicked method are dropped");
        coordinator.shutdown().await.unwrap();
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct FlowMine {
    at: String,
}

impl Execute for FlowMine {
    type Output = ();

    async fn validate(&self, _cx: &LeafContext<Self>) -> Result<()> {
        assert_ne!(self.at, "validate", "boom");
        Ok(())
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let slow = cx.child(Mark::new("slow"));
        let exploding = async {
            cx.child(Mark::new("before")).await?;
            assert_ne!(self.at, "flow", "boom");
            cx.once("step", |_| async {
                tokio::task::yield_now().await;
                assert_ne!(self.at, "once", "boom");
                Ok(())
            })
            .await?;
            let shell = Shell { on_drop: self.at == "future", on_write: false };
            cx.child(Mark::new("after")).await?;
            drop(shell);
            Ok::<_, Error>(())
        };
        let (slow, exploded) = tokio::join!(slow, exploding);
        slow?;
        exploded
    }
}

async fn in_a_flow(home: Home) {
    for at in ["flow", "once", "future", "validate"] {
        let world = World::new();
        world.close("slow");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(FlowMine { at: at.to_owned() }).await.unwrap();
        if at != "validate" {
            world.noted("slow").await;
            world.noted("before done").await;
        }
        world.open("slow");
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, FailureKind::Panicked);
        assert!(failure.message.contains("boom"), "{failure}");
        assert_eq!(failure.command, Some(handle.id()));
        let rows = home.tree(handle.id()).await.commands;
        assert!(rows.iter().all(|row| row.progress.status.is_terminal()), "its children end first");
        coordinator.shutdown().await.unwrap();
    }
}

/// A flow whose command explodes when it is dropped.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct DroppedFlow {
    mine: Mine,
}

impl Execute for DroppedFlow {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Mark::new("in the flow")).await.map(drop)
    }
}

async fn when_it_is_dropped(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(DroppedFlow { mine: Mine::at("drop") }).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it panicked: boom in drop");
    let handle = coordinator.submit(DroppedFlow { mine: Mine::at("nowhere") }).await.unwrap();
    handle.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// What is dropped in the middle explodes too, and the engine stops all the same.
async fn when_the_engine_stops(home: Home) {
    for place in ["drop", "future"] {
        let home = home.another().await;
        let world = World::new();
        world.close("mine");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(Mine::at(place)).await.unwrap();
        world.noted("executed").await;
        coordinator.shutdown_within(std::time::Duration::ZERO).await.unwrap();
        assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);
        let coordinator = home.start(&world).await;
        let beside = coordinator.submit(Mark::new("beside")).await.unwrap();
        assert_eq!(beside.output().await.unwrap(), "beside!");
        coordinator.shutdown_within(std::time::Duration::ZERO).await.unwrap();
    }
}

/// Is written, but cannot be read.
#[derive(Clone, Copy, Debug)]
enum OneWay {
    Refuses,
    Panics,
}

impl Serialize for OneWay {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        matches!(self, Self::Panics).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OneWay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        assert!(!bool::deserialize(deserializer)?, "boom in read");
        Err(serde::de::Error::custom("no way back"))
    }
}

#[derive(Command, Serialize, Deserialize)]
struct Unreadable {
    way: OneWay,
}

impl Execute for Unreadable {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, _cx: &LeafContext<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct UnreadableFlow {
    way: OneWay,
}

impl Execute for UnreadableFlow {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

async fn parameters_that_cannot_be_read_back(home: Home) {
    let coordinator = home.start(&World::new()).await;
    for (way, why) in [(OneWay::Refuses, "no way back"), (OneWay::Panics, "boom in read")] {
        let leaf = coordinator.submit(Unreadable { way }).await.unwrap();
        let flow = coordinator.submit(UnreadableFlow { way }).await.unwrap();
        for (id, failure) in [
            (leaf.id(), failure_of(leaf.output().await)),
            (flow.id(), failure_of(flow.output().await)),
        ] {
            assert_eq!((failure.kind, failure.command), (FailureKind::Undecodable, Some(id)));
            assert!(failure.message.contains(why), "{failure}");
        }
    }
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&World::new()).await;
    assert!(coordinator.report().quarantined.is_empty(), "they have ended");
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
struct OneWayOutput {}

impl Execute for OneWayOutput {
    type Output = OneWay;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<OneWay> {
        Ok(OneWay::Refuses)
    }
}

async fn outputs_that_cannot_be_read_back(home: Home) {
    let coordinator = home.start(&World::new()).await;
    let leaf = coordinator.submit(OneWayOutput {}).await.unwrap();
    let failure = failure_of(leaf.output().await);
    assert_eq!(failure.kind, FailureKind::NotStorable);
    let text = "what is written of the value cannot be read back: no way back";
    assert_eq!(failure.message, text);
    assert_eq!(leaf.status().await.unwrap(), CommandStatus::EndedWithFailure);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
struct Says {
    what: u8,
}

impl Execute for Says {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        match self.what {
            0 => panic!("a word"),
            1 => panic!("number {}", self.what),
            2 => std::panic::panic_any(7),
            _ => panic!("{}\0", "long ".repeat(100_000)),
        }
    }
}

async fn messages(home: Home) {
    let coordinator = home.start(&World::new()).await;
    for (what, message) in
        ["a word", "number 1", "with no message", "long long "].iter().enumerate()
    {
        let what = u8::try_from(what).unwrap();
        let handle = coordinator.submit(Says { what }).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert!(failure.message.starts_with(&format!("it panicked: {message}")), "{failure}");
        assert!(failure.message.len() < 20_000, "a message is cut");
    }
    coordinator.shutdown().await.unwrap();
}
