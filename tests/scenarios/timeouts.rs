//! What takes longer than its time-out: by a clock that the test moves, and in milliseconds.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, in_no_time, on_every_store};
use super::sagas::parts::{heeds, keep};
use super::sagas::{Part, perform, undone};
use super::world::World;

on_every_store!(a_leaf_in_milliseconds, a_flow_in_milliseconds);
in_no_time!(
    a_leaf_that_heeds_it,
    a_leaf_that_is_in_time,
    a_flow_and_all_below_it,
    over_a_restart,
    it_counts_all_attempts,
    it_does_not_count_what_comes_after,
);

#[derive(Command, Serialize, Deserialize)]
#[command(timeout = "20ms", needs(World))]
struct HastyLeaf {}

impl Execute for HastyLeaf {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.cancelled().await;
        cx.get::<World>().note(cx.id(), "told", 1);
        Ok(())
    }

    async fn compensate(&mut self, output: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("undo {output:?}"), 1);
        Ok(())
    }
}

async fn a_leaf_in_milliseconds(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(HastyLeaf {}).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(failure.message, "`hasty_leaf` took longer than its time-out of 20ms");
    assert_eq!(world.deeds(), ["told", "undo Some(())"]);
    assert!(home.entity(handle.id()).await.progress.executed, "its late output is kept");
    assert_eq!(coordinator.audit(handle.id()).await.unwrap(), [], "no operator did it");
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, timeout = "100ms")]
struct HastyFlow {
    plan: Vec<Part>,
}

impl Execute for HastyFlow {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        perform(cx, &self.plan).await
    }
}

async fn a_flow_in_milliseconds(home: Home) {
    let world = World::new();
    world.close("b");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(HastyFlow { plan: vec![keep("a"), heeds("b")] }).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::TimedOut);
    assert_eq!(undone(&world), ["undo half b", "undo done a"]);
    coordinator.shutdown().await.unwrap();
}

mod scenario {
    use super::*;
    use tokio::time::Instant;

    /// Waits at its gate, or until it is told.
    #[derive(Command, Serialize, Deserialize)]
    #[command(idempotent, timeout = "10m", retry(attempts = 50, backoff = "1m"), needs(World))]
    struct TenMinutes {
        label: String,
    }

    impl Execute for TenMinutes {
        type Output = ();

        async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
            let world = cx.get::<World>();
            world.note(cx.id(), &*self.label, cx.attempt());
            tokio::select! {
                () = cx.cancelled() => Err(Error::other("told")),
                () = world.pass(&self.label) => match world.is_said(&format!("fail {}", self.label)) {
                    true => Err(Error::other("it broke")),
                    false => Ok(()),
                }
            }
        }

        async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
            cx.get::<World>().note(cx.id(), "ends", 1);
            cx.get::<World>().pass("ends").await;
            Ok(())
        }
    }

    fn ten_minutes(label: &str) -> TenMinutes {
        TenMinutes { label: label.to_owned() }
    }

    async fn start(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, coco_core::Builder::on_tokio_time).await
    }

    fn is_about(elapsed: Duration, seconds: f64) {
        assert!((elapsed.as_secs_f64() - seconds).abs() < 1.0, "{elapsed:?}, not {seconds} s");
    }

    pub(super) async fn a_leaf_that_heeds_it(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        world.close("a");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(ten_minutes("a")).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!((failure.kind, &*failure.chain[0]), (FailureKind::TimedOut, "told"));
        is_about(from.elapsed(), 600.0);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_leaf_that_is_in_time(home: Home) {
        let world = World::new();
        world.close("a");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(ten_minutes("a")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(599)).await;
        world.open("a");
        handle.output().await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let status = handle.status().await.unwrap();
        assert_eq!(status, CommandStatus::EndedSuccessfully);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_flow_and_all_below_it(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        world.close("b");
        let coordinator = start(&home, &world).await;
        let plan = vec![keep("a"), super::super::sagas::parts::try_saga([heeds("b")]), keep("c")];
        let handle = coordinator.submit(HastyFlow { plan }).await.unwrap();
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::TimedOut);
        is_about(from.elapsed(), 0.1);
        assert_eq!(undone(&world), ["undo half b", "undo done a"]);
        for row in home.tree(handle.id()).await.commands {
            let failure = row.progress.failure.as_deref();
            let kind = failure.map(|json| serde_json::from_str::<Failure>(json).unwrap().kind);
            assert_eq!(kind == Some(FailureKind::TimedOut), !row.progress.executed);
        }
        coordinator.shutdown().await.unwrap();
    }

    /// It counts from the stored start: what is over it when an engine starts does not run.
    pub(super) async fn over_a_restart(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        world.close("a");
        let coordinator = start(&home, &world).await;
        let short = coordinator.submit(ten_minutes("a")).await.unwrap().id();
        world.noted("a").await;
        tokio::time::sleep(Duration::from_secs(400)).await;
        let long = coordinator.submit(ten_minutes("a")).await.unwrap().id();
        world.noted_times("a", 2).await;
        drop(coordinator);
        tokio::time::sleep(Duration::from_secs(300)).await;
        let coordinator = start(&home, &world).await;
        let short = coordinator.handle::<TenMinutes>(short).await.unwrap();
        assert_eq!(failure_of(short.output().await).kind, FailureKind::TimedOut);
        is_about(from.elapsed(), 700.0);
        let long = coordinator.handle::<TenMinutes>(long).await.unwrap();
        assert_eq!(failure_of(long.output().await).kind, FailureKind::TimedOut);
        is_about(from.elapsed(), 1000.0);
        assert_eq!(world.count("a"), 3, "the one that was over did not run again");
        coordinator.shutdown().await.unwrap();
    }

    /// A pause between two attempts ends with it too.
    pub(super) async fn it_counts_all_attempts(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        world.say("fail a", "it broke");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(ten_minutes("a")).await.unwrap();
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::TimedOut);
        is_about(from.elapsed(), 600.0);
        // After about 0, 1, 3 and 7 minutes; the next would be later.
        assert_eq!(world.count("a"), 4);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn it_does_not_count_what_comes_after(home: Home) {
        let world = World::new();
        world.close("ends");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(ten_minutes("a")).await.unwrap();
        world.noted("ends").await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        world.open("ends");
        handle.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}
