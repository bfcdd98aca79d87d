//! Flows that sleep: by a clock that the test moves, and in milliseconds over a crash.

use std::time::Duration;

use coco_core::FailureKind;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::crash::sweep;
use super::home::{Home, in_no_time, on_every_store, stuck_of};
use super::leaves::Mark;
use super::world::World;

on_every_store!(a_crash_at_every_commit, another_length_in_a_replay);
in_no_time!(one_after_the_other, side_by_side, over_restarts, dropped_sleeps, of_no_length);

/// Sleeps between its children.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Naps {
    millis: Vec<u64>,
}

impl Execute for Naps {
    type Output = Vec<u64>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<u64>> {
        let mut slept = Vec::new();
        for (n, millis) in self.millis.iter().enumerate() {
            let before = cx.now();
            cx.sleep(Duration::from_millis(*millis)).await?;
            let slept_now = cx.now().duration_since(before).map_err(Error::other)?;
            slept.push(u64::try_from(slept_now.as_millis())?);
            cx.child(Mark::new(format!("after nap {n}"))).await?;
        }
        Ok(slept)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct NapsOnce {}

impl Execute for NapsOnce {
    type Output = bool;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<bool> {
        let before = cx.now();
        cx.sleep(Duration::from_millis(3)).await?;
        let slept = cx.now().duration_since(before).map_err(Error::other)?;
        cx.child(Mark::new("after a nap")).await?;
        cx.sleep(Duration::ZERO).await?;
        Ok(slept >= Duration::from_millis(3))
    }
}

async fn a_crash_at_every_commit(home: Home) {
    let commits = sweep(&home, true, |_| NapsOnce {}).await;
    assert_eq!(commits, 5);
}

/// Sleeps as long as the world says.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct NapsAsSaid {
    world: u64,
}

impl Execute for NapsAsSaid {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let longer = u64::from(World::at(self.world).is_said("longer"));
        cx.sleep(Duration::from_secs(3600 + longer)).await
    }
}

async fn another_length_in_a_replay(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(NapsAsSaid { world: world.number() }).await.unwrap().id();
    super::home::until(async || !home.tree(id).await.sleeps.is_empty()).await;
    drop(coordinator);
    world.say("longer", "yes");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<NapsAsSaid>(id).await.unwrap();
    let (_, reason) = stuck_of(handle.output().await);
    assert_eq!(reason.kind, FailureKind::Diverged);
    let text = "request 0 was a sleep of 3600s before, and now the flow asks for a sleep of 3601s";
    assert_eq!(reason.message, text);
    world.unsay("longer");
    coordinator.retry(id).await.unwrap();
    let sleeps = home.tree(id).await.sleeps;
    assert_eq!(sleeps.len(), 1);
    coordinator.shutdown().await.unwrap();
}

mod scenario {
    use super::*;
    use tokio::time::Instant;

    async fn start(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, coco_core::Builder::on_tokio_time).await
    }

    fn is_about(from: Instant, seconds: f64) {
        let elapsed = from.elapsed().as_secs_f64();
        assert!((elapsed - seconds).abs() < 0.5, "{elapsed} s, not {seconds} s");
    }

    pub(super) async fn one_after_the_other(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        let coordinator = start(&home, &world).await;
        let millis = vec![1_000, 3_600_000, 20];
        let handle = coordinator.submit(Naps { millis: millis.clone() }).await.unwrap();
        let slept = handle.output().await.unwrap();
        is_about(from, 3601.02);
        assert_eq!(slept.len(), 3);
        for (slept, asked) in slept.into_iter().zip(millis) {
            assert!((asked..asked + 100).contains(&slept), "{slept} ms, not {asked} ms");
        }
        coordinator.shutdown().await.unwrap();
    }

    #[derive(Command, Serialize, Deserialize)]
    #[command(callback = SerialChildren)]
    struct NapsSideBySide {}

    impl Execute for NapsSideBySide {
        type Output = Vec<u64>;

        async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<u64>> {
            let order = std::sync::Mutex::new(Vec::new());
            let nap = async |seconds: u64| {
                cx.sleep(Duration::from_secs(seconds)).await?;
                order.lock().expect("no poison").push(seconds);
                Ok::<_, Error>(())
            };
            let naps = tokio::join!(nap(300), nap(100), nap(200), nap(100));
            naps.0.and(naps.1).and(naps.2).and(naps.3)?;
            Ok(order.into_inner().expect("no poison"))
        }
    }

    pub(super) async fn side_by_side(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(NapsSideBySide {}).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), [100, 100, 200, 300]);
        is_about(from, 300.0);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn over_restarts(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        let coordinator = start(&home, &world).await;
        let naps = Naps { millis: vec![1_000_000, 1_000_000] };
        let id = coordinator.submit(naps).await.unwrap().id();
        drop(coordinator);
        for n in 0..4 {
            let coordinator = start(&home, &world).await;
            tokio::time::sleep(Duration::from_secs(300)).await;
            if n % 2 == 0 { drop(coordinator) } else { coordinator.shutdown().await.unwrap() }
        }
        assert_eq!(world.count("after nap 0"), 1);
        let coordinator = start(&home, &world).await;
        let handle = coordinator.handle::<Naps>(id).await.unwrap();
        handle.output().await.unwrap();
        is_about(from, 2000.0);
        coordinator.shutdown().await.unwrap();

        // What was over while no engine ran ends at once.
        let coordinator = start(&home, &world).await;
        let id = coordinator.submit(Naps { millis: vec![1_000_000] }).await.unwrap().id();
        coordinator.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_secs(5000)).await;
        let from = Instant::now();
        let coordinator = start(&home, &world).await;
        coordinator.handle::<Naps>(id).await.unwrap().output().await.unwrap();
        is_about(from, 0.0);
        coordinator.shutdown().await.unwrap();
    }

    /// Whichever comes first; the sleep that nobody waits for any more is not waited for.
    #[derive(Command, Serialize, Deserialize)]
    #[command(callback = SerialChildren)]
    struct NapsOrWorks {}

    impl Execute for NapsOrWorks {
        type Output = bool;

        async fn execute(&mut self, cx: &Context<Self>) -> Result<bool> {
            tokio::select! {
                biased;
                slept = cx.sleep(Duration::from_secs(3600)) => slept.map(|()| true),
                worked = cx.child(Mark::new("work")) => worked.map(|_| false),
            }
        }
    }

    pub(super) async fn dropped_sleeps(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(NapsOrWorks {}).await.unwrap();
        assert!(!handle.output().await.unwrap());
        is_about(from, 0.0);
        world.close("work");
        let handle = coordinator.submit(NapsOrWorks {}).await.unwrap();
        tokio::time::sleep(Duration::from_secs(7200)).await;
        world.open("work");
        assert!(handle.output().await.unwrap());
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn of_no_length(home: Home) {
        let (world, from) = (World::new(), Instant::now());
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(Naps { millis: vec![0; 20] }).await.unwrap();
        assert_eq!(handle.output().await.unwrap().len(), 20);
        is_about(from, 0.0);
        let endless = coordinator.submit(Naps { millis: vec![u64::MAX] }).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        endless.cancel().await.unwrap();
        assert!(endless.output().await.is_err());
        coordinator.shutdown().await.unwrap();
    }
}
