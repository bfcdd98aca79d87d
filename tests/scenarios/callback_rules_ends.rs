//! How commands with a callback end: hooks, undo, locks, places and cancel.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind, Why};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store, until};
use super::kinds::{Fan, Kid, Line, Own, Stages, Watch, keeps};
use super::sagas::{hook, undo, undone};
use super::world::World;

on_every_store!(
    children_of_each_kind_are_undone,
    its_own_undo_takes_the_place_of_its_childrens,
    a_failed_one_undoes_its_children_and_then_itself,
    a_lock_is_held_over_all_rounds,
    a_lock_is_asked_for_in_a_round,
    places_are_kept_over_rounds,
    a_cancel_in_a_round,
    a_cancel_between_rounds,
    a_cancel_with_open_children,
    ready_is_over_though_children_are_open,
);

/// Fails when its part has ended, so that this is undone.
async fn fails_after(home: &Home, world: &World, kid: Kid) {
    let coordinator = home.start(world).await;
    world.say("fail last", "it broke");
    let line = Line { kids: vec![kid, Kid::Mark("last".into())] };
    let output = coordinator.submit(line).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "it broke");
    coordinator.shutdown().await.unwrap();
}

async fn children_of_each_kind_are_undone(home: Home) {
    let inner = || vec![Kid::Fan(Fan::new("inner", [keeps(&["a", "b"])]))];
    let waves = || [inner(), keeps(&["c"])];
    for kid in [
        Kid::Fan(Fan::new("it", waves())),
        Kid::Stages(Stages::new("it", waves())),
        Kid::Own(Own::new("it", waves())),
    ] {
        let (home, world) = (home.another().await, World::new());
        fails_after(&home, &world, kid.clone()).await;
        let undone = undone(&world);
        assert_eq!(undone.len(), 3, "{kid:?} {undone:?}");
        assert_eq!(undone[0], "undo done c", "the newest first: {kid:?}");
        let both = ["undo done a", "undo done b"].map(|undo| undone.iter().any(|one| one == undo));
        assert_eq!(both, [true; 2], "{kid:?} {undone:?}");
        assert_eq!(world.count("it ends well"), 1, "it had succeeded, and stays so");
    }
}

/// With all that can be a command's own, over children.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(callback = NextOperation, needs(World), lock = Execution, concurrency = 1)]
struct Whole {
    #[lock(exclusive, group = "whole")]
    world: u64,
    label: String,
    kids: usize,
    rounds: Vec<u32>,
}

impl Whole {
    fn new(world: &World, label: &str, kids: usize) -> Self {
        Self { world: world.number(), label: label.to_owned(), kids, rounds: Vec::new() }
    }

    fn key(&self) -> WholeKey {
        WholeKey(self.world)
    }
}

#[derive(LockKey, Serialize, Deserialize, Clone, Copy)]
#[lock_key(group = "whole")]
struct WholeKey(u64);

impl Execute for Whole {
    type Output = Vec<u32>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<u32>> {
        cx.get::<World>().note(cx.id(), format!("{} executes", self.label), 1);
        Ok(Vec::new())
    }

    async fn end_successfully(&mut self, output: &Vec<u32>, cx: &LeafContext<Self>) -> Result<()> {
        let seen = format!("{} ends well: {:?} {output:?}", self.label, self.rounds);
        hook(cx, cx.get(), &seen).await
    }

    async fn compensate(
        &mut self,
        output: Option<&Vec<u32>>,
        cx: &LeafContext<Self>,
    ) -> Result<()> {
        let seen = format!("{} undo: {:?} {output:?}", self.label, self.rounds);
        cx.get::<World>().note(cx.id(), seen, 1);
        undo(cx, cx.get(), &self.label, output.is_some()).await
    }
}

impl NextOperation for Whole {
    async fn perform_next_operation(
        &mut self,
        output: &mut Vec<u32>,
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        let (world, round) = (cx.get::<World>(), completed.len());
        assert!(cx.held::<Exclusive, _>(self.key()).is_ok());
        let deed = format!("round {} {round}", self.label);
        world.note(cx.id(), &*deed, 1);
        world.pass(&deed).await;
        self.rounds.push(u32::try_from(round).map_err(Error::other)?);
        output.clone_from(&self.rounds);
        if world.is_said(&format!("fail {deed}")) {
            return Err(Error::other("no round"));
        }
        if round == self.kids {
            return Ok(false);
        }
        cx.start(Borrows { world: self.world, label: format!("{} {round}", self.label) });
        Ok(true)
    }
}

/// Takes what its parent holds.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(needs(World), lock = Execution)]
struct Borrows {
    #[lock(exclusive, group = "whole")]
    world: u64,
    label: String,
}

impl Execute for Borrows {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("{} borrows", self.label), 1);
        world.pass(&format!("{} borrows", self.label)).await;
        Ok(())
    }

    async fn compensate(&mut self, output: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        undo(cx, cx.get(), &self.label, output.is_some()).await
    }
}

/// Starts one of them, and fails when it has ended.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct Over {
    whole: Whole,
}

impl Execute for Over {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(self.whole.clone());
        Ok(())
    }
}

impl ConcurrentChildren for Over {
    async fn children_ended(
        &mut self,
        (): &mut (),
        outcomes: &Outcomes,
        _: &Context<Self>,
    ) -> Result<()> {
        outcomes.all_succeeded()?;
        Err(Error::other("it broke"))
    }
}

async fn its_own_undo_takes_the_place_of_its_childrens(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let over = Over { whole: Whole::new(&world, "it", 2) };
    let output = coordinator.submit(over).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "it broke");
    assert_eq!(undone(&world), ["undo done it"]);
    let seen = "it undo: [0, 1, 2] Some([0, 1, 2])";
    assert_eq!(world.count(seen), 1, "{:?}", world.deeds());
    assert_eq!(world.count("it ends well: [0, 1, 2] [0, 1, 2]"), 1, "{:?}", world.deeds());
    coordinator.shutdown().await.unwrap();
}

async fn a_failed_one_undoes_its_children_and_then_itself(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fail round it 2", "");
    let output = coordinator.submit(Whole::new(&world, "it", 2)).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "no round");
    let undone = undone(&world);
    assert_eq!(undone[..2], ["undo done it 1", "undo done it 0"]);
    assert!(undone[2].ends_with(" it") && undone.len() == 3, "{undone:?}");
    // What the failed round had changed is not there.
    let deeds = world.deeds();
    let seen = deeds.iter().find(|deed| deed.starts_with("it undo: ")).unwrap();
    assert!(seen.starts_with("it undo: [0, 1] "), "{seen}");
    coordinator.shutdown().await.unwrap();
}

/// From `execute` to the last round, over a restart; its children borrow it.
async fn a_lock_is_held_over_all_rounds(home: Home) {
    let world = World::new();
    ["it 0 borrows", "round it 2"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Whole::new(&world, "it", 2)).await.unwrap().id();
    let other = || Borrows { world: world.number(), label: "other".into() };
    world.noted("it 0 borrows").await;
    assert!(coordinator.submit(other()).await.is_err(), "while a child runs");
    world.open("it 0 borrows");
    world.noted("round it 2").await;
    assert!(coordinator.submit(other()).await.is_err(), "in a round");
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("round it 2", 2).await;
    assert!(coordinator.submit(other()).await.is_err(), "after a restart");
    world.open("round it 2");
    coordinator.handle::<Whole>(id).await.unwrap().output().await.unwrap();
    coordinator.submit(other()).await.unwrap().output().await.unwrap();
    assert!(coordinator.locks().await.unwrap().held.is_empty());
    coordinator.shutdown().await.unwrap();
}

/// Asks for a lock in its round.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, needs(World), lock = Execution)]
struct LateTaker {
    key: u64,
    #[lock(exclusive, group = "late taker")]
    own: u64,
}

impl Execute for LateTaker {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl ConcurrentChildren for LateTaker {
    async fn children_ended(
        &mut self,
        (): &mut (),
        _: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), "round asks", 1);
        cx.lock(WholeKey(self.key), Exclusive).await?;
        world.note(cx.id(), "round holds", 1);
        world.pass("round holds").await;
        Ok(())
    }
}

async fn a_lock_is_asked_for_in_a_round(home: Home) {
    let world = World::new();
    world.close("round holds");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(LateTaker { key: world.number(), own: 0 }).await.unwrap();
    world.noted("round holds").await;
    let other = || Borrows { world: world.number(), label: "other".into() };
    assert!(coordinator.submit(other()).await.is_err());
    world.open("round holds");
    handle.output().await.unwrap();
    coordinator.submit(other()).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Also between two rounds, while its children run.
async fn places_are_kept_over_rounds(home: Home) {
    let (world, elsewhere) = (World::new(), World::new());
    world.close("first 0 borrows");
    let coordinator = home.start(&world).await;
    let first = coordinator.submit(Whole::new(&world, "first", 1)).await.unwrap();
    world.noted("first 0 borrows").await;
    let second = coordinator.submit(Whole::new(&elsewhere, "second", 0)).await.unwrap();
    let place = Why::Place { command_type: "whole".to_owned(), most: 1 };
    until(async || coordinator.why_waiting(second.id()).await.unwrap() == place).await;
    assert_eq!(world.count("second executes"), 0);
    world.open("first 0 borrows");
    first.output().await.unwrap();
    second.output().await.unwrap();
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|one| one == deed).unwrap();
    assert!(at("round first 1") < at("second executes"), "{deeds:?}");
    coordinator.shutdown().await.unwrap();
}

async fn a_cancel_in_a_round(home: Home) {
    let world = World::new();
    world.close("round it");
    let coordinator =
        home.start_with(&world, |b| b.cancel_grace(std::time::Duration::from_millis(1))).await;
    let handle = coordinator.submit(Fan::new("it", [keeps(&["a"])])).await.unwrap();
    world.noted("round it").await;
    handle.cancel().await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(undone(&world), ["undo done a"]);
    assert_eq!(world.count("it ends badly"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn a_cancel_between_rounds(home: Home) {
    let world = World::new();
    world.say("it each", "pending");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Watch::new("it", [])).await.unwrap();
    world.noted_times("round it", 3).await;
    handle.cancel().await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.status, row.executed), (CommandStatus::EndedWithFailure, true));
    assert_eq!(world.count("it ends badly"), 1);
    coordinator.shutdown().await.unwrap();
}

/// They are told as well, and it ends after them, without another round.
async fn a_cancel_with_open_children(home: Home) {
    for kid in 0..3 {
        let (home, world) = (home.another().await, World::new());
        world.close("b");
        world.say("it each", "pending");
        let grace = std::time::Duration::from_millis(1);
        let coordinator = home.start_with(&world, |builder| builder.cancel_grace(grace)).await;
        let waves = [keeps(&["a", "b"])];
        let id = match kid {
            0 => coordinator.submit(Fan::new("it", waves)).await.unwrap().id(),
            1 => coordinator.submit(Own::new("it", waves)).await.unwrap().id(),
            _ => {
                let line = Line { kids: vec![Kid::Fan(Fan::new("it", waves))] };
                coordinator.submit(line).await.unwrap().id()
            }
        };
        world.noted("a done").await;
        world.noted("b").await;
        coordinator.cancel(id, "").await.unwrap();
        until(async || home.entity(id).await.progress.status.is_terminal()).await;
        for row in home.tree(id).await.commands {
            assert!(row.progress.status.is_terminal(), "{row:?}");
        }
        let deeds = world.deeds();
        assert_eq!(world.count("b done"), 0, "{deeds:?}");
        assert_eq!((world.count("undo done a"), world.count("it ends badly")), (1, 1), "{deeds:?}");
        coordinator.shutdown().await.unwrap();
    }
}

/// Ready, and nothing started: there is no other round, though children end after it.
async fn ready_is_over_though_children_are_open(home: Home) {
    let world = World::new();
    world.close("b");
    ["own 1", "own each"].iter().for_each(|of| world.say(of, "log ready, ready"));
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Own::new("own", [keeps(&["a", "b"])])).await.unwrap();
    world.noted("round own").await;
    world.noted("b").await;
    assert_eq!(world.count("own ends well"), 0);
    world.open("b");
    handle.output().await.unwrap();
    assert_eq!(world.count("round own"), 1);
    coordinator.shutdown().await.unwrap();
}
