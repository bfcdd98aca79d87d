//! The methods of a callback of its own, also when `execute` has failed or its process has died.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store};
use super::sagas::{Keep, hook};
use super::world::World;

on_every_store!(hooks_of_a_callback_of_its_own, what_outlives_a_failure, what_outlives_a_death,);

/// All methods are its own. Fails where the world says `fail`, and is then polled until it says `safe`.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(callback = Notes, needs(World), poll(every = "1ms", max = "2ms"))]
struct Noted {
    log: Vec<String>,
}

impl Execute for Noted {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let world = cx.get::<World>();
        world.note(cx.id(), "executes", 1);
        world.pass("executes").await;
        self.log.push("executed".to_owned());
        match world.word("fail") {
            Some(why) => Err(Error::other(why)),
            None => Ok(vec!["out".to_owned()]),
        }
    }

    async fn end_successfully(&mut self, _: &Vec<String>, _: &LeafContext<Self>) -> Result<()> {
        panic!("its callback takes the place of it")
    }

    async fn end_with_failure(&mut self, _: &Failure, _: &LeafContext<Self>) -> Result<()> {
        panic!("its callback takes the place of it")
    }
}

struct Notes;

impl CommandCallback<Noted> for Notes {
    async fn executed(it: &mut Noted, output: &mut Vec<String>, cx: &Context<Noted>) -> Result<()> {
        assert_eq!((&it.log[..], &output[..]), (&["executed".into()][..], &["out".into()][..]));
        it.log.push("told".to_owned());
        output.push("told".to_owned());
        cx.start(Keep::new("a"));
        match cx.get::<World>().word("fail executed") {
            Some(why) => Err(Error::other(why)),
            None => Ok(()),
        }
    }

    async fn do_polling(
        it: &mut Noted,
        output: &mut Vec<String>,
        outcomes: &Outcomes,
        _: &Context<Noted>,
    ) -> Result<Poll> {
        if outcomes.is_empty() {
            return Ok(Poll::Pending);
        }
        it.log.push("polled".to_owned());
        output.push("polled".to_owned());
        Ok(Poll::Ready)
    }

    async fn poll_on_execution_failed(
        it: &mut Noted,
        failure: &Failure,
        outcomes: &Outcomes,
        cx: &Context<Noted>,
    ) -> Result<Poll> {
        assert!(outcomes.is_empty());
        let world = cx.get::<World>();
        world.note(cx.id(), format!("asked after {}", failure.message), 1);
        world.pass("asked").await;
        if let Some(why) = world.word("worse") {
            return Err(Error::other(why));
        }
        if !world.is_said("safe") {
            return Ok(Poll::Pending);
        }
        it.log.push("safe".to_owned());
        Ok(Poll::Ready)
    }

    async fn on_succeeded(
        it: &mut Noted,
        output: &Vec<String>,
        cx: &LeafContext<Noted>,
    ) -> Result<()> {
        let seen = format!("succeeded: {}; {}", it.log.join(","), output.join(","));
        hook(cx, cx.get(), &seen).await
    }

    async fn on_failed(it: &mut Noted, failure: &Failure, cx: &LeafContext<Noted>) -> Result<()> {
        hook(cx, cx.get(), &format!("failed: {}; {}", it.log.join(","), failure.message)).await
    }
}

async fn hooks_of_a_callback_of_its_own(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let noted = Noted { log: Vec::new() };
    let handle = coordinator.submit(noted.clone()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["out", "told", "polled"]);
    let seen = "succeeded: executed,told,polled; out,told,polled";
    assert_eq!(world.count(seen), 1, "{:?}", world.deeds());
    // What fails in `executed` has not executed, and starts nothing.
    world.say("fail executed", "no");
    world.say("safe", "");
    let handle = coordinator.submit(noted).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "no");
    assert!(!home.entity(handle.id()).await.progress.executed);
    assert_eq!(home.tree(handle.id()).await.commands.len(), 1);
    assert_eq!((world.count("asked after no"), world.count("a done")), (1, 1));
    coordinator.shutdown().await.unwrap();
}

async fn what_outlives_a_failure(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fail", "it broke");
    let handle = coordinator.submit(Noted { log: Vec::new() }).await.unwrap();
    world.noted_times("asked after it broke", 3).await;
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.status, row.executed), (CommandStatus::ExecutionFailed, false));
    assert!(!world.deeds().iter().any(|deed| deed.starts_with("failed: ")));
    world.say("safe", "");
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    assert_eq!(world.count("failed: safe; it broke"), 1, "{:?}", world.deeds());
    // An error ends the waiting as well, and the first failure stands.
    world.say("worse", "it is worse");
    let handle = coordinator.submit(Noted { log: Vec::new() }).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    // So does a cancel.
    world.unsay("worse");
    world.unsay("safe");
    let asked = world.count("asked after it broke");
    let handle = coordinator.submit(Noted { log: Vec::new() }).await.unwrap();
    world.noted_times("asked after it broke", asked + 2).await;
    handle.cancel().await.unwrap();
    let failure = failure_of(handle.output().await);
    assert!(matches!(failure.kind, FailureKind::Cancelled | FailureKind::Failed), "{failure}");
    coordinator.shutdown().await.unwrap();
}

/// A death in the middle of an `execute` that may not run twice.
async fn what_outlives_a_death(home: Home) {
    let world = World::new();
    world.close("executes");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Noted { log: Vec::new() }).await.unwrap().id();
    world.noted("executes").await;
    drop(coordinator);
    let asked = "asked after the engine died while `noted` ran";
    let mut coordinator = home.start(&world).await;
    for times in [2, 4] {
        world.noted_times(asked, times).await;
        let row = home.entity(id).await.progress;
        assert_eq!((row.status, row.executed), (CommandStatus::FailedRestarted, false));
        drop(coordinator);
        coordinator = home.start(&world).await;
    }
    world.say("safe", "");
    let handle = coordinator.handle::<Noted>(id).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Restarted);
    assert_eq!(world.count("executes"), 1);
    let seen = "failed: safe; the engine died while `noted` ran";
    assert_eq!(world.count(seen), 1, "{:?}", world.deeds());
    coordinator.shutdown().await.unwrap();
}
