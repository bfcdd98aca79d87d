//! A column of a stored row holds what is not of its type. SQLite only: it lets anybody put
//! anything anywhere.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::store::StoreError;
use coco_core::{EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, in_time, stuck_of};
use super::leaves::Mark;
use super::spoiler::{Spoiler, Spot};
use super::world::World;

/// Leaves a row in every table, and comes to a gate.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Full {
    label: String,
}

impl Execute for Full {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.once("step", |_| async { Ok(()) }).await?;
        cx.compensate_with(Mark::new("undone")).await?;
        cx.sleep(Duration::from_micros(1)).await?;
        cx.child(Mark::new(&self.label)).await
    }
}

const LABELS: [&str; 3] = ["first", "second", "third"];

/// The engine dies while three trees are at their gates.
async fn three_trees(home: &Home, world: &World) -> [CommandId; 3] {
    let coordinator = home.start(world).await;
    let mut roots = Vec::new();
    for label in LABELS {
        world.close(label);
        let full = Full { label: label.to_owned() };
        roots.push(coordinator.submit(full).await.unwrap().id());
        world.noted(label).await;
    }
    drop(coordinator);
    roots.try_into().unwrap()
}

/// Spoils a row of the second of three trees: it is quarantined, to the byte as it is, the others
/// end, and it goes on when the row is repaired.
async fn quarantined(spot: Spot) {
    let (home, world) = (Home::sqlite(), World::new());
    let [first, second, third] = three_trees(&home, &world).await;
    LABELS.iter().for_each(|label| world.open(label));
    let mut spoiler = Spoiler::new(&home, second).await;
    spoiler.spoil(spot).await;
    let spoilt = spoiler.rows().await;

    let coordinator = home.start(&world).await;
    let report = coordinator.report();
    assert_eq!(report.resumed, [first, third], "{spot:?}");
    let [quarantine] = &report.quarantined[..] else { panic!("{spot:?}: {report:?}") };
    assert_eq!(quarantine.root, second);
    assert_eq!(quarantine.reason.kind, FailureKind::Undecodable);
    let reason = &quarantine.reason.message;
    let row = format!(" `{}` in `{}`", quarantine.command, spot.table);
    for part in [format!("`{}`", spot.column), row] {
        assert!(reason.contains(&part), "{spot:?}: {part} in {reason}");
    }
    for (id, label) in [(first, "first"), (third, "third")] {
        let handle = coordinator.handle::<Full>(id).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), format!("{label}!"));
    }
    let beside = coordinator.submit(Mark::new("beside")).await.unwrap();
    assert_eq!(beside.output().await.unwrap(), "beside!");
    is_left_alone(&coordinator, second).await;
    coordinator.shutdown().await.unwrap();
    assert_eq!(spoiler.rows().await, spoilt, "{spot:?}");

    spoiler.repair(spot).await;
    let coordinator = home.start(&world).await;
    assert_eq!(coordinator.report().resumed, [second]);
    let handle = coordinator.handle::<Full>(second).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "second!");
    coordinator.shutdown().await.unwrap();
}

/// Nobody can do anything to it, and nobody waits for it.
async fn is_left_alone(coordinator: &Coordinator, root: CommandId) {
    match coordinator.handle::<Full>(root).await {
        Ok(handle) => {
            assert_eq!(stuck_of(handle.output().await).1.kind, FailureKind::Undecodable);
            let retry = coordinator.retry(root).await;
            assert_eq!(engine_error_of(retry), EngineError::NotStuck(root));
        }
        Err(error) => {
            assert_is_unreadable(&error);
            assert_is_unreadable(&coordinator.retry(root).await.unwrap_err());
            assert_is_unreadable(&coordinator.cancel(root, "no").await.unwrap_err());
        }
    }
}

fn assert_is_unreadable(error: &Error) {
    assert!(matches!(error.downcast_ref(), Some(StoreError::Unreadable(_))), "{error}");
}

async fn all_are_quarantined(spots: impl IntoIterator<Item = Spot>) {
    for spot in spots {
        in_time(quarantined(spot)).await;
    }
}

#[tokio::test]
async fn a_row_of_a_root() {
    let spot = |column, value| Spot {
        table: "command_entities",
        which: "parent_command_id IS NULL",
        column,
        value,
    };
    all_are_quarantined([
        spot("command_type", "x'ff'"),
        spot("root_command_id", "x'010203'"),
        spot("root_command_id", "'a root'"),
        spot("command_parameters", "CAST(x'ff' AS TEXT)"),
        spot("created_at", "'yesterday'"),
        spot("status", "x'616374697665'"),
        spot("deaths", "1 << 40"),
        spot("wake_at", "0.5"),
    ])
    .await;
}

#[tokio::test]
async fn a_row_of_a_child() {
    let spot = |column, value| Spot {
        table: "command_entities",
        which: "parent_command_id IS NOT NULL",
        column,
        value,
    };
    all_are_quarantined([
        spot("command_id", "x'010203'"),
        spot("parent_command_id", "x'010203'"),
        spot("position", "'first'"),
        spot("callback_enabled", "'perhaps'"),
        spot("failure", "x'7b7d'"),
    ])
    .await;
}

#[tokio::test]
async fn a_row_of_another_table() {
    let spot = |table, column, value| Spot { table, which: "true", column, value };
    all_are_quarantined([
        spot("once_results", "name", "CAST(x'6180' AS TEXT)"),
        spot("once_results", "name", "NULL"),
        spot("once_results", "command_id", "x'010203' || position"),
        spot("once_results", "end_order", "'last'"),
        spot("once_results", "return_value", "x'00'"),
        spot("sleeps", "micros", "'a while'"),
        spot("sleeps", "command_id", "17"),
        spot("compensations", "command_parameters", "x'7b7d'"),
        spot("compensations", "compensated_at", "'soon'"),
    ])
    .await;
}

/// More roots than recovery reads at a time: one in the second page has a row that cannot be
/// read, and one in the first has no identity. All others go on.
#[tokio::test]
async fn one_of_many() {
    in_time(async {
        let (home, world) = (Home::sqlite(), World::new());
        world.close("open");
        let coordinator = home.start(&world).await;
        let mut roots = Vec::new();
        for _ in 0..60 {
            roots.push(coordinator.submit(Mark::new("open")).await.unwrap().id());
        }
        world.noted_times("open", 60).await;
        drop(coordinator);
        let root = |column, value| Spot { table: "command_entities", which: "true", column, value };
        let (nameless, unreadable) = (roots.remove(7), roots.remove(55));
        for (id, spot) in
            [(nameless, root("command_id", "x'010203'")), (unreadable, root("attempt", "'many'"))]
        {
            Spoiler::new(&home, id).await.spoil(spot).await;
        }
        let coordinator = home.start(&world).await;
        let report = coordinator.report();
        assert_eq!(report.resumed, roots);
        let quarantined: Vec<_> = report.quarantined.iter().map(|one| one.root).collect();
        assert_eq!(quarantined, [unreadable]);
        world.open("open");
        for id in roots {
            let handle = coordinator.handle::<Mark>(id).await.unwrap();
            assert_eq!(handle.output().await.unwrap(), "open!");
        }
        coordinator.shutdown().await.unwrap();
    })
    .await;
}

/// Asks for a child whose label is what its world says now.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Turncoat {
    world: u64,
}

impl Execute for Turncoat {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let label = World::at(self.world).word("label").unwrap_or_default();
        cx.child(Mark::new(label)).await
    }
}

/// A flow that is stuck is retried while a row of it cannot be read: that is refused, and works
/// when the row is repaired.
#[tokio::test]
async fn a_retry_is_refused() {
    in_time(async {
        let (home, world) = (Home::sqlite(), World::new());
        world.say("label", "right");
        world.close("right");
        let coordinator = home.start(&world).await;
        let root = coordinator.submit(Turncoat { world: world.number() }).await.unwrap().id();
        world.noted("right").await;
        drop(coordinator);
        world.say("label", "wrong");
        let coordinator = home.start(&world).await;
        let handle = coordinator.handle::<Turncoat>(root).await.unwrap();
        assert_eq!(stuck_of(handle.output().await).1.kind, FailureKind::Diverged);

        let spot = Spot {
            table: "command_entities",
            which: "parent_command_id IS NOT NULL",
            column: "created_at",
            value: "'yesterday'",
        };
        let mut spoiler = Spoiler::new(&home, root).await;
        spoiler.spoil(spot).await;
        world.say("label", "right");
        let failure = failure_of(coordinator.retry(root).await);
        assert_eq!(failure.kind, FailureKind::Undecodable);
        assert!(failure.message.contains("`created_at`"), "{failure}");
        assert_eq!(stuck_of(handle.output().await).1.kind, FailureKind::Diverged);

        spoiler.repair(spot).await;
        coordinator.retry(root).await.unwrap();
        world.open("right");
        let handle = coordinator.handle::<Turncoat>(root).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), "right!");
        coordinator.shutdown().await.unwrap();
    })
    .await;
}

/// Can be undone.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
struct Undoable {}

impl Execute for Undoable {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "undone", cx.attempt());
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Undoing {}

impl Execute for Undoing {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Undoable {}).await?;
        cx.child(Mark::new("last")).await.map(drop)
    }
}

/// What is to be undone cannot be read: that is not waited out, and the flow is stuck until the
/// row is repaired.
#[tokio::test]
async fn what_is_to_be_undone() {
    in_time(async {
        let (home, world) = (Home::sqlite(), World::new());
        world.close("last");
        world.say("fail last", "no");
        let coordinator = home.start(&world).await;
        let handle = coordinator.submit(Undoing {}).await.unwrap();
        world.noted("last").await;
        let spot = Spot {
            table: "command_entities",
            which: "status = 'ended_successfully'",
            column: "command_parameters",
            value: "x'7b7d'",
        };
        let mut spoiler = Spoiler::new(&home, handle.id()).await;
        spoiler.spoil(spot).await;
        world.open("last");
        let (_, reason) = stuck_of(handle.output().await);
        let text = "what is to be undone cannot be read: the row of `";
        assert!(reason.message.starts_with(text), "{reason}");
        assert!(reason.message.contains("`command_parameters`"), "{reason}");

        spoiler.repair(spot).await;
        coordinator.retry(handle.id()).await.unwrap();
        world.noted("undone").await;
        let handle = coordinator.handle::<Undoing>(handle.id()).await.unwrap();
        assert_eq!(failure_of(handle.output().await).message, "no");
        coordinator.shutdown().await.unwrap();
    })
    .await;
}
