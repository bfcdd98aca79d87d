//! Events that a command listens for: who hears which, how often and in which order.

use coco_core::event::EventKey;
use coco_core::prelude::*;
use coco_core::{CommandStatus, EngineError, Event, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store};
use super::world::World;

on_every_store!(
    an_event_while_it_subscribes,
    a_star_stands_for_one_segment,
    two_subscriptions_hear_it_once,
    the_same_event_again,
    all_who_listen_hear_it,
    an_early_event_is_nobodys,
    a_late_event_is_nobodys,
    in_their_order,
    what_on_event_answers,
    an_event_while_a_poll_is_slow,
    a_storm,
    what_cannot_be_published,
    what_cannot_be_subscribed_to,
    a_cancel_while_it_waits,
    a_cancel_while_it_hears,
    many_that_rest_hear_their_own,
);

/// Listens for its keys, until it has heard so many events. What hearing one does besides, the world
/// says: `on <id>`.
#[derive(Command, Serialize, Deserialize, Clone, Debug)]
#[command(callback = Polling, idempotent, needs(World))]
pub(crate) struct Hears {
    pub(crate) keys: Vec<String>,
    pub(crate) most: usize,
    pub(crate) heard: Vec<String>,
}

impl Hears {
    pub(crate) fn new(most: usize, keys: &[&str]) -> Self {
        let keys = keys.iter().map(ToString::to_string).collect();
        Self { keys, most, heard: Vec::new() }
    }
}

impl Execute for Hears {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        for key in &self.keys {
            cx.subscribe(key).await?;
        }
        let world = cx.get::<World>();
        world.note(cx.id(), "listens", cx.attempt());
        world.pass("execute").await;
        Ok(Vec::new())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "ends badly", 1);
        Ok(())
    }
}

impl Polling for Hears {
    async fn poll(&mut self, _: &mut Vec<String>, cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("round poll {}", world.age().as_secs()), 1);
        world.note(cx.id(), "round poll", 1);
        world.pass("poll").await;
        Ok(if world.is_said("ready") { Poll::Ready } else { Poll::Pending })
    }

    async fn on_event(
        &mut self,
        output: &mut Vec<String>,
        event: &Event,
        cx: &Context<Self>,
    ) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("round hears {}", event.id), 1);
        world.pass(&format!("on {}", event.id)).await;
        match world.word(&format!("on {}", event.id)).as_deref() {
            Some("ready") => return Ok(Poll::Ready),
            Some("panic") => panic!("at {}", event.id),
            Some(why) => return Err(Error::other(why)),
            None => {}
        }
        self.heard.push(event.id.clone());
        output.push(format!("{} {}", event.key, event.payload));
        Ok(if self.heard.len() < self.most { Poll::Pending } else { Poll::Ready })
    }
}

pub(crate) fn event(id: &str, key: &str) -> Event {
    Event::new(id, key, id).unwrap()
}

/// To how many it was given.
pub(crate) async fn publish(coordinator: &Coordinator, id: &str, key: &str) -> usize {
    coordinator.publish(event(id, key)).await.unwrap()
}

async fn submit(
    coordinator: &Coordinator,
    world: &World,
    most: usize,
    keys: &[&str],
) -> CommandHandle<Hears> {
    let before = world.count("listens");
    let handle = coordinator.submit(Hears::new(most, keys)).await.unwrap();
    world.noted_times("listens", before + 1).await;
    handle
}

/// What is subscribed to before the trigger hears what the trigger leads to, however soon.
async fn an_event_while_it_subscribes(home: Home) {
    let world = World::new();
    world.close("execute");
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 2, &["disk|7"]).await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 1);
    assert_eq!(publish(&coordinator, "b", "disk|7").await, 1);
    assert_eq!(world.count("round hears a"), 0, "it has not executed");
    world.open("execute");
    assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "a""#, r#"disk|7 "b""#]);
    assert_eq!(world.count("round poll"), 0);
    coordinator.shutdown().await.unwrap();
}

async fn a_star_stands_for_one_segment(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 2, &["*|storage|create_disk|7"]).await;
    for (id, key) in [
        ("a", "host|storage|create_disk|8"),
        ("b", "storage|create_disk|7"),
        ("c", "host|storage|create_disk|7|more"),
        ("d", "host|one|storage|create_disk|7"),
    ] {
        assert_eq!(publish(&coordinator, id, key).await, 0, "{key}");
    }
    assert_eq!(publish(&coordinator, "e", "host|storage|create_disk|7").await, 1);
    assert_eq!(publish(&coordinator, "f", "other|storage|create_disk|7").await, 1);
    let output = handle.output().await.unwrap();
    assert_eq!(output[0], r#"host|storage|create_disk|7 "e""#);
    assert_eq!(output[1], r#"other|storage|create_disk|7 "f""#);
    coordinator.shutdown().await.unwrap();
}

async fn two_subscriptions_hear_it_once(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let keys = ["disk|*", "*|7", "disk|7", "disk|7"];
    let handle = submit(&coordinator, &world, 2, &keys).await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 1);
    assert_eq!(publish(&coordinator, "b", "disk|8").await, 1);
    handle.output().await.unwrap();
    assert_eq!(world.count("round hears a"), 1);
    coordinator.shutdown().await.unwrap();
}

/// An event is the same where its id is, heard or not, whatever its key is.
async fn the_same_event_again(home: Home) {
    let world = World::new();
    world.close("on a");
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 2, &["disk|*"]).await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 1);
    world.noted("round hears a").await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 0);
    world.open("on a");
    super::home::until(async || {
        home.entity(handle.id())
            .await
            .progress
            .state
            .is_some_and(|state| state.contains(r#"["a"]"#))
    })
    .await;
    assert_eq!(publish(&coordinator, "a", "disk|8").await, 0);
    let other = submit(&coordinator, &world, 1, &["disk|*"]).await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 1, "it is new to the other one");
    other.output().await.unwrap();
    assert_eq!(publish(&coordinator, "b", "disk|7").await, 1);
    handle.output().await.unwrap();
    assert_eq!(world.count("round hears a"), 2);
    coordinator.shutdown().await.unwrap();
}

async fn all_who_listen_hear_it(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let mut all = Vec::new();
    for keys in [["disk|*", "x"], ["disk|7", "y"], ["*|7", "z"], ["*|8", "z"]] {
        all.push(submit(&coordinator, &world, 1, &keys).await);
    }
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 3);
    for handle in &all[..3] {
        assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "a""#]);
    }
    assert_eq!(publish(&coordinator, "b", "disk|8").await, 1);
    all[3].output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

async fn an_early_event_is_nobodys(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 0);
    let handle = submit(&coordinator, &world, 1, &["disk|7"]).await;
    assert_eq!(publish(&coordinator, "b", "disk|7").await, 1);
    assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "b""#]);
    assert_eq!(world.count("round hears a"), 0);
    coordinator.shutdown().await.unwrap();
}

/// Of one that has ended well, failed, or was refused its round.
async fn a_late_event_is_nobodys(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("on b", "no");
    for id in ["a", "b"] {
        let handle = submit(&coordinator, &world, 1, &["disk|7"]).await;
        assert_eq!(publish(&coordinator, id, "disk|7").await, 1);
        assert_eq!(handle.output().await.is_ok(), id == "a");
        let late = format!("{id} late");
        assert_eq!(publish(&coordinator, &late, "disk|7").await, 0);
        assert_eq!(world.count(&format!("round hears {late}")), 0);
    }
    coordinator.shutdown().await.unwrap();
}

async fn in_their_order(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 20, &["disk|*"]).await;
    let mut expected = Vec::new();
    for n in 0..20 {
        let (id, key) = (format!("e {n}"), format!("disk|{n}"));
        assert_eq!(publish(&coordinator, &id, &key).await, 1);
        expected.push(format!(r#"{key} "{id}""#));
    }
    assert_eq!(handle.output().await.unwrap(), expected);
    coordinator.shutdown().await.unwrap();
}

async fn what_on_event_answers(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    for (word, kind, message) in [
        ("it is no good", FailureKind::Failed, "it is no good"),
        ("panic", FailureKind::Panicked, "it panicked: at a"),
    ] {
        world.say("on a", word);
        let handle = submit(&coordinator, &world, 2, &["disk|7"]).await;
        assert_eq!(publish(&coordinator, "a", "disk|7").await, 1);
        let failure = failure_of(handle.output().await);
        assert_eq!((failure.kind, &*failure.message), (kind, message));
    }
    assert_eq!((world.count("round hears a"), world.count("ends badly")), (2, 2));
    // Pending, until one is ready. What comes with that one is not heard.
    world.unsay("on a");
    world.say("on b", "ready");
    world.close("execute");
    let handle = submit(&coordinator, &world, 9, &["disk|7"]).await;
    for id in ["a", "b", "c"] {
        assert_eq!(publish(&coordinator, id, "disk|7").await, 1);
    }
    world.open("execute");
    assert_eq!(handle.output().await.unwrap(), [r#"disk|7 "a""#]);
    assert_eq!(world.count("round hears c"), 0);
    coordinator.shutdown().await.unwrap();
}

/// Soon polled, though it listens.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), event_timeout = "1ms", poll(every = "1ms"))]
struct ImpatientListener {
    heard: bool,
}

impl Execute for ImpatientListener {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("disk|7").await
    }
}

impl Polling for ImpatientListener {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), "poll begins", 1);
        world.pass("poll").await;
        world.note(cx.id(), "poll is over", 1);
        Ok(Poll::Pending)
    }

    async fn on_event(&mut self, (): &mut (), event: &Event, cx: &Context<Self>) -> Result<Poll> {
        cx.get::<World>().note(cx.id(), format!("hears {}", event.id), 1);
        Ok(Poll::Ready)
    }
}

async fn an_event_while_a_poll_is_slow(home: Home) {
    let world = World::new();
    world.close("poll");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(ImpatientListener { heard: false }).await.unwrap();
    world.noted("poll begins").await;
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 1);
    assert_eq!(world.deeds(), ["poll begins"], "one round at a time");
    world.open("poll");
    handle.output().await.unwrap();
    assert_eq!(world.deeds(), ["poll begins", "poll is over", "hears a"]);
    coordinator.shutdown().await.unwrap();
}

/// They wait in the store while the command is busy, and are all heard, in their order, once.
async fn a_storm(home: Home) {
    const EVENTS: usize = 3000;
    let world = World::new();
    world.close("on first");
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 1 + EVENTS, &["storm|*"]).await;
    assert_eq!(publish(&coordinator, "first", "storm|first").await, 1);
    world.noted("round hears first").await;
    let id = |n: usize| format!("e {n:04}");
    let storm = (0..EVENTS).map(|n| {
        let coordinator = coordinator.clone();
        tokio::spawn(async move { publish(&coordinator, &id(n), "storm|x").await })
    });
    for published in storm.collect::<Vec<_>>() {
        assert_eq!(published.await.unwrap(), 1);
    }
    // And all of it again.
    for n in (0..EVENTS).step_by(500) {
        assert_eq!(publish(&coordinator, &id(n), "storm|x").await, 0);
    }
    world.open("on first");
    let output = handle.output().await.unwrap();
    assert_eq!(output.len(), 1 + EVENTS);
    let expected = (0..EVENTS).map(|n| format!("storm|x {:?}", id(n)));
    assert!(output[1..].iter().cloned().eq(expected), "in their order");
    assert_eq!(world.deeds().len(), 2 + EVENTS, "each once");
    coordinator.shutdown().await.unwrap();
}

async fn what_cannot_be_published(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 1, &["a|*"]).await;
    let refused = async |id: &str, key: &str| {
        let refused = coordinator.publish(event(id, key)).await;
        refused.unwrap_err().to_string()
    };
    assert_eq!(
        refused("1", "a|*").await,
        "the event key `a|*` has a `*`, which only a subscription can have"
    );
    assert_eq!(
        refused("1", "a||b").await,
        "the key `a||b` has an empty segment; write `*` for any"
    );
    assert_eq!(
        refused("1", "a|b|c|d|e|f|g").await,
        "the key `a|b|c|d|e|f|g` has 7 segments; a key has 1 to 6, joined by `|`"
    );
    assert_eq!(
        refused("1", &"x".repeat(1025)).await,
        "the key has 1025 bytes; at most 1024 are stored"
    );
    assert_eq!(
        refused(&"x".repeat(1025), "a|b").await,
        "the event's id has 1025 bytes; at most 1024 are stored"
    );
    assert_eq!(refused("1", "a|\0").await, "the key has a NUL character, which no store takes");
    assert_eq!(
        refused("\0", "a|b").await,
        "the event's id has a NUL character, which no store takes"
    );
    let large = Event::new("1", "a|b", "x".repeat(coco_core::LARGEST_VALUE)).unwrap();
    let error = coordinator.publish(large).await.unwrap_err();
    assert!(error.downcast_ref::<coco_core::NotStorable>().is_some(), "{error}");
    let nul = Event::new("1", "a|b", "\0").unwrap();
    let error = coordinator.publish(nul).await.unwrap_err();
    assert!(error.downcast_ref::<coco_core::NotStorable>().is_some(), "{error}");
    assert_eq!(world.deeds(), ["listens"], "nobody heard any of it");
    // The longest key and id, and the most segments, are no harm to what comes after.
    let key = format!("a|{}", "b".repeat(1022));
    assert_eq!(publish(&coordinator, &"1".repeat(1024), &key).await, 1);
    handle.output().await.unwrap();
    coordinator.clone().shutdown().await.unwrap();
    let refused = coordinator.publish(event("1", "a|b")).await;
    assert_eq!(engine_error_of(refused), EngineError::Shutdown);
}

async fn what_cannot_be_subscribed_to(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    for key in ["a||b", "", "1|2|3|4|5|6|7", "|"] {
        let why = key.parse::<EventKey>().unwrap_err().to_string();
        let output = coordinator.submit(Hears::new(1, &[key])).await.unwrap().output().await;
        let failure = failure_of(output);
        assert_eq!((failure.kind, failure.message), (FailureKind::Failed, why));
    }
    assert_eq!(world.count("listens"), 0);
    coordinator.shutdown().await.unwrap();
}

async fn a_cancel_while_it_waits(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 1, &["disk|7"]).await;
    super::home::until(async || home.entity(handle.id()).await.progress.executed).await;
    handle.cancel().await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!(publish(&coordinator, "a", "disk|7").await, 0);
    assert_eq!(world.deeds(), ["listens", "ends badly"]);
    coordinator.shutdown().await.unwrap();
}

async fn a_cancel_while_it_hears(home: Home) {
    let world = World::new();
    world.close("on a");
    let coordinator = home.start(&world).await;
    let handle = submit(&coordinator, &world, 9, &["disk|7"]).await;
    publish(&coordinator, "a", "disk|7").await;
    publish(&coordinator, "b", "disk|7").await;
    world.noted("round hears a").await;
    handle.cancel().await.unwrap();
    world.open("on a");
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    let row = home.entity(handle.id()).await.progress;
    assert_eq!(row.status, CommandStatus::EndedWithFailure);
    assert_eq!(publish(&coordinator, "c", "disk|7").await, 0);
    coordinator.shutdown().await.unwrap();
}

/// More of them than the engine has room for.
async fn many_that_rest_hear_their_own(home: Home) {
    let world = World::new();
    let coordinator = home.start_with(&world, |builder| builder.most_trees(2)).await;
    let mut handles = Vec::new();
    for n in 0..12 {
        handles.push(submit(&coordinator, &world, 2, &[&format!("disk|{n}")]).await);
    }
    for round in ["a", "b"] {
        for n in (0..12).rev() {
            let (id, key) = (format!("{round} {n}"), format!("disk|{n}"));
            assert_eq!(publish(&coordinator, &id, &key).await, 1);
        }
    }
    for (n, handle) in handles.iter().enumerate() {
        let heard = ["a", "b"].map(|round| format!(r#"disk|{n} "{round} {n}""#));
        assert_eq!(handle.output().await.unwrap(), heard);
    }
    coordinator.shutdown().await.unwrap();
}
