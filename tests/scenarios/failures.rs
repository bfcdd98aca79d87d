//! What a flow and a submitter see of a failure, and which failures count.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::home::{Home, failure_of, on_every_store};
use super::leaves::{Fragile, Mark};
use super::world::World;

on_every_store!(
    alike_live_and_replayed,
    passed_on_by_every_parent,
    the_first_of_several,
    children_that_nobody_waits_for,
    a_failure_that_nobody_saw,
    a_failure_that_was_seen,
    a_refused_flow,
    values_of_any_shape,
);

#[derive(Debug)]
struct Cause(&'static str, Option<Box<Self>>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

/// Fails with all that an error can carry.
#[derive(Command, Serialize, Deserialize)]
struct Detailed {}

impl Execute for Detailed {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        let deep = Cause("the disk is full", None);
        let cause = Cause("the write failed", Some(Box::new(deep)));
        let error = Error::from(Cause("the copy failed", Some(Box::new(cause))));
        let data = json!({ "free": 0.1 + 0.2, "big": u64::MAX, "text": "ä\u{1}", "list": [null] });
        Err(error.with_code("E-FULL").with_data(data))
    }
}

/// Looks at the failure of a child, does something else, and gives what it saw.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Looks {}

impl Execute for Looks {
    type Output = (Failure, String);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<(Failure, String)> {
        let Err(error) = cx.child(Detailed {}).await else {
            return Err(Error::other("it did not fail"));
        };
        cx.child(Mark::new("then")).await?;
        let failure = error.failure().cloned().ok_or_else(|| Error::other("no failure"))?;
        Ok((failure, format!("{error} / {error:?}")))
    }
}

async fn alike_live_and_replayed(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Looks {}).await.unwrap();
    let (live, live_text) = handle.output().await.unwrap();
    assert_eq!(live.kind, FailureKind::Failed);
    assert_eq!(live.code.as_deref(), Some("E-FULL"));
    assert_eq!(live.message, "the copy failed");
    assert_eq!(live.chain, ["the write failed", "the disk is full"]);
    assert_eq!(live.data.as_ref().unwrap()["big"], u64::MAX);
    let child = home.tree(handle.id()).await.commands;
    let child = child.iter().find(|row| row.command_type == "detailed").unwrap();
    assert_eq!(live.command, Some(child.command_id));

    world.close("then");
    let id = coordinator.submit(Looks {}).await.unwrap().id();
    world.noted_times("then", 2).await;
    drop(coordinator);
    world.open("then");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Looks>(id).await.unwrap();
    let (replayed, replayed_text) = handle.output().await.unwrap();
    assert_ne!(replayed.command, live.command);
    assert_eq!(Failure { command: live.command, ..replayed }, live);
    assert_eq!(replayed_text, live_text);
    coordinator.shutdown().await.unwrap();
}

/// Passes the failure of its innermost child on.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct PassesOn {
    depth: u32,
}

impl Execute for PassesOn {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        match self.depth {
            0 => cx.child(Detailed {}).await?,
            depth => cx.child(Self { depth: depth - 1 }).await?,
        }
        Ok(())
    }

    async fn end_with_failure(&mut self, failure: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        let of = failure.command.map(|id| id.to_string()).unwrap_or_default();
        cx.get::<World>().note(cx.id(), format!("{}: {failure} of {of}", self.depth), 1);
        Ok(())
    }
}

async fn passed_on_by_every_parent(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(PassesOn { depth: 2 }).await.unwrap();
    let failure = failure_of(handle.output().await);
    let rows = home.tree(handle.id()).await.commands;
    let first = rows.iter().find(|row| row.command_type == "detailed").unwrap().command_id;
    assert_eq!(failure.command, Some(first), "the command that failed first");
    let text = format!("the copy failed: the write failed: the disk is full of {first}");
    assert_eq!(world.deeds(), [0, 1, 2].map(|depth| format!("{depth}: {text}")));
    for row in rows {
        let stored: Failure =
            serde_json::from_str(row.progress.failure.as_deref().unwrap()).unwrap();
        assert_eq!(stored, failure);
        assert!(!row.progress.executed);
    }
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Three {}

impl Execute for Three {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        cx.children(["one", "two", "three"].map(Mark::new)).await
    }
}

async fn the_first_of_several(home: Home) {
    let world = World::new();
    ["one", "two", "three"].into_iter().for_each(|label| world.close(label));
    ["one", "three"].into_iter().for_each(|label| world.say(&format!("fail {label}"), label));
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Three {}).await.unwrap();
    for (label, over) in [("three", "three failed"), ("two", "two done"), ("one", "one failed")] {
        world.noted(label).await;
        assert_eq!(handle.status().await.unwrap(), CommandStatus::Active, "it waits for all");
        world.open(label);
        world.noted(over).await;
    }
    assert_eq!(failure_of(handle.output().await).message, "three", "by the order of ends");
    coordinator.shutdown().await.unwrap();
}

/// Asks for children, does not wait for them, and returns.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Careless {
    label: String,
    /// It waits for another child after that.
    lingers: bool,
}

impl Execute for Careless {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        drop(cx.child(Mark::new("never asked for")));
        {
            let mut child = pin!(cx.child(Mark::new(self.label.as_str())));
            poll_fn(|cx| {
                assert!(child.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        if self.lingers {
            cx.child(Fragile::new("linger")).await?;
        }
        Ok("returned".to_owned())
    }
}

async fn children_that_nobody_waits_for(home: Home) {
    let world = World::new();
    world.close("slow");
    let coordinator = home.start(&world).await;
    let careless = Careless { label: "slow".into(), lingers: false };
    let handle = coordinator.submit(careless).await.unwrap();
    world.noted("slow").await;
    let row = home.entity(handle.id()).await.progress;
    assert_eq!((row.status, row.executed), (CommandStatus::Active, false));
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("slow", 2).await;
    world.open("slow");
    let handle = coordinator.handle::<Careless>(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "returned");
    assert_eq!(world.count("slow done"), 1);
    assert_eq!(world.count("never asked for"), 0);
    let rows = home.tree(handle.id()).await.commands;
    let last = rows.iter().max_by_key(|row| row.progress.end_order).unwrap();
    assert_eq!((rows.len(), last.command_id), (2, handle.id()));
    coordinator.shutdown().await.unwrap();
}

async fn a_failure_that_nobody_saw(home: Home) {
    for lingers in [false, true] {
        let world = World::new();
        world.say("fail unseen", "nobody looked");
        world.close("linger");
        let coordinator = home.start(&world).await;
        let careless = Careless { label: "unseen".into(), lingers };
        let handle = coordinator.submit(careless).await.unwrap();
        world.noted("unseen failed").await;
        world.open("linger");
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.message, "nobody looked");
        let row = home.entity(handle.id()).await.progress;
        assert!(row.executed, "`execute` returned `Ok`");
        assert_eq!(row.return_value.as_deref(), Some(r#""returned""#));
        assert_eq!(row.status, CommandStatus::EndedWithFailure);
        coordinator.shutdown().await.unwrap();
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Tolerant {}

impl Execute for Tolerant {
    type Output = usize;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<usize> {
        let failed = cx.child(Mark::new("seen")).await.is_err();
        let step = cx.once("step", |_| async { Err::<(), _>(Error::other("no")) }).await;
        let several = cx.children(["seen", "fine"].map(Mark::new)).await;
        Ok([failed, step.is_err(), several.is_err()].iter().filter(|failed| **failed).count())
    }
}

async fn a_failure_that_was_seen(home: Home) {
    let world = World::new();
    world.say("fail seen", "everybody looked");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Tolerant {}).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), 3);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Refuses {
    depth: u32,
}

impl Execute for Refuses {
    type Output = ();

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("validate {}", self.depth), 1);
        cx.get::<World>().pass("validation").await;
        if self.depth == 0 { Err(Error::other("refused").with_code("E-NO")) } else { Ok(()) }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Self { depth: self.depth - 1 }).await
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("end {}", self.depth), 1);
        Ok(())
    }
}

async fn a_refused_flow(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Refuses { depth: 1 }).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Refused, "refused"));
    assert_eq!(failure.code.as_deref(), Some("E-NO"));
    assert_eq!(
        world.deeds(),
        ["validate 1", "validate 0", "end 1"],
        "what did not begin has no end"
    );

    // A validation that was interrupted is made again; one that was passed is not.
    world.close("validation");
    let id = coordinator.submit(Refuses { depth: 0 }).await.unwrap().id();
    world.noted_times("validate 0", 2).await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("validate 0", 3).await;
    world.open("validation");
    let handle = coordinator.handle::<Refuses>(id).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Refused);
    coordinator.shutdown().await.unwrap();
}

/// Outputs that JSON writes in a way of its own.
#[derive(Command, Serialize, Deserialize)]
struct Shapes {}

impl Execute for Shapes {
    type Output = (Option<()>, f64, i64, u64, String, Vec<Option<u8>>);

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<Self::Output> {
        Ok((
            None,
            f64::MIN_POSITIVE,
            i64::MIN,
            u64::MAX,
            "\"\\\u{7f}é𝄞\n".into(),
            vec![None, Some(1)],
        ))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct OfShapes {}

impl Execute for OfShapes {
    type Output = <Shapes as Execute>::Output;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {
        let shapes = cx.child(Shapes {}).await?;
        cx.child(Mark::new("between")).await?;
        let again = cx.once("again", |_| async { Ok(shapes.clone()) }).await?;
        if shapes == again { Ok(again) } else { Err(Error::other("they differ")) }
    }
}

async fn values_of_any_shape(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let leaf = coordinator.submit(Shapes {}).await.unwrap().output().await.unwrap();
    world.close("between");
    let id = coordinator.submit(OfShapes {}).await.unwrap().id();
    world.noted("between").await;
    drop(coordinator);
    world.open("between");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<OfShapes>(id).await.unwrap();
    let replayed = handle.output().await.unwrap();
    assert_eq!(replayed, leaf);
    assert_eq!(replayed.1.to_bits(), f64::MIN_POSITIVE.to_bits());
    coordinator.shutdown().await.unwrap();
}
