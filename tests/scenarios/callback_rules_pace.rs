//! When a round comes: by a clock that stands still while anything else can happen.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{Builder, FailureKind, Pause, Why};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, in_no_time};
use super::leaves::Mark;
use super::world::World;

in_no_time!(
    the_last_child_calls_its_parent_at_once,
    operations_follow_each_other_at_once,
    a_tree_of_many_levels_ends_at_once,
    pauses_begin_again_after_a_change,
    pauses_begin_again_when_a_child_ends,
    pauses_of_an_operation_that_waits,
    pauses_are_as_it_says,
    long_pauses_are_as_it_says,
    a_slow_poll_is_not_joined_by_another,
    a_slow_poll_delays_nobody_else,
    a_poll_is_not_made_up_for,
    a_time_out_is_how_long_it_lives,
    a_time_out_ends_a_poll_that_hangs,
    a_time_out_over_a_restart,
    a_time_out_counts_its_children,
    after_a_restart_the_pauses_begin_again,
    why_it_waits,
);

/// Does what the world says of `poll`: `ready`, `change`, `wait` at the gate `poll`.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), timeout = "5m")]
struct PacedAsks {
    name: String,
    changes: u32,
}

impl PacedAsks {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), changes: 0 }
    }
}

impl Execute for PacedAsks {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

/// The second in which it happens.
fn note<C>(cx: &Context<C>, world: &World, what: &str) {
    world.note(cx.id(), format!("{what} {}", world.age().as_secs()), 1);
}

impl Polling for PacedAsks {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        note(cx, world, &self.name);
        let word = world.word(&self.name).unwrap_or_default();
        if word == "change" {
            self.changes += 1;
            world.unsay(&self.name);
        }
        world.pass(&self.name).await;
        Ok(if word == "ready" { Poll::Ready } else { Poll::Pending })
    }
}

/// Starts a child, and then is polled until the world says `ready`.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Waits, needs(World), timeout = "5m")]
struct Starts {
    label: String,
}

struct Waits;

impl Execute for Starts {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.start(Mark::new(&*self.label));
        Ok(())
    }
}

impl CommandCallback<Starts> for Waits {
    async fn do_polling(
        _: &mut Starts,
        (): &mut (),
        outcomes: &Outcomes,
        cx: &Context<Starts>,
    ) -> Result<Poll> {
        let world = cx.get::<World>();
        note(cx, world, &format!("{} ended", outcomes.len()));
        Ok(if world.is_said("ready") { Poll::Ready } else { Poll::Pending })
    }
}

/// One child after the other, each with a fan-out below it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, needs(World))]
struct PacedRow {
    depth: u32,
    idle: u32,
}

impl Execute for PacedRow {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl NextOperation for PacedRow {
    async fn perform_next_operation(
        &mut self,
        (): &mut (),
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        note(cx, cx.get(), "operation");
        if completed.len() == 3 {
            return Ok(cx.get::<World>().is_said("idle"));
        }
        cx.start(Wide { depth: self.depth });
        Ok(true)
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, needs(World))]
struct Wide {
    depth: u32,
}

impl Execute for Wide {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        (0..4).for_each(|n| _ = cx.start(Mark::new(format!("leaf {n}"))));
        if self.depth > 0 {
            cx.start(PacedRow { depth: self.depth - 1, idle: 0 });
        }
        Ok(())
    }
}

impl ConcurrentChildren for Wide {}

/// Other pauses.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), poll(every = "3s", max = "20s"))]
struct Slower {}

impl Execute for Slower {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Polling for Slower {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        note(cx, cx.get(), "poll");
        Ok(if cx.get::<World>().age().as_secs() > 60 { Poll::Ready } else { Poll::Pending })
    }
}

/// So long that its tree need not stay in memory.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), poll(every = "1h", max = "3h"))]
struct Hourly {}

impl Execute for Hourly {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl Polling for Hourly {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        note(cx, cx.get(), "poll");
        Ok(if cx.get::<World>().is_said("ready") { Poll::Ready } else { Poll::Pending })
    }
}

mod scenario {
    use tokio::time::{Instant, sleep, sleep_until};

    use super::*;

    async fn start(home: &Home, world: &World) -> Coordinator {
        home.start_with(world, Builder::on_tokio_time).await
    }

    /// Waits until the world is so old.
    async fn at(world: &World, seconds: u64) {
        let age = Duration::from_secs(seconds);
        sleep_until(Instant::now() + age.saturating_sub(world.age())).await;
    }

    /// In which seconds this was done.
    fn seconds(world: &World, what: &str) -> Vec<u64> {
        let deeds = world.deeds();
        let seconds = deeds.iter().filter_map(|deed| deed.strip_prefix(what));
        seconds.map(|second| second.trim().parse().expect("a second")).collect()
    }

    pub(super) async fn the_last_child_calls_its_parent_at_once(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let from = Instant::now();
        let wide = coordinator.submit(Wide { depth: 0 }).await.unwrap();
        wide.output().await.unwrap();
        assert_eq!(from.elapsed(), Duration::ZERO);
        // Also when the last one is late.
        world.close("leaf 3");
        let wide = coordinator.submit(Wide { depth: 0 }).await.unwrap();
        world.noted_times("leaf 3", 2).await;
        sleep(Duration::from_secs(7)).await;
        let from = Instant::now();
        world.open("leaf 3");
        wide.output().await.unwrap();
        assert_eq!(from.elapsed(), Duration::ZERO);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn operations_follow_each_other_at_once(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let from = Instant::now();
        coordinator.submit(PacedRow { depth: 0, idle: 0 }).await.unwrap().output().await.unwrap();
        assert_eq!(from.elapsed(), Duration::ZERO);
        assert_eq!(seconds(&world, "operation"), [0; 4]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_tree_of_many_levels_ends_at_once(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let from = Instant::now();
        coordinator.submit(PacedRow { depth: 2, idle: 0 }).await.unwrap().output().await.unwrap();
        assert_eq!(from.elapsed(), Duration::ZERO);
        assert_eq!(seconds(&world, "operation").len(), 4 + 3 * 4 + 9 * 4);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn pauses_begin_again_after_a_change(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(PacedAsks::new("poll")).await.unwrap();
        at(&world, 20).await;
        world.say("poll", "change");
        at(&world, 30).await;
        assert_eq!(seconds(&world, "poll"), [1, 3, 7, 15, 25, 26, 28]);
        world.say("poll", "ready");
        handle.output().await.unwrap();
        assert_eq!(seconds(&world, "poll")[7..], [32]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn pauses_begin_again_when_a_child_ends(home: Home) {
        let world = World::new();
        world.close("child");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(Starts { label: "child".into() }).await.unwrap();
        at(&world, 20).await;
        assert_eq!(seconds(&world, "0 ended"), [1, 3, 7, 15]);
        world.open("child");
        at(&world, 29).await;
        assert_eq!(seconds(&world, "0 ended"), [1, 3, 7, 15]);
        assert_eq!(seconds(&world, "1 ended"), [20, 21, 23, 27]);
        world.say("ready", "");
        handle.output().await.unwrap();
        assert_eq!(world.age().as_secs(), 35);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn pauses_of_an_operation_that_waits(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        world.say("idle", "");
        let handle = coordinator.submit(PacedRow { depth: 0, idle: 0 }).await.unwrap();
        at(&world, 24).await;
        world.unsay("idle");
        handle.output().await.unwrap();
        assert_eq!(seconds(&world, "operation"), [0, 0, 0, 0, 1, 3, 7, 15, 25]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn pauses_are_as_it_says(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        coordinator.submit(Slower {}).await.unwrap().output().await.unwrap();
        assert_eq!(seconds(&world, "poll"), [3, 9, 21, 41, 61]);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn long_pauses_are_as_it_says(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(Hourly {}).await.unwrap();
        at(&world, 10 * 3600).await;
        let polls = seconds(&world, "poll");
        assert_eq!(polls[0], 3600);
        let pauses: Vec<_> = polls.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.len() >= 2, "{polls:?}");
        assert!(pauses.iter().all(|pause| (3600..=3 * 3600).contains(pause)), "{polls:?}");
        world.say("ready", "");
        handle.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    /// The pause after it begins when it is over.
    pub(super) async fn a_slow_poll_is_not_joined_by_another(home: Home) {
        let world = World::new();
        world.close("poll");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(PacedAsks::new("poll")).await.unwrap();
        at(&world, 100).await;
        assert_eq!(seconds(&world, "poll"), [1]);
        world.open("poll");
        at(&world, 103).await;
        assert_eq!(seconds(&world, "poll"), [1, 102]);
        world.say("poll", "ready");
        handle.output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_slow_poll_delays_nobody_else(home: Home) {
        let world = World::new();
        world.close("slow");
        let coordinator = start(&home, &world).await;
        let mut slow = Vec::new();
        for _ in 0..50 {
            slow.push(coordinator.submit(PacedAsks::new("slow")).await.unwrap());
        }
        let quick = coordinator.submit(PacedAsks::new("quick")).await.unwrap();
        at(&world, 16).await;
        assert_eq!(seconds(&world, "slow"), [1; 50]);
        assert_eq!(seconds(&world, "quick"), [1, 3, 7, 15]);
        ["slow", "quick"].iter().for_each(|name| world.say(name, "ready"));
        world.open("slow");
        for handle in slow.iter().chain([&quick]) {
            handle.output().await.unwrap();
        }
        coordinator.shutdown().await.unwrap();
    }

    /// A process that was gone for long polls once, and not for all the polls that it missed.
    pub(super) async fn a_poll_is_not_made_up_for(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let id = coordinator.submit(PacedAsks::new("poll")).await.unwrap().id();
        at(&world, 4).await;
        drop(coordinator);
        at(&world, 100).await;
        let coordinator = start(&home, &world).await;
        at(&world, 104).await;
        assert_eq!(seconds(&world, "poll"), [1, 3, 101, 103]);
        world.say("poll", "ready");
        coordinator.handle::<PacedAsks>(id).await.unwrap().output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_time_out_is_how_long_it_lives(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(PacedAsks::new("poll")).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, FailureKind::TimedOut);
        assert_eq!(failure.message, "`paced_asks` took longer than its time-out of 300s");
        assert_eq!(world.age().as_secs(), 300);
        let polls = seconds(&world, "poll").len();
        at(&world, 900).await;
        assert_eq!(seconds(&world, "poll").len(), polls, "it is over");
        coordinator.shutdown().await.unwrap();
    }

    /// It is told, and dropped when its time of grace is over.
    pub(super) async fn a_time_out_ends_a_poll_that_hangs(home: Home) {
        let world = World::new();
        world.close("poll");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(PacedAsks::new("poll")).await.unwrap();
        assert_eq!(failure_of(handle.output().await).kind, FailureKind::TimedOut);
        assert!((300..400).contains(&world.age().as_secs()), "{:?}", world.age());
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_time_out_over_a_restart(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let running = coordinator.submit(PacedAsks::new("poll")).await.unwrap().id();
        let over = coordinator.submit(Starts { label: "a".into() }).await.unwrap().id();
        at(&world, 200).await;
        drop(coordinator);
        let coordinator = start(&home, &world).await;
        let running = coordinator.handle::<PacedAsks>(running).await.unwrap();
        assert_eq!(failure_of(running.output().await).kind, FailureKind::TimedOut);
        assert_eq!(world.age().as_secs(), 300, "from its start, not from the restart");
        drop(coordinator);
        let coordinator = start(&home, &world).await;
        let over = coordinator.handle::<Starts>(over).await.unwrap();
        assert_eq!(failure_of(over.output().await).kind, FailureKind::TimedOut);
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn a_time_out_counts_its_children(home: Home) {
        let world = World::new();
        world.close("child");
        world.say("ready", "");
        let coordinator = start(&home, &world).await;
        let handle = coordinator.submit(Starts { label: "child".into() }).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!(failure.kind, FailureKind::TimedOut);
        assert_eq!(seconds(&world, "0 ended"), [1], "it was ready, and waited for its child");
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn after_a_restart_the_pauses_begin_again(home: Home) {
        let world = World::new();
        let coordinator = start(&home, &world).await;
        let id = coordinator.submit(PacedAsks::new("poll")).await.unwrap().id();
        at(&world, 50).await;
        coordinator.shutdown().await.unwrap();
        let coordinator = start(&home, &world).await;
        at(&world, 60).await;
        assert_eq!(seconds(&world, "poll"), [1, 3, 7, 15, 25, 35, 45, 51, 53, 57]);
        world.say("poll", "ready");
        coordinator.handle::<PacedAsks>(id).await.unwrap().output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }

    pub(super) async fn why_it_waits(home: Home) {
        let world = World::new();
        ["poll", "child"].iter().for_each(|gate| world.close(gate));
        let coordinator = start(&home, &world).await;
        let asks = coordinator.submit(PacedAsks::new("poll")).await.unwrap();
        let starts = coordinator.submit(Starts { label: "child".into() }).await.unwrap().id();
        let wide = coordinator.submit(Wide { depth: 0 }).await.unwrap();
        let why = async |id| coordinator.why_waiting(id).await.unwrap();
        world.noted("child").await;
        let text = why(asks.id()).await.to_string();
        assert!(text.starts_with("it is polled at "), "{text}");
        let polled = why(asks.id()).await;
        assert!(matches!(polled, Why::Time { pause: Pause::Poll, .. }), "{polled}");
        let text = why(starts).await.to_string();
        assert!(text.starts_with("it waits for mark `"), "{text}");
        assert!(text.contains("(its code runs), and it is polled at "), "{text}");
        wide.output().await.unwrap();
        assert_eq!(why(wide.id()).await, Why::Ended);
        at(&world, 2).await;
        assert_eq!(why(asks.id()).await, Why::Runs, "a poll of it does");
        ["poll", "child"].iter().for_each(|gate| world.open(gate));
        ["poll", "ready"].iter().for_each(|word| world.say(word, "ready"));
        asks.output().await.unwrap();
        coordinator.handle::<Starts>(starts).await.unwrap().output().await.unwrap();
        coordinator.shutdown().await.unwrap();
    }
}
