//! The code of a flow has changed while the process was down, and takes another way.

use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::by_hand::copy;
use super::home::{Home, engine_error_of, on_every_store, stuck_of, until};
use super::leaves::{Fragile, Mark, Nothing};
use super::world::World;

on_every_store!(
    both_sides_are_named,
    ways_that_are_legal,
    retry_in_the_same_process,
    retry_after_another_restart,
    siblings_go_on,
    two_that_are_stuck,
    parameters_are_compared_as_values,
);

/// Does what the plan in its world says: `mark:a`, `fragile:a`, `once:a`, `both:a,b`, `uuid:`.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(callback = SerialChildren)]
struct Planned {
    world: u64,
    plan: String,
}

impl Planned {
    fn of(world: &World, plan: &str) -> Self {
        Self { world: world.number(), plan: plan.to_owned() }
    }
}

impl Execute for Planned {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let plan = World::at(self.world).word(&self.plan).unwrap_or_default();
        let mut outputs = Vec::new();
        for step in plan.split_whitespace() {
            match step.split_once(':').unwrap_or_default() {
                ("mark", label) => outputs.push(cx.child(Mark::new(label)).await?),
                ("fragile", label) => outputs.push(cx.child(Fragile::new(label)).await?),
                ("once", name) => {
                    outputs.push(cx.once(name, |_| async { Ok("once".to_owned()) }).await?);
                }
                ("both", labels) => {
                    outputs.extend(cx.children(labels.split(',').map(Mark::new)).await?);
                }
                ("uuid", _) => assert_eq!(cx.uuid().get_version_num(), 5),
                other => return Err(Error::other(format!("{other:?}"))),
            }
        }
        Ok(outputs)
    }
}

/// A flow that did `before` until it came to the gate `here`, and finds the plan `after` in the
/// next process.
async fn replanned(
    home: &Home,
    before: &str,
    after: &str,
) -> (World, Coordinator, CommandHandle<Planned>) {
    let world = World::new();
    world.say("plan", before);
    world.close("here");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Planned::of(&world, "plan")).await.unwrap().id();
    world.noted("here").await;
    drop(coordinator);
    world.say("plan", after);
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle(id).await.unwrap();
    (world, coordinator, handle)
}

async fn both_sides_are_named(home: Home) {
    for (before, after, reason) in [
        (
            "mark:a mark:here",
            "fragile:a mark:here",
            r#"request 0 was `mark` {"label":"a"} before, and now the flow asks for `fragile` {"label":"a"}"#,
        ),
        (
            "mark:a mark:here",
            "mark:a mark:there",
            r#"request 1 was `mark` {"label":"here"} before, and now the flow asks for `mark` {"label":"there"}"#,
        ),
        (
            "mark:a mark:here",
            "mark:a once:here",
            r#"request 1 was `mark` {"label":"here"} before, and now the flow asks for once `here`"#,
        ),
        (
            "once:a mark:here",
            "mark:a mark:here",
            r#"request 0 was once `a` before, and now the flow asks for `mark` {"label":"a"}"#,
        ),
        (
            "once:a mark:here",
            "once:b mark:here",
            "request 0 was once `a` before, and now the flow asks for once `b`",
        ),
        (
            "mark:a mark:here",
            "mark:a",
            r#"request 1 was `mark` {"label":"here"} before, and now the flow returned without asking for it"#,
        ),
        (
            "once:a mark:here",
            "",
            "request 0 was once `a` before, and now the flow returned without asking for it",
        ),
        (
            "mark:a mark:here",
            "mark:a uuid: mark:here",
            r#"request 1 was `mark` {"label":"here"} before, and now the flow waits for something else without asking for it"#,
        ),
        (
            "uuid: mark:here",
            "once:x mark:here",
            r#"request 1 was `mark` {"label":"here"} before, and now the flow waits for something else without asking for it"#,
        ),
        (
            "mark:a uuid: mark:here",
            "mark:a mark:here",
            r#"request 2 was `mark` {"label":"here"} before, and now the flow waits for something else without asking for it"#,
        ),
    ] {
        let home = home.another().await;
        let (world, coordinator, handle) = replanned(&home, before, after).await;
        world.open("here");
        let (command, stuck) = stuck_of(handle.output().await);
        assert_eq!(stuck.message, reason, "{before} became {after}");
        assert_eq!((command, stuck.kind), (handle.id(), FailureKind::Diverged));
        assert_eq!(stuck.command, Some(handle.id()));
        assert_eq!(handle.status().await.unwrap(), CommandStatus::Stuck);
        coordinator.shutdown().await.unwrap();
    }
}

async fn ways_that_are_legal(home: Home) {
    for (before, after, outputs) in [
        ("mark:a mark:here", "mark:a mark:here mark:c", vec!["a!", "here!", "c!"]),
        ("uuid: mark:here", "uuid: mark:here once:x", vec!["here!", "once"]),
        ("both:a,here", "both:a,here mark:c", vec!["a!", "here!", "c!"]),
    ] {
        let home = home.another().await;
        let (world, coordinator, handle) = replanned(&home, before, after).await;
        world.open("here");
        assert_eq!(handle.output().await.unwrap(), outputs, "{before} became {after}");
        coordinator.shutdown().await.unwrap();
    }
}

async fn retry_in_the_same_process(home: Home) {
    let (world, coordinator, handle) = replanned(&home, "mark:a mark:here", "mark:b").await;
    stuck_of(handle.output().await);
    // The code is still wrong.
    coordinator.retry(handle.id()).await.unwrap();
    stuck_of(handle.output().await);
    world.say("plan", "mark:a mark:here mark:c");
    world.open("here");
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["a!", "here!", "c!"]);
    assert_eq!((world.count("a"), world.count("b"), world.count("c")), (1, 0, 1));
    assert_eq!(handle.status().await.unwrap(), CommandStatus::EndedSuccessfully);
    let refused = coordinator.retry(handle.id()).await;
    assert_eq!(engine_error_of(refused), EngineError::NotStuck(handle.id()), "it has ended");
    let nobody = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    assert_eq!(engine_error_of(coordinator.retry(nobody).await), EngineError::NotFound(nobody));
    coordinator.shutdown().await.unwrap();
}

async fn retry_after_another_restart(home: Home) {
    let (world, coordinator, handle) = replanned(&home, "mark:a mark:here", "mark:b").await;
    let before = stuck_of(handle.output().await);
    world.noted_times("here", 2).await;
    world.open("here");
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Planned>(handle.id()).await.unwrap();
    assert_eq!(stuck_of(handle.output().await), before, "stuck is stored, with its reason");
    world.say("plan", "mark:a mark:here");
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["a!", "here!"]);
    assert_eq!(world.count("a"), 1);
    coordinator.shutdown().await.unwrap();
}

/// Two flows side by side, and what comes after them.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Couple {
    one: Planned,
    other: Planned,
}

impl Execute for Couple {
    type Output = Vec<Vec<String>>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<Vec<String>>> {
        let outputs = cx.children([self.one.clone(), self.other.clone()]).await?;
        cx.child(Mark::new("after both")).await?;
        Ok(outputs)
    }
}

/// A couple of which both were at work when the process died.
async fn couple(home: &Home, world: &World) -> CommandId {
    world.say("one", "mark:a mark:here");
    world.say("other", "mark:b mark:there");
    ["here", "there"].into_iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(world).await;
    let (one, other) = (Planned::of(world, "one"), Planned::of(world, "other"));
    let id = coordinator.submit(Couple { one, other }).await.unwrap().id();
    world.noted("here").await;
    world.noted("there").await;
    drop(coordinator);
    ["here", "there"].into_iter().for_each(|gate| world.open(gate));
    id
}

async fn siblings_go_on(home: Home) {
    let world = World::new();
    let id = couple(&home, &world).await;
    world.say("one", "mark:z");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Couple>(id).await.unwrap();
    let (stuck, _) = stuck_of(handle.output().await);
    assert_ne!(stuck, id, "the one that is stuck is named, not those that wait for it");
    world.noted("there done").await;
    let rows = home.tree(id).await.commands;
    let row = rows.iter().find(|row| row.command_id == stuck).unwrap();
    assert_eq!((row.position, row.parent_command_id), (0, Some(id)));
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Active, "it waits");
    let sibling = rows.iter().find(|row| row.position == 1).unwrap().command_id;
    let refused = coordinator.retry(sibling).await;
    assert_eq!(engine_error_of(refused), EngineError::NotStuck(sibling));
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    assert_eq!(world.count("after both"), 0);

    world.say("one", "mark:a mark:here");
    coordinator.retry(id).await.expect("all that is stuck in it goes on");
    assert_eq!(handle.output().await.unwrap(), [["a!", "here!"], ["b!", "there!"]]);
    coordinator.shutdown().await.unwrap();
}

async fn two_that_are_stuck(home: Home) {
    let world = World::new();
    let id = couple(&home, &world).await;
    ["one", "other"].into_iter().for_each(|plan| world.say(plan, "mark:z"));
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Couple>(id).await.unwrap();
    until(|| async {
        let rows = home.tree(id).await.commands;
        rows.iter().filter(|row| row.progress.status == CommandStatus::Stuck).count() == 2
    })
    .await;
    world.say("one", "mark:a mark:here");
    world.say("other", "mark:b mark:there");
    let (last, _) = stuck_of(handle.output().await);
    coordinator.retry(last).await.unwrap();
    let (first, _) = stuck_of(handle.output().await);
    assert_ne!(first, last, "the one that is still stuck is named");
    coordinator.retry(first).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), [["a!", "here!"], ["b!", "there!"]]);
    coordinator.shutdown().await.unwrap();
}

/// Has a field that was added later.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
struct Grown {
    first: u32,
    second: f64,
    #[serde(default)]
    added: Option<String>,
}

impl Execute for Grown {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        cx.get::<World>().note(cx.id(), format!("grown {}", self.first), cx.attempt());
        cx.get::<World>().pass(&format!("grown {}", self.first)).await;
        Ok(self.first)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct GrownFlow {}

impl Execute for GrownFlow {
    type Output = Vec<u32>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<u32>> {
        let mut outputs = Vec::new();
        for first in 1..4 {
            let grown = Grown { first, second: 0.1 + f64::from(first) / 3.0, added: None };
            outputs.push(cx.child(grown).await?);
        }
        Ok(outputs)
    }
}

async fn parameters_are_compared_as_values(home: Home) {
    let world = World::new();
    world.close("grown 2");
    let coordinator = home.start(&world).await;
    let original = coordinator.submit(GrownFlow {}).await.unwrap().id();
    world.noted("grown 2").await;
    drop(coordinator);
    let (copied, changed) = copy(&home, original, |row| {
        let first = row.position + 1;
        let second = 0.1 + f64::from(first) / 3.0;
        let is_child = row.parent_command_id.is_some();
        if is_child {
            row.command_parameters =
                format!(r#" {{ "second": {second}0, "first": {first} }}"#).into();
        }
        is_child
    })
    .await;
    assert_eq!(changed.len(), 2);

    world.open("grown 2");
    let coordinator = home.start(&world).await;
    for id in [original, copied] {
        let handle = coordinator.handle::<GrownFlow>(id).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), [1, 2, 3]);
    }
    coordinator.shutdown().await.unwrap();
}
