//! How long what failed waits for its next attempt, by a clock that the test moves.

use super::home::in_no_time;

in_no_time!(each_pause_doubles, as_long_as_the_failure_says, end_hooks_wait_too, over_a_restart);

mod scenario {
    use std::time::Duration;

    use coco_core::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::super::home::{Home, failure_of};
    use super::super::sagas::Brittle;
    use super::super::world::World;

    #[derive(Command, Serialize, Deserialize)]
    #[command(retry(attempts = 6, backoff = "10s", max_backoff = "40s"), needs(World))]
    struct FailsAlways {
        retry_after: Option<Duration>,
    }

    impl Execute for FailsAlways {
        type Output = ();

        async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
            let elapsed = cx.get::<World>().age();
            cx.get::<World>().note(cx.id(), format!("{}", elapsed.as_micros()), cx.attempt());
            let error = Error::other("it broke");
            Err(match self.retry_after {
                Some(pause) => error.retry_after(pause),
                None => error,
            })
        }
    }

    /// The pauses between the attempts, in seconds.
    fn pauses(world: &World) -> Vec<f64> {
        let times: Vec<f64> =
            world.deeds().iter().map(|deed| deed.parse::<f64>().unwrap() / 1e6).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    async fn start(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, coco_core::Builder::on_tokio_time).await
    }

    pub(super) async fn each_pause_doubles(home: Home) {
        let mut firsts = Vec::new();
        for _ in 0..20 {
            let world = World::new();
            let coordinator = start(&home, &world).await;
            let handle = coordinator.submit(FailsAlways { retry_after: None }).await.unwrap();
            assert_eq!(failure_of(handle.output().await).message, "it broke");
            let pauses = pauses(&world);
            assert_eq!(pauses.len(), 5);
            for (pause, about) in pauses.iter().zip([10.0, 20.0, 40.0, 40.0, 40.0]) {
                let bounds = about * 0.8 - 0.001..=about * 1.2 + 0.01;
                assert!(bounds.contains(pause), "{pauses:?}");
            }
            firsts.push(pauses[0]);
            coordinator.shutdown().await.unwrap();
        }
        firsts.sort_by(f64::total_cmp);
        firsts.dedup_by(|a, b| (*a - *b).abs() < 0.005);
        assert!(firsts.len() > 10, "they are spread: {firsts:?}");
    }

    pub(super) async fn as_long_as_the_failure_says(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let retry_after = Some(Duration::from_secs(7200));
        let handle = coordinator.submit(FailsAlways { retry_after }).await.unwrap();
        failure_of(handle.output().await);
        let pauses = pauses(&world);
        assert_eq!(pauses.len(), 5, "as often as it is declared");
        assert!(pauses.iter().all(|pause| (pause - 7200.0).abs() < 0.01), "{pauses:?}");
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn end_hooks_wait_too(home: Home) {
        let world = World::new();
        world.say("fail a ends well", "2 times");
        let retry = Retry::new(3).backoff(Duration::from_secs(60));
        let chosen = |builder: coco_core::Builder| builder.on_tokio_time().hook_retry(retry);
        let coordinator = home.start_with(&world, chosen).await;
        let handle = coordinator.submit(Brittle::new("a")).await.unwrap();
        handle.output().await.unwrap();
        let elapsed = world.age().as_secs_f64();
        assert!((180.0 * 0.8..=180.0 * 1.2 + 0.1).contains(&elapsed), "{elapsed}");
        coordinator.shutdown().await.unwrap();
    }

    /// The pause goes on, and does not begin again.
    pub(super) async fn over_a_restart(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let retry_after = Some(Duration::from_secs(100));
        let id = coordinator.submit(FailsAlways { retry_after }).await.unwrap().id();
        tokio::time::sleep(Duration::from_secs(50)).await;
        drop(coordinator);
        tokio::time::sleep(Duration::from_secs(25)).await;
        let coordinator = start(&home, &world).await;
        let handle = coordinator.handle::<FailsAlways>(id).await.unwrap();
        failure_of(handle.output().await);
        let pauses = pauses(&world);
        assert_eq!(pauses.len(), 5);
        assert!(pauses.iter().all(|pause| (pause - 100.0).abs() < 0.01), "{pauses:?}");
        coordinator.shutdown().await.unwrap();
    }
}
