//! How many commits callbacks cost, counted exactly: each is a wait for the disk.

use coco_core::prelude::*;
use coco_core::{Builder, Event};
use serde::{Deserialize, Serialize};

use super::events::publish;
use super::home::{Home, in_no_time, on_every_store, start, start_with};
use super::leaves::Nothing;
use super::world::World;

on_every_store!(
    a_fan_out_of_any_width,
    waves_of_a_fan_out,
    operations_one_after_the_other,
    children_of_its_own_callback,
    an_event,
    an_event_that_nobody_hears,
    events_that_come_together,
);
in_no_time!(a_poll_that_changes_nothing, a_poll_that_changes_something);

/// Starts so many in each wave.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct CountedFan {
    waves: Vec<usize>,
}

impl CountedFan {
    fn wave(&mut self, cx: &Context<Self>) {
        let width = self.waves.pop().unwrap_or_default();
        (0..width).for_each(|_| _ = cx.start(Nothing {}));
    }
}

impl Execute for CountedFan {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        self.wave(cx);
        Ok(())
    }
}

impl ConcurrentChildren for CountedFan {
    async fn children_ended(
        &mut self,
        (): &mut (),
        outcomes: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        self.wave(cx);
        outcomes.all_succeeded()
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation)]
struct CountedSteps {
    most: usize,
}

impl Execute for CountedSteps {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl NextOperation for CountedSteps {
    async fn perform_next_operation(
        &mut self,
        (): &mut (),
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        let goes_on = completed.len() < self.most;
        if goes_on {
            cx.start(Nothing {});
        }
        Ok(goes_on)
    }
}

/// Runs `command` alone in a store. Gives how many commits it took.
async fn commits<C: Command>(home: &Home, command: C) -> usize {
    let home = home.another().await;
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    coordinator.submit(command).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
    store.commits()
}

/// It is stored, its children are, all of them end, and it does. A store with a thread of its own may
/// take some ends before the others.
async fn a_fan_out_of_any_width(home: Home) {
    for width in [1, 2, 100] {
        let commits = commits(&home, CountedFan { waves: vec![width] }).await;
        if home.is_memory() || width == 1 {
            assert_eq!(commits, 4, "{width} wide");
        }
        assert!((4..=3 + width).contains(&commits), "{width} wide: {commits}");
    }
    assert_eq!(commits(&home, CountedFan { waves: vec![] }).await, 3);
}

async fn waves_of_a_fan_out(home: Home) {
    let one = commits(&home, CountedFan { waves: vec![1] }).await;
    let two = commits(&home, CountedFan { waves: vec![1, 1] }).await;
    let five = commits(&home, CountedFan { waves: vec![1; 5] }).await;
    assert_eq!(five - two, 3 * (two - one), "each wave costs the same: {one}, {two}, {five}");
}

async fn operations_one_after_the_other(home: Home) {
    let mut all = Vec::new();
    for most in 0..=4 {
        all.push(commits(&home, CountedSteps { most }).await);
    }
    assert_eq!(all, [3, 5, 7, 9, 11], "each costs its end, and the next one");
}

struct UntilAllHave;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = UntilAllHave)]
struct CountedOwn {}

impl Execute for CountedOwn {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(Nothing {});
        Ok(())
    }
}

impl CommandCallback<CountedOwn> for UntilAllHave {
    async fn do_polling(
        _: &mut CountedOwn,
        (): &mut (),
        outcomes: &Outcomes,
        _: &Context<CountedOwn>,
    ) -> Result<Poll> {
        Ok(if outcomes.is_empty() { Poll::Pending } else { Poll::Ready })
    }
}

async fn children_of_its_own_callback(home: Home) {
    let own = commits(&home, CountedOwn {}).await;
    assert_eq!(own, commits(&home, CountedFan { waves: vec![1] }).await);
}

/// Hears so many.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World))]
struct CountedEvents {
    most: usize,
    heard: usize,
}

impl Execute for CountedEvents {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("disk|7").await
    }
}

impl Polling for CountedEvents {
    async fn poll(&mut self, (): &mut (), _: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Pending)
    }

    async fn on_event(&mut self, (): &mut (), event: &Event, cx: &Context<Self>) -> Result<Poll> {
        cx.get::<World>().note(cx.id(), format!("hears {}", event.id), 1);
        cx.get::<World>().pass(&format!("hears {}", event.id)).await;
        self.heard += 1;
        Ok(if self.heard < self.most { Poll::Pending } else { Poll::Ready })
    }
}

/// One for the event, and what it leads to: the last one the end of the command.
async fn an_event(home: Home) {
    let (world, store) = (World::new(), home.faulty().await);
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(CountedEvents { most: 3, heard: 0 }).await.unwrap();
    let state = async || home.entity(handle.id()).await.progress;
    super::home::until(async || state().await.executed).await;
    assert_eq!(store.commits(), 3, "it is stored, it listens, it has executed");
    for n in 1..=2 {
        assert_eq!(publish(&coordinator, &n.to_string(), "disk|7").await, 1);
        let heard = format!(r#""heard":{n}"#);
        super::home::until(async || state().await.state.is_some_and(|s| s.contains(&heard))).await;
        assert_eq!(store.commits(), 3 + 2 * n, "the event, and that it was heard");
    }
    assert_eq!(publish(&coordinator, "3", "disk|7").await, 1);
    handle.output().await.unwrap();
    assert_eq!(store.commits(), 3 + 2 * 3);
    coordinator.shutdown().await.unwrap();
}

async fn an_event_that_nobody_hears(home: Home) {
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    for n in 1..=3 {
        assert_eq!(publish(&coordinator, &n.to_string(), "disk|7").await, 0);
        assert_eq!(store.commits(), n);
    }
    coordinator.shutdown().await.unwrap();
}

/// Those that wait in its inbox are heard in one round, and stored as heard in one commit.
async fn events_that_come_together(home: Home) {
    let (world, store) = (World::new(), home.faulty().await);
    world.close("hears first");
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(CountedEvents { most: 42, heard: 0 }).await.unwrap();
    super::home::until(async || home.entity(handle.id()).await.progress.executed).await;
    publish(&coordinator, "first", "disk|7").await;
    world.noted("hears first").await;
    for n in 1..=41 {
        publish(&coordinator, &n.to_string(), "disk|7").await;
    }
    let before = store.commits();
    world.open("hears first");
    handle.output().await.unwrap();
    assert_eq!(store.commits() - before, 2, "the first one, and all others");
    coordinator.shutdown().await.unwrap();
}

/// Changes in so many of its polls.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World))]
struct CountedPolls {
    changes: u32,
}

impl Execute for CountedPolls {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Polling for CountedPolls {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), "poll", 1);
        self.changes = self.changes.saturating_sub(1);
        Ok(if world.is_said("ready") { Poll::Ready } else { Poll::Pending })
    }
}

mod scenario {
    use super::*;

    /// Polls twenty times, of which so many change something. Gives how many commits that is.
    async fn twenty_polls(home: &Home, changes: u32) -> usize {
        let (home, world) = (home.another().await, World::new());
        let store = home.faulty().await;
        let coordinator = start_with(store.clone(), &world, Builder::on_tokio_time).await;
        let handle = coordinator.submit(CountedPolls { changes }).await.unwrap();
        world.noted_times("poll", 20).await;
        let commits = store.commits();
        world.say("ready", "");
        handle.output().await.unwrap();
        assert_eq!(store.commits(), commits + 1, "its end");
        coordinator.shutdown().await.unwrap();
        commits
    }

    pub(super) async fn a_poll_that_changes_nothing(home: Home) {
        assert_eq!(twenty_polls(&home, 0).await, 2);
    }

    pub(super) async fn a_poll_that_changes_something(home: Home) {
        assert_eq!(twenty_polls(&home, 7).await, 2 + 7);
    }
}
