//! Commands that wait for an event longer than their trees stay in memory.

use std::time::Duration;

use coco_core::Builder;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, in_no_time, start_with};
use super::world::World;

in_no_time!(an_event_brings_it_back_and_it_is_not_polled, it_is_polled_when_none_has_come);

/// Hears three events.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), event_timeout = "1h")]
struct Patient {
    heard: u32,
}

impl Execute for Patient {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        cx.subscribe("host|*|up").await?;
        cx.get::<World>().note(cx.id(), "waits", cx.attempt());
        Ok(0)
    }
}

impl Polling for Patient {
    async fn poll(&mut self, _: &mut u32, cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("polled at {}s", world.age().as_secs()), cx.attempt());
        Ok(if world.age() > Duration::from_secs(3700) { Poll::Ready } else { Poll::Pending })
    }

    async fn on_event(
        &mut self,
        output: &mut u32,
        event: &Event,
        cx: &Context<Self>,
    ) -> Result<Poll> {
        cx.get::<World>().note(cx.id(), format!("heard {}", event.payload), cx.attempt());
        self.heard += 1;
        *output = self.heard;
        Ok(if self.heard < 3 { Poll::Pending } else { Poll::Ready })
    }
}

mod scenario {
    use super::*;

    pub(super) async fn an_event_brings_it_back_and_it_is_not_polled(home: Home) {
        let world = World::new();
        let coordinator = start_with(home.open().await, &world, Builder::on_tokio_time).await;
        let handle = coordinator.submit(Patient { heard: 0 }).await.unwrap();
        world.noted("waits").await;
        for number in 1..=3 {
            // Longer than a tree stays in memory, and all together longer than it waits for one.
            tokio::time::advance(Duration::from_secs(1500)).await;
            let event = Event::new(format!("e{number}"), "host|7|up", number).unwrap();
            assert_eq!(coordinator.publish(event).await.unwrap(), 1);
            world.noted(&format!("heard {number}")).await;
        }
        assert_eq!(handle.output().await.unwrap(), 3);
        assert_eq!(world.deeds(), ["waits", "heard 1", "heard 2", "heard 3"]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn it_is_polled_when_none_has_come(home: Home) {
        let world = World::new();
        let coordinator = start_with(home.open().await, &world, Builder::on_tokio_time).await;
        let handle = coordinator.submit(Patient { heard: 0 }).await.unwrap();
        handle.output().await.unwrap();
        let deeds = world.deeds();
        assert_eq!(deeds[..2], ["waits", "polled at 3600s"]);
        coordinator.shutdown().await.unwrap();
    }
}
