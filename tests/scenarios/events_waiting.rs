//! A command that waits for an event: how long it is not polled, and what a restart changes.

use coco_core::prelude::*;
use coco_core::testing::Crash;
use coco_core::{Builder, CommandStatus, Event, Why};
use serde::{Deserialize, Serialize};

use super::crash::{Life, sweep_lives};
use super::events::{Hears, event, publish};
use super::home::{Home, in_no_time, on_every_store, start};
use super::world::World;

on_every_store!(
    what_had_come_is_heard_after_a_restart,
    what_was_heard_is_not_heard_after_a_restart,
    an_event_is_stored_when_publish_returns,
    a_crash_at_every_commit,
    a_crash_at_every_commit_of_two_events,
    a_callback_of_its_own_hears_every_event,
    ready_is_kept_behind_an_event_that_starts_something,
    ready_by_an_event_is_kept_over_a_restart,
);
in_no_time!(
    it_is_not_polled_while_it_waits,
    an_event_makes_it_wait_again,
    the_timeout_is_as_it_says,
    it_is_polled_after_a_restart,
    what_failed_to_execute_waits_for_no_event,
    why_it_waits,
);

async fn what_had_come_is_heard_after_a_restart(home: Home) {
    let world = World::new();
    world.close("on a");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Hears::new(3, &["disk|7"])).await.unwrap().id();
    world.noted("listens").await;
    for id in ["a", "b", "c"] {
        assert_eq!(publish(&coordinator, id, "disk|7").await, 1);
    }
    world.noted("round hears a").await;
    drop(coordinator);
    world.open("on a");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Hears>(id).await.unwrap();
    let heard = ["a", "b", "c"].map(|id| format!(r#"disk|7 "{id}""#));
    assert_eq!(handle.output().await.unwrap(), heard);
    coordinator.shutdown().await.unwrap();
}

async fn what_was_heard_is_not_heard_after_a_restart(home: Home) {
    let world = World::new();
    world.close("on b");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Hears::new(2, &["disk|7"])).await.unwrap().id();
    world.noted("listens").await;
    publish(&coordinator, "a", "disk|7").await;
    let has_heard = async || {
        let state = home.entity(id).await.progress.state;
        state.is_some_and(|state| state.contains(r#""heard":["a"]"#))
    };
    super::home::until(has_heard).await;
    publish(&coordinator, "b", "disk|7").await;
    world.noted("round hears b").await;
    drop(coordinator);
    world.open("on b");
    let coordinator = home.start(&world).await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 0, "it is still known");
    let handle = coordinator.handle::<Hears>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "a""#, r#"disk|7 "b""#]);
    assert_eq!(world.count("round hears a"), 1);
    coordinator.shutdown().await.unwrap();
}

/// The process dies right after.
async fn an_event_is_stored_when_publish_returns(home: Home) {
    let world = World::new();
    world.close("execute");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let id = coordinator.submit(Hears::new(1, &["disk|7"])).await.unwrap().id();
    world.noted("listens").await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 1);
    store.crash(Crash::Before(store.commits() + 1));
    assert!(coordinator.publish(event("b", "disk|7")).await.is_err(), "that one is lost");
    drop(coordinator);
    world.open("execute");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Hears>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "a""#]);
    coordinator.shutdown().await.unwrap();
}

/// Each process publishes all events again, as who published them cannot know whether they were
/// stored: each is heard, in the order of its first time, and its output is there once.
async fn events_over_crashes(home: &Home, ids: &'static [&'static str]) -> usize {
    let publishes = async |coordinator: &Coordinator, _: CommandId, world: &World| {
        world.noted("listens").await;
        for id in ids {
            if coordinator.publish(event(id, "disk|7")).await.is_err() {
                return;
            }
        }
    };
    let check = |life: &Life| {
        let root = life.root();
        assert_eq!(root.progress.status, CommandStatus::EndedSuccessfully, "{:?}", life.crashes);
        let output = root.progress.return_value.as_deref().unwrap();
        let heard: Vec<String> = serde_json::from_str(output).unwrap();
        let expected: Vec<_> = ids.iter().map(|id| format!(r#"disk|7 "{id}""#)).collect();
        assert_eq!(heard, expected, "{:?}", life.crashes);
        for id in ids {
            let times = life.world.count(&format!("round hears {id}"));
            assert!((1..=1 + life.deaths).contains(&times), "{id} {:?}", life.crashes);
        }
    };
    sweep_lives(home, |_| Hears::new(ids.len(), &["disk|7"]), publishes, check).await
}

async fn a_crash_at_every_commit(home: Home) {
    assert!(events_over_crashes(&home, &["a"]).await >= 4);
}

async fn a_crash_at_every_commit_of_two_events(home: Home) {
    events_over_crashes(&home, &["a", "b"]).await;
}

/// A callback of its own, which starts a child for each event, and is ready each time; `stop` is
/// ready, and starts none.
#[derive(Command, Serialize, Deserialize, Clone)]
#[command(callback = StartsEach, needs(World), poll(every = "2ms"), event_timeout = "10m")]
struct Collects {
    heard: Vec<String>,
    is_pending: bool,
}

impl Execute for Collects {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        cx.subscribe("disk|*").await?;
        cx.get::<World>().note(cx.id(), "listens", 1);
        cx.get::<World>().pass("execute").await;
        Ok(Vec::new())
    }
}

struct StartsEach;

impl CommandCallback<Collects> for StartsEach {
    async fn do_polling(
        it: &mut Collects,
        output: &mut Vec<String>,
        outcomes: &Outcomes,
        _: &Context<Collects>,
    ) -> Result<Poll> {
        output.clone_from(&it.heard);
        let is_done = !it.is_pending && outcomes.len() == it.heard.len();
        Ok(if is_done { Poll::Ready } else { Poll::Pending })
    }

    async fn on_event(
        it: &mut Collects,
        output: &mut Vec<String>,
        _: &Outcomes,
        event: &Event,
        cx: &Context<Collects>,
    ) -> Result<Poll> {
        it.heard.push(event.id.clone());
        output.clone_from(&it.heard);
        if event.id == "stop" {
            cx.get::<World>().note(cx.id(), "stops", 1);
            return Ok(Poll::Ready);
        }
        cx.start(super::leaves::Mark::new(&*event.id));
        Ok(if it.is_pending { Poll::Pending } else { Poll::Ready })
    }
}

/// A round that starts something is not the last one: what came with its event is heard as well.
async fn a_callback_of_its_own_hears_every_event(home: Home) {
    let world = World::new();
    world.close("execute");
    let coordinator = home.start(&world).await;
    let collects = Collects { heard: Vec::new(), is_pending: false };
    let handle = coordinator.submit(collects).await.unwrap();
    world.noted("listens").await;
    for id in ["a", "b", "c"] {
        assert_eq!(publish(&coordinator, id, "disk|7").await, 1);
    }
    ["a", "b", "c"].iter().for_each(|gate| world.close(gate));
    world.open("execute");
    world.noted("a").await;
    // They run side by side, and wait for each other.
    ["a", "b", "c"].iter().for_each(|gate| world.open(gate));
    assert_eq!(handle.output().await.unwrap(), ["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        assert_eq!(world.count(&format!("{id} done")), 1, "{id}");
    }
    coordinator.shutdown().await.unwrap();
}

/// Whether they come together or not, the second event is the one that ends it.
async fn ready_is_kept_behind_an_event_that_starts_something(home: Home) {
    let world = World::new();
    world.close("execute");
    let coordinator = home.start(&world).await;
    let collects = Collects { heard: Vec::new(), is_pending: true };
    let handle = coordinator.submit(collects).await.unwrap();
    world.noted("listens").await;
    for id in ["a", "stop"] {
        assert_eq!(publish(&coordinator, id, "disk|7").await, 1);
    }
    world.open("execute");
    assert_eq!(handle.output().await.unwrap(), ["a", "stop"]);
    assert_eq!(world.count("a done"), 1);
    coordinator.shutdown().await.unwrap();
}

/// Is polled soon, when it hears nothing.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), event_timeout = "10s")]
struct HastyListener {}

impl Execute for HastyListener {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("disk|7").await
    }
}

impl Polling for HastyListener {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("round poll {}", world.age().as_secs()), 1);
        Ok(if world.is_said("ready") { Poll::Ready } else { Poll::Pending })
    }
}

/// Subscribes and fails, and then is asked until when the command waits.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Outlives, needs(World))]
struct FailsListening {}

struct Outlives;

impl Execute for FailsListening {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("disk|7").await?;
        Err(Error::other("it broke"))
    }
}

impl CommandCallback<FailsListening> for Outlives {
    async fn do_polling(
        _: &mut FailsListening,
        (): &mut (),
        _: &Outcomes,
        _: &Context<FailsListening>,
    ) -> Result<Poll> {
        Ok(Poll::Ready)
    }

    async fn poll_on_execution_failed(
        _: &mut FailsListening,
        _: &Failure,
        _: &Outcomes,
        cx: &Context<FailsListening>,
    ) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("round poll {}", world.age().as_secs()), 1);
        Ok(if world.age().as_secs() > 5 { Poll::Ready } else { Poll::Pending })
    }
}

/// Also where nothing but its children is waited for.
async fn ready_by_an_event_is_kept_over_a_restart(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let collects = Collects { heard: Vec::new(), is_pending: true };
    let id = coordinator.submit(collects).await.unwrap().id();
    world.noted("listens").await;
    for id in ["a", "stop"] {
        publish(&coordinator, id, "disk|7").await;
    }
    world.noted("a").await;
    world.noted("stops").await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.open("a");
    let handle = coordinator.handle::<Collects>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["a", "stop"]);
    coordinator.shutdown().await.unwrap();
}

mod scenario {
    use std::time::Duration;

    use tokio::time::{Instant, sleep_until};

    use super::*;
    use crate::scenarios::home::failure_of;

    async fn start(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, Builder::on_tokio_time).await
    }

    async fn at(world: &World, seconds: u64) {
        let age = Duration::from_secs(seconds);
        sleep_until(Instant::now() + age.saturating_sub(world.age())).await;
    }

    fn polls(world: &World) -> Vec<u64> {
        let deeds = world.deeds();
        let seconds = deeds.iter().filter_map(|deed| deed.strip_prefix("round poll "));
        seconds.map(|second| second.parse().expect("a second")).collect()
    }

    /// 5 minutes. What comes after is heard all the same.
    pub(super) async fn it_is_not_polled_while_it_waits(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(Hears::new(1, &["disk|7"])).await.unwrap();
        at(&world, 299).await;
        assert_eq!(polls(&world), [0; 0]);
        at(&world, 320).await;
        assert_eq!(polls(&world)[0], 300);
        assert!(polls(&world).len() >= 2, "{:?}", polls(&world));
        assert_eq!(publish(&coordinator, "late", "disk|7").await, 1);
        assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "late""#]);
        assert_eq!(world.age().as_secs(), 320, "at once, and not with the next poll");
        coordinator.shutdown().await.unwrap();
    }

    /// Without a body of its own, `on_event` polls.
    pub(super) async fn an_event_makes_it_wait_again(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(HastyListener {}).await.unwrap();
        at(&world, 5).await;
        publish(&coordinator, "a", "disk|7").await;
        at(&world, 14).await;
        assert_eq!(polls(&world), [5]);
        at(&world, 16).await;
        assert_eq!(polls(&world), [5, 15]);
        world.say("ready", "");
        publish(&coordinator, "b", "disk|7").await;
        handle.output().await.unwrap();
        assert_eq!(polls(&world), [5, 15, 16]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn the_timeout_is_as_it_says(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(HastyListener {}).await.unwrap();
        at(&world, 15).await;
        assert_eq!(polls(&world)[0], 10);
        world.say("ready", "");
        handle.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn it_is_polled_after_a_restart(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let id = coordinator.submit(Hears::new(1, &["disk|7"])).await.unwrap().id();
        at(&world, 100).await;
        drop(coordinator);
        let coordinator = start(&home, &world).await;
        at(&world, 108).await;
        assert_eq!(polls(&world), [101, 103, 107]);
        assert_eq!(publish(&coordinator, "a", "disk|7").await, 1, "it listens still");
        let handle = coordinator.handle::<Hears>(id).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "a""#]);
        assert_eq!(world.age().as_secs(), 108);
        coordinator.shutdown().await.unwrap();
    }

    /// It hears none any more, so its subscription is no reason to wait.
    pub(super) async fn what_failed_to_execute_waits_for_no_event(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(FailsListening {}).await.unwrap();
        assert_eq!(failure_of(handle.output().await).message, "it broke");
        assert_eq!(polls(&world), [1, 3, 7]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn why_it_waits(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(Hears::new(1, &["disk|7"])).await.unwrap();
        at(&world, 10).await;
        let why = coordinator.why_waiting(handle.id()).await.unwrap();
        assert!(matches!(why, Why::Event { .. }), "{why}");
        let text = why.to_string();
        assert!(text.starts_with("it waits for an event, and is polled at "), "{text}");
        assert!(text.ends_with(" if none comes"), "{text}");
        at(&world, 301).await;
        let why = coordinator.why_waiting(handle.id()).await.unwrap();
        assert!(matches!(why, Why::Time { .. }), "{why}");
        publish(&coordinator, "a", "disk|7").await;
        handle.output().await.unwrap();
        assert_eq!(coordinator.why_waiting(handle.id()).await.unwrap(), Why::Ended);
        coordinator.shutdown().await.unwrap();
    }
}
