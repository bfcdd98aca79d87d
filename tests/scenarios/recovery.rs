//! The process dies, or is shut down, in the middle of things, and another one goes on.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store, start, stuck_of};
use super::leaves::{Fragile, Mark, Nothing};
use super::world::World;

on_every_store!(
    a_leaf_that_may_not_run_again,
    a_leaf_that_may_run_again,
    a_leaf_interrupted_by_shutdown,
    a_flow_goes_on,
    an_end_hook_is_called_again,
    a_hook_that_gave_up_stays_stuck,
    deaths_are_counted,
    many_trees,
    two_engines_do_not_share_a_tree,
    a_failing_flow_drains_over_a_restart,
    identities_stay,
);

/// How a process ends.
enum End {
    Crash,
    Shutdown,
}

async fn end(coordinator: Coordinator, how: &End) {
    match how {
        End::Crash => drop(coordinator),
        End::Shutdown => coordinator.shutdown_within(Duration::ZERO).await.unwrap(),
    }
}

async fn a_leaf_that_may_not_run_again(home: Home) {
    for how in [End::Crash, End::Shutdown] {
        let world = World::new();
        world.close("fragile");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(Fragile::new("fragile")).await.unwrap();
        world.noted("fragile").await;
        assert_eq!(handle.status().await.unwrap(), CommandStatus::Active);
        end(coordinator, &how).await;
        assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);

        world.close("end of fragile");
        let coordinator = home.start(&world).await;
        assert_eq!(coordinator.report().resumed, [handle.id()]);
        assert_eq!(coordinator.report().failed, [handle.id()]);
        world.noted("fragile ends: Restarted").await;
        let row = home.entity(handle.id()).await;
        assert_eq!(row.progress.status, CommandStatus::Failed);
        world.open("end of fragile");
        let again = coordinator.handle::<Fragile>(handle.id()).await.unwrap();
        let failure = failure_of(again.output().await);
        assert_eq!(failure.kind, FailureKind::Restarted);
        assert_eq!(failure.command, Some(handle.id()));
        assert_eq!(
            world.deeds(),
            ["fragile", "fragile ends: Restarted", "fragile ended"],
            "it did not run again"
        );
        assert_eq!(again.status().await.unwrap(), CommandStatus::EndedWithFailure);
        coordinator.shutdown().await.unwrap();
    }
}

async fn a_leaf_that_may_run_again(home: Home) {
    for how in [End::Crash, End::Shutdown] {
        let world = World::new();
        world.close("mark");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(Mark::new("mark")).await.unwrap();
        world.noted("mark").await;
        end(coordinator, &how).await;

        world.open("mark");
        let coordinator = home.start(&world).await;
        assert_eq!(coordinator.report().resumed, [handle.id()]);
        assert!(coordinator.report().failed.is_empty());
        let again = coordinator.handle::<Mark>(handle.id()).await.unwrap();
        assert_eq!(again.output().await.unwrap(), "mark!");
        assert_eq!(again.output().await.unwrap(), "mark!", "it may be asked again");
        let attempts: Vec<_> = world.ledger().iter().map(|entry| entry.attempt).collect();
        assert_eq!(attempts, [1, 2, 2]);
        assert_eq!(home.entity(handle.id()).await.progress.attempt, 2);
        coordinator.shutdown().await.unwrap();
    }
}

async fn a_leaf_interrupted_by_shutdown(home: Home) {
    let world = World::new();
    world.close("left");
    let coordinator = home.start(&world).await;
    let left = coordinator.submit(Fragile::new("left")).await.unwrap();
    world.noted("left").await;
    let shutdown = tokio::spawn(coordinator.clone().shutdown());
    let refused = loop {
        match coordinator.submit(Nothing {}).await {
            Ok(_) => tokio::task::yield_now().await,
            refused => break refused,
        }
    };
    assert_eq!(engine_error_of(refused), EngineError::Shutdown);
    assert!(!shutdown.is_finished(), "it waits for the leaf");
    world.open("left");
    shutdown.await.unwrap().unwrap();
    // The leaf has ended its work; its end hook is for the next process.
    assert_eq!(home.entity(left.id()).await.progress.status, CommandStatus::Succeeded);
    assert_eq!(world.deeds(), ["left", "left done"]);
    let coordinator = home.start(&world).await;
    let left = coordinator.handle::<Fragile>(left.id()).await.unwrap();
    assert_eq!(left.output().await.unwrap(), "left!");
    assert_eq!(world.deeds(), ["left", "left done", "left ends: left!", "left ended"]);
    coordinator.shutdown().await.unwrap();
}

/// Three children, one after the other; the last may not run again.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Trip {}

impl Execute for Trip {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let mut outputs = Vec::new();
        for label in ["go", "stay", "return"] {
            outputs.push(cx.child(Mark::new(label)).await?);
        }
        outputs.push(cx.child(Fragile::new("unpack")).await?);
        Ok(outputs)
    }
}

async fn a_flow_goes_on(home: Home) {
    for how in [End::Crash, End::Shutdown] {
        let world = World::new();
        world.close("stay");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(Trip {}).await.unwrap();
        world.noted("stay").await;
        end(coordinator, &how).await;
        // Nobody fails what the store has.
        world.say("fail go", "it would fail now");
        world.open("stay");

        let coordinator = home.start(&world).await;
        assert_eq!(coordinator.report().resumed, [handle.id()]);
        let again = coordinator.handle::<Trip>(handle.id()).await.unwrap();
        assert_eq!(again.output().await.unwrap(), ["go!", "stay!", "return!", "unpack!"]);
        assert_eq!(world.count("go"), 1, "what had ended is not run again");
        assert_eq!(world.count("stay"), 2);
        assert_eq!(world.count("return"), 1);
        coordinator.shutdown().await.unwrap();
    }
}

async fn an_end_hook_is_called_again(home: Home) {
    let world = World::new();
    world.close("end of hooked");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Fragile::new("hooked")).await.unwrap();
    world.noted("hooked ends: hooked!").await;
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Succeeded);
    drop(coordinator);

    let coordinator = home.start(&world).await;
    assert!(coordinator.report().failed.is_empty(), "its work was done");
    world.noted_times("hooked ends: hooked!", 2).await;
    world.open("end of hooked");
    let again = coordinator.handle::<Fragile>(handle.id()).await.unwrap();
    assert_eq!(again.output().await.unwrap(), "hooked!");
    assert_eq!(world.count("hooked"), 1, "its work is not done again");
    assert_eq!(world.count("hooked ended"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn a_hook_that_gave_up_stays_stuck(home: Home) {
    let world = World::new();
    world.say("fail end of stubborn", "no");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Fragile::new("stubborn")).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.message.as_str()), (handle.id(), "no"));
    drop(coordinator);

    let coordinator = home.start(&world).await;
    let again = coordinator.handle::<Fragile>(handle.id()).await.unwrap();
    let (command, reason) = stuck_of(again.output().await);
    assert_eq!((command, reason.message.as_str()), (handle.id(), "no"));
    assert_eq!(world.count("stubborn ends: stubborn!"), 1, "only an operator lets it go on");
    world.unsay("fail end of stubborn");
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(again.output().await.unwrap(), "stubborn!");
    assert_eq!(world.count("stubborn"), 1);
    coordinator.shutdown().await.unwrap();
}

/// The second death makes a suspect, of which the third is stored before it runs.
async fn deaths_are_counted(home: Home) {
    let world = World::new();
    world.close("stay");
    let coordinator = home.start(&world).await;
    let root = coordinator.submit(Trip {}).await.unwrap().id();
    let mut times = 1;
    world.noted_times("stay", times).await;
    let mut coordinator = Some(coordinator);
    for (how, deaths) in [
        (End::Shutdown, 0),
        (End::Crash, 1),
        (End::Shutdown, 1),
        (End::Crash, 3),
        (End::Shutdown, 3),
    ] {
        end(coordinator.take().unwrap(), &how).await;
        coordinator = Some(home.start(&world).await);
        times += 1;
        world.noted_times("stay", times).await;
        assert_eq!(home.entity(root).await.progress.deaths, deaths);
    }
    // Something ends, so the deaths before it are forgotten by the next.
    world.close("return");
    world.open("stay");
    world.noted("return").await;
    end(coordinator.take().unwrap(), &End::Crash).await;
    let coordinator = home.start(&world).await;
    world.noted_times("return", 2).await;
    assert_eq!(home.entity(root).await.progress.deaths, 1);
    world.open("return");
    let handle = coordinator.handle::<Trip>(root).await.unwrap();
    assert_eq!(handle.output().await.unwrap().len(), 4);
    coordinator.shutdown().await.unwrap();
}

/// More than one page of them.
async fn many_trees(home: Home) {
    let world = World::new();
    world.close("many");
    let coordinator = home.start(&world).await;
    let mut submits = Vec::new();
    for _ in 0..1201 {
        let coordinator = coordinator.clone();
        submits.push(tokio::spawn(async move { coordinator.submit(Mark::new("many")).await }));
    }
    let mut roots = Vec::new();
    for submit in submits {
        roots.push(submit.await.unwrap().unwrap().id());
    }
    world.noted_times("many", roots.len()).await;
    drop(coordinator);

    world.open("many");
    let coordinator = home.start(&world).await;
    let mut resumed = coordinator.report().resumed.clone();
    resumed.sort();
    roots.sort();
    assert_eq!(resumed, roots);
    for root in &roots {
        let handle = coordinator.handle::<Mark>(*root).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), "many!");
    }
    assert_eq!(world.count("many"), 2 * roots.len());
    coordinator.shutdown().await.unwrap();
    let coordinator = home.start(&world).await;
    assert!(coordinator.report().resumed.is_empty());
    coordinator.shutdown().await.unwrap();
}

async fn two_engines_do_not_share_a_tree(home: Home) {
    let world = World::new();
    world.close("fenced");
    let first = home.start(&world).await;
    let handle = first.submit(Mark::new("fenced")).await.unwrap();
    world.noted("fenced").await;
    if home.is_memory() {
        let second = home.start(&world).await;
        world.noted_times("fenced", 2).await;
        // What the first one has to say is not taken any more.
        world.open("fenced");
        assert_eq!(engine_error_of(handle.output().await), EngineError::Shutdown);
        assert_eq!(engine_error_of(first.submit(Nothing {}).await), EngineError::Shutdown);
        let again = second.handle::<Mark>(handle.id()).await.unwrap();
        assert_eq!(again.output().await.unwrap(), "fenced!");
        assert_eq!(home.entity(handle.id()).await.progress.attempt, 2);
        second.shutdown().await.unwrap();
        assert_eq!(engine_error_of(first.shutdown().await), EngineError::Shutdown);
    } else if home.is_server() {
        // A database of a server has several: the second leaves alone what is the first one's.
        let second = home.start(&world).await;
        assert_eq!(second.report().resumed, []);
        world.open("fenced");
        assert_eq!(handle.output().await.unwrap(), "fenced!");
        assert_eq!(world.count("fenced"), 1);
        second.shutdown().await.unwrap();
        first.shutdown().await.unwrap();
    } else {
        // A file has one owner: the second is told so, and the first goes on.
        let store = home.open().await;
        let second = Coordinator::builder(store).provide(world.clone()).start().await;
        let error = second.expect_err("the file is owned").to_string();
        assert!(error.contains("in use by"), "{error}");
        world.open("fenced");
        assert_eq!(handle.output().await.unwrap(), "fenced!");
        first.shutdown().await.unwrap();
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Hasty {}

impl Execute for Hasty {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (slow, failed) = tokio::join!(cx.child(Mark::new("slow")), async {
            cx.child(Mark::new("failing")).await?;
            Ok::<_, Error>(())
        });
        slow?;
        failed
    }
}

/// A flow that gave up waits for its children, in the next process too.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct GivesUp {}

impl Execute for GivesUp {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let mut slow = std::pin::pin!(cx.child(Hasty {}));
        let failing = cx.child(Mark::new("failing"));
        tokio::select! {
            biased;
            _ = &mut slow => Ok(()),
            failed = failing => failed.map(drop),
        }
    }
}

async fn a_failing_flow_drains_over_a_restart(home: Home) {
    let world = World::new();
    world.close("slow");
    world.say("fail failing", "it broke");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let root = coordinator.submit(GivesUp {}).await.unwrap().id();
    let failed =
        || async { home.entity(root).await.progress.status == CommandStatus::ExecutionFailed };
    super::home::until(failed).await;
    world.noted("slow").await;
    drop(coordinator);

    let coordinator = home.start(&world).await;
    world.noted_times("slow", 2).await;
    let row = home.entity(root).await.progress;
    assert_eq!((row.status, row.end_order), (CommandStatus::ExecutionFailed, None));
    world.open("slow");
    let handle = coordinator.handle::<GivesUp>(root).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it broke");
    let rows = home.tree(root).await.commands;
    let last = rows.iter().max_by_key(|row| row.progress.end_order).unwrap();
    assert_eq!(last.command_id, root, "a parent ends after its children");
    coordinator.shutdown().await.unwrap();
}

async fn identities_stay(home: Home) {
    let world = World::new();
    world.close("stay");
    let coordinator = home.start(&world).await;
    let root = coordinator.submit(Trip {}).await.unwrap().id();
    world.noted("stay").await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("stay", 2).await;
    world.open("stay");
    let handle = coordinator.handle::<Trip>(root).await.unwrap();
    handle.output().await.unwrap();
    let ids: Vec<_> =
        world.ledger().into_iter().filter(|e| e.deed == "stay").map(|e| e.id).collect();
    assert_eq!(ids[0], ids[1], "the same identity on every run: a key for the outside");
    assert_eq!(home.tree(root).await.commands.len(), 5);
    let other = coordinator.handle::<Mark>(root).await;
    assert_eq!(engine_error_of(other), EngineError::NotFound(root), "of another type");
    let child = coordinator.handle::<Mark>(ids[0]).await;
    assert_eq!(engine_error_of(child), EngineError::NotFound(ids[0]), "not a root");
    coordinator.shutdown().await.unwrap();
}
