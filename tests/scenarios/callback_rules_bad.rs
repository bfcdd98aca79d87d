//! What goes wrong in a method of a callback fails its own command, and nothing else.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind, LARGEST_VALUE};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store};
use super::kinds::{Fan, Own, Stages, Watch, keeps};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    an_error_in_a_round,
    a_panic_in_a_round,
    a_panic_in_what_is_asked_about_a_failure,
    fields_that_cannot_be_stored,
    an_output_that_cannot_be_stored,
    a_round_that_fails_starts_nothing,
    a_round_that_fails_waits_for_its_children,
    an_end_hook_that_fails_is_called_again,
    a_child_that_cannot_be_stored,
);

/// Submits each kind, as the world says of `it`, and gives how it failed.
async fn failures(home: &Home, word: &str) -> Vec<(Failure, World, CommandId, Home)> {
    let mut all = Vec::new();
    for kind in 0..4 {
        let (home, world) = (home.another().await, World::new());
        world.say("it each", word);
        let coordinator = home.start(&world).await;
        let waves = [keeps(&["a"])];
        let (id, output) = match kind {
            0 => ended(coordinator.submit(Fan::new("it", waves)).await.unwrap()).await,
            1 => ended(coordinator.submit(Stages::new("it", waves)).await.unwrap()).await,
            2 => ended(coordinator.submit(Own::new("it", waves)).await.unwrap()).await,
            _ => ended(coordinator.submit(Watch::new("it", [])).await.unwrap()).await,
        };
        // The engine is none the worse for it.
        coordinator.submit(Mark::new("well")).await.unwrap().output().await.unwrap();
        coordinator.shutdown().await.unwrap();
        all.push((failure_of(output), world, id, home));
    }
    all
}

async fn ended<C: Command>(handle: CommandHandle<C>) -> (CommandId, Result<()>) {
    (handle.id(), handle.output().await.map(drop))
}

async fn an_error_in_a_round(home: Home) {
    for (failure, world, id, home) in failures(&home, "log lost, say lost, fail no").await {
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Failed, "no"));
        assert_eq!(failure.command, Some(id));
        let progress = home.entity(id).await.progress;
        assert_eq!(progress.status, CommandStatus::EndedWithFailure);
        assert!(!progress.state.unwrap_or_default().contains("lost"), "its changes are dropped");
        assert!(!progress.return_value.unwrap_or_default().contains("lost"));
        assert_eq!(world.count("it ends badly"), 1, "{:?}", world.deeds());
        assert_eq!(world.count("undo done a"), world.count("a done"));
    }
}

async fn a_panic_in_a_round(home: Home) {
    for (failure, world, id, home) in failures(&home, "log lost, panic oh").await {
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Panicked, "it panicked: oh"));
        let progress = home.entity(id).await.progress;
        assert!(!progress.state.unwrap_or_default().contains("lost"), "its changes are dropped");
        assert_eq!(world.count("it ends badly"), 1, "{:?}", world.deeds());
        assert_eq!(world.count("round it"), 1, "and it is not called again");
    }
}

/// Panics when it is asked about a failure, or says how it fails, as the world says.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, needs(World))]
struct PanicsWhenAsked {}

impl Execute for PanicsWhenAsked {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(Mark::new("broken"));
        Ok(())
    }
}

impl NextOperation for PanicsWhenAsked {
    async fn perform_next_operation(
        &mut self,
        (): &mut (),
        _: &Outcomes,
        _: &Context<Self>,
    ) -> Result<bool> {
        Ok(false)
    }

    fn ignore_child_failure(&mut self, failure: &Failure) -> bool {
        panic!("asked about {}", failure.message)
    }
}

async fn a_panic_in_what_is_asked_about_a_failure(home: Home) {
    let world = World::new();
    world.say("fail broken", "no");
    let coordinator = home.start(&world).await;
    let output = coordinator.submit(PanicsWhenAsked {}).await.unwrap().output().await;
    let failure = failure_of(output);
    assert_eq!(failure.kind, FailureKind::Panicked);
    assert_eq!(failure.message, "it panicked: asked about no");
    coordinator.shutdown().await.unwrap();
}

async fn fields_that_cannot_be_stored(home: Home) {
    for (failure, world, id, home) in failures(&home, "large log").await {
        assert_eq!(failure.kind, FailureKind::NotStorable, "{failure}");
        let progress = home.entity(id).await.progress;
        assert!(progress.state.unwrap_or_default().len() < LARGEST_VALUE);
        assert_eq!(world.count("it ends badly"), 1, "{:?}", world.deeds());
    }
}

async fn an_output_that_cannot_be_stored(home: Home) {
    for (failure, world, _, _) in failures(&home, "large output").await {
        assert_eq!(failure.kind, FailureKind::NotStorable, "{failure}");
        assert_eq!(world.count("it ends badly"), 1, "{:?}", world.deeds());
    }
}

/// What it wanted to start is not stored, and does not run.
async fn a_round_that_fails_starts_nothing(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let stages = Stages::new("it", [keeps(&["a", "b"])]);
    world.say("it 2", "start z, panic oh");
    let handle = coordinator.submit(stages).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Panicked);
    assert_eq!(home.tree(handle.id()).await.commands.len(), 2);
    assert_eq!((world.count("z"), world.count("b"), world.count("undo done a")), (0, 0, 1));
    coordinator.shutdown().await.unwrap();
}

/// Its callback fails while a child is open.
async fn a_round_that_fails_waits_for_its_children(home: Home) {
    let world = World::new();
    world.close("b");
    world.say("it each", "fail no");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Own::new("it", [keeps(&["b"])])).await.unwrap();
    let failed =
        async || home.entity(handle.id()).await.progress.status == CommandStatus::ExecutionFailed;
    super::home::until(failed).await;
    world.noted("b").await;
    assert_eq!(world.count("it ends badly"), 0);
    let id = handle.id();
    drop((handle, coordinator));
    // The same after a restart.
    let coordinator = home.start(&world).await;
    world.noted_times("b", 2).await;
    let rounds = world.count("round it");
    assert_eq!(world.count("it ends badly"), 0);
    world.open("b");
    let handle = coordinator.handle::<Own>(id).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "no");
    assert_eq!(world.count("round it"), rounds, "it has failed, and is not called");
    assert_eq!((world.count("undo done b"), world.count("it ends badly")), (1, 1));
    coordinator.shutdown().await.unwrap();
}

async fn an_end_hook_that_fails_is_called_again(home: Home) {
    let world = World::new();
    world.say("fail it ends well", "2 times");
    let retry = Retry::new(5).backoff(std::time::Duration::ZERO);
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(retry)).await;
    let handle = coordinator.submit(Fan::new("it", [keeps(&["a"])])).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!((world.count("it ends well"), world.count("it ends badly")), (3, 0));
    assert_eq!(world.count("round it"), 1);
    coordinator.shutdown().await.unwrap();
}

/// Starts what no store takes.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, needs(World))]
struct StartsTooMuch {}

impl Execute for StartsTooMuch {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(Mark::new("beside"));
        cx.start(Mark::new("x".repeat(LARGEST_VALUE)));
        Ok(())
    }
}

impl ConcurrentChildren for StartsTooMuch {}

/// It fails as a child does, and the others run.
async fn a_child_that_cannot_be_stored(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let output = coordinator.submit(StartsTooMuch {}).await.unwrap().output().await;
    assert_eq!(failure_of(output).kind, FailureKind::NotStorable);
    assert_eq!(world.count("beside done"), 1);
    coordinator.shutdown().await.unwrap();
}
