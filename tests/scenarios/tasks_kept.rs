//! A task is kept with the end of the round that has added it: a crash before that neither fails its
//! command nor doubles the work.

use coco_core::entity::Task;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::crash::{Life, sweep, sweep_lives, sweep_twice, waits};
use super::events::publish;
use super::home::{Home, failure_of, on_every_store, start};
use super::tasks_outside::Job;
use super::world::World;

on_every_store!(
    an_operation_that_was_interrupted_comes_before_its_task_is_asked,
    a_poll_that_was_interrupted_comes_before_its_task_is_asked,
    a_task_is_kept_with_the_end_of_its_round,
    a_crash_at_every_commit_of_operations,
    a_crash_at_every_commit_of_polls,
    a_second_crash,
    what_was_never_begun_fails_nobody,
    what_an_execute_has_not_begun_fails_nobody,
    what_was_begun_is_followed_to_its_end,
    what_was_begun_fails_as_any_other,
    what_was_begun_is_stopped_with_its_command,
    what_was_left_is_known_as_such_after_another_crash,
    a_round_for_an_event_comes_again_beside_a_task_that_is_kept,
);

/// The world does a job, unless it knows one of that name.
async fn begin(world: &World, id: CommandId, name: &str) {
    world.note(id, format!("round adds {name}"), 1);
    world.pass(&format!("begin {name}")).await;
    if !world.is_said(&format!("job {name}")) {
        world.note(id, format!("round begins {name}"), 1);
        let at_first = world.word("at first").unwrap_or_else(|| "done".to_owned());
        world.say(&format!("job {name}"), &at_first);
    }
    world.pass(&format!("return {name}")).await;
}

/// Which job is chosen: one that nobody notes, if nothing is said of that.
fn choice(world: &World, nth: u32) -> String {
    world.word("choice").unwrap_or_else(|| format!("again {nth}"))
}

/// Lets the world do so many jobs, one after the other.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, poll(every = "1ms", max = "2ms"), needs(World), idempotent)]
struct JobsInTurn {
    jobs: u32,
    begun: u32,
}

impl Execute for JobsInTurn {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl NextOperation for JobsInTurn {
    async fn perform_next_operation(
        &mut self,
        (): &mut (),
        _: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        let goes_on = self.begun < self.jobs;
        if goes_on {
            let world = cx.get::<World>();
            let name = choice(world, self.begun);
            cx.task(Job { name: name.clone() }).await?;
            begin(world, cx.id(), &name).await;
            self.begun += 1;
        }
        Ok(goes_on)
    }
}

/// The same in its polls, and at first in `execute`, where that is said.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "1ms", max = "2ms"), needs(World), idempotent)]
struct JobsInPolls {
    jobs: u32,
    begun: u32,
    at_once: bool,
}

impl JobsInPolls {
    const fn new(jobs: u32) -> Self {
        Self { jobs, begun: 0, at_once: false }
    }

    async fn next(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        let name = choice(world, self.begun);
        cx.task(Job { name: name.clone() }).await?;
        begin(world, cx.id(), &name).await;
        self.begun += 1;
        Ok(())
    }
}

impl Execute for JobsInPolls {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        if self.at_once { self.next(cx).await } else { Ok(()) }
    }
}

impl Polling for JobsInPolls {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        if self.begun == self.jobs {
            return Ok(Poll::Ready);
        }
        self.next(cx).await?;
        Ok(Poll::Pending)
    }
}

/// A world in which the job `a` is chosen, and stands like this when it has begun.
fn world(at_first: &str) -> World {
    let world = World::new();
    world.say("at first", at_first);
    world.say("choice", "a");
    world
}

/// Submits `command` to a process that dies when this is noted.
async fn die_when<C: Command>(home: &Home, world: &World, command: C, deed: &str) -> CommandId {
    let coordinator = home.start(world).await;
    let handle = coordinator.submit(command).await.unwrap();
    world.noted(deed).await;
    handle.id()
}

/// The tasks of a command, by their positions.
async fn tasks(home: &Home, id: CommandId) -> Vec<Task> {
    let mut tasks = home.tree(id).await.tasks;
    tasks.sort_by_key(|task| task.position);
    tasks
}

/// The process dies when the task is stored, and not begun.
async fn comes_again<C: Command<Output = ()>>(home: &Home, command: C) {
    let world = world("done");
    world.close("begin a");
    let id = die_when(home, &world, command, "round adds a").await;

    let coordinator = home.start(&world).await;
    world.open("begin a");
    coordinator.handle::<C>(id).await.unwrap().output().await.unwrap();
    let deeds = ["round adds a", "round adds a", "round begins a", "asked a", "clear a"];
    assert_eq!(world.deeds(), deeds);
    coordinator.shutdown().await.unwrap();
    assert_eq!(tasks(home, id).await.len(), 1);
}

async fn an_operation_that_was_interrupted_comes_before_its_task_is_asked(home: Home) {
    comes_again(&home, JobsInTurn { jobs: 1, begun: 0 }).await;
}

async fn a_poll_that_was_interrupted_comes_before_its_task_is_asked(home: Home) {
    comes_again(&home, JobsInPolls::new(1)).await;
}

async fn a_task_is_kept_with_the_end_of_its_round(home: Home) {
    let world = world("runs");
    world.close("return a");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(JobsInPolls::new(1)).await.unwrap();
    world.noted("round begins a").await;
    assert!(!tasks(&home, handle.id()).await[0].kept, "its round goes on");
    world.open("return a");
    world.noted("asked a").await;
    assert!(tasks(&home, handle.id()).await[0].kept);
    world.say("job a", "done");
    handle.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// The world was told of each job once, and each was followed to its end.
fn check_jobs(life: &Life, jobs: u32) {
    let begun: Vec<_> = (0..jobs).map(|n| format!("round begins again {n}")).collect();
    let is_begun = |deed: &String| deed.starts_with("round begins");
    let deeds: Vec<_> = life.world.deeds().into_iter().filter(is_begun).collect();
    assert_eq!(deeds, begun, "{:?}", life.crashes);
    let root = life.root();
    assert!(root.progress.failure.is_none(), "{:?}: {root:?}", life.crashes);
    let tasks = &life.rows.tasks;
    assert_eq!(tasks.len(), begun.len(), "{:?}: {tasks:?}", life.crashes);
    for task in tasks {
        let is_well = task.kept && task.ended_at.is_some() && task.failure.is_none();
        assert!(is_well, "{:?}: {task:?}", life.crashes);
    }
}

async fn a_crash_at_every_commit_of_operations(home: Home) {
    let command = |_: &World| JobsInTurn { jobs: 2, begun: 0 };
    let commits = sweep_lives(&home, command, waits, |life| check_jobs(life, 2)).await;
    assert!(commits >= 9, "{commits}");
}

async fn a_crash_at_every_commit_of_polls(home: Home) {
    let command = |_: &World| JobsInPolls { at_once: true, ..JobsInPolls::new(2) };
    let commits = sweep_lives(&home, command, waits, |life| check_jobs(life, 2)).await;
    assert!(commits >= 8, "{commits}");
}

async fn a_second_crash(home: Home) {
    let command = |_: &World| JobsInTurn { jobs: 1, begun: 0 };
    if home.is_memory() {
        sweep_twice(&home, true, command).await;
    } else {
        sweep(&home, true, command).await;
    }
}

/// The process dies when the task `a` is stored, and not begun; after that another is chosen.
async fn chooses_another(home: &Home, command: JobsInPolls) {
    let world = world("done");
    world.close("begin a");
    let id = die_when(home, &world, command, "round adds a").await;

    world.say("choice", "b");
    let coordinator = home.start(&world).await;
    coordinator.handle::<JobsInPolls>(id).await.unwrap().output().await.unwrap();
    let count = |deed: &str| world.count(deed);
    assert_eq!((count("round begins a"), count("asked a"), count("clear a")), (0, 1, 1));
    assert_eq!((count("round begins b"), count("asked b"), count("clear b")), (1, 1, 1));
    coordinator.shutdown().await.unwrap();
    let tasks = tasks(home, id).await;
    assert_eq!(tasks.iter().map(|task| task.kept).collect::<Vec<_>>(), [false, true]);
    assert!(tasks.iter().all(|task| task.ended_at.is_some() && task.failure.is_none()));
}

async fn what_was_never_begun_fails_nobody(home: Home) {
    chooses_another(&home, JobsInPolls::new(1)).await;
}

async fn what_an_execute_has_not_begun_fails_nobody(home: Home) {
    chooses_another(&home, JobsInPolls { at_once: true, ..JobsInPolls::new(1) }).await;
}

/// A process after the one that died when `a` had begun; now `b` is chosen, and done at once.
async fn left_running(home: &Home) -> (World, Coordinator, CommandHandle<JobsInPolls>) {
    let world = world("runs");
    world.close("return a");
    let id = die_when(home, &world, JobsInPolls::new(1), "round begins a").await;

    world.say("choice", "b");
    world.say("at first", "done");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle(id).await.unwrap();
    world.noted("asked b").await;
    let times = world.count("asked a");
    world.noted_times("asked a", times + 2).await;
    assert_eq!(world.count("round adds b"), 1, "there is no round while a task runs");
    (world, coordinator, handle)
}

async fn what_was_begun_is_followed_to_its_end(home: Home) {
    let (world, coordinator, handle) = left_running(&home).await;
    world.say("job a", "done");
    handle.output().await.unwrap();
    assert_eq!((world.count("clear a"), world.count("stop a")), (1, 0));
    coordinator.shutdown().await.unwrap();
}

async fn what_was_begun_fails_as_any_other(home: Home) {
    let (world, coordinator, handle) = left_running(&home).await;
    world.say("job a", "no room");
    let failure = failure_of(handle.output().await);
    assert!(failure.message.ends_with("has failed: no room"), "{failure}");
    coordinator.shutdown().await.unwrap();
}

async fn what_was_begun_is_stopped_with_its_command(home: Home) {
    let (world, coordinator, handle) = left_running(&home).await;
    handle.cancel().await.unwrap();
    failure_of(handle.output().await);
    assert_eq!(world.word("job a").as_deref(), Some("stopped"));
    assert_eq!((world.count("stop a"), world.count("stop b")), (1, 0), "b was over");
    coordinator.shutdown().await.unwrap();
}

async fn what_was_left_is_known_as_such_after_another_crash(home: Home) {
    let world = world("runs");
    world.close("begin a");
    let id = die_when(&home, &world, JobsInPolls::new(1), "round adds a").await;

    world.say("choice", "b");
    world.say("job a", "away");
    let coordinator = home.start(&world).await;
    world.noted("asked a").await;
    drop(coordinator);

    world.unsay("job a");
    let coordinator = home.start(&world).await;
    world.say("job b", "done");
    coordinator.handle::<JobsInPolls>(id).await.unwrap().output().await.unwrap();
    assert_eq!((world.count("round begins a"), world.count("round begins b")), (0, 1));
    coordinator.shutdown().await.unwrap();
}

/// Begins a job for each event.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "1ms", max = "2ms"), needs(World))]
struct JobsByEvents {
    begun: u32,
}

impl Execute for JobsByEvents {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("disk|7").await
    }
}

impl Polling for JobsByEvents {
    async fn poll(&mut self, (): &mut (), cx: &Context<Self>) -> Result<Poll> {
        cx.get::<World>().note(cx.id(), "poll", 1);
        Ok(if self.begun < 2 { Poll::Pending } else { Poll::Ready })
    }

    async fn on_event(&mut self, (): &mut (), event: &Event, cx: &Context<Self>) -> Result<Poll> {
        cx.task(Job { name: event.id.clone() }).await?;
        begin(cx.get::<World>(), cx.id(), &event.id).await;
        self.begun += 1;
        Ok(Poll::Pending)
    }
}

async fn a_round_for_an_event_comes_again_beside_a_task_that_is_kept(home: Home) {
    let world = world("runs");
    let coordinator = start(home.open().await, &world).await;
    let id = coordinator.submit(JobsByEvents { begun: 0 }).await.unwrap().id();
    super::home::until(async || home.entity(id).await.progress.executed).await;
    publish(&coordinator, "a", "disk|7").await;
    world.noted("asked a").await;
    world.close("begin b");
    publish(&coordinator, "b", "disk|7").await;
    world.noted("round adds b").await;
    drop(coordinator);

    let coordinator = home.start(&world).await;
    world.open("begin b");
    world.noted("asked b").await;
    world.say("job b", "done");
    let times = world.count("asked a");
    world.noted_times("asked a", times + 3).await;
    assert_eq!(world.count("poll"), 0, "there is no poll while a task runs");
    world.say("job a", "done");
    coordinator.handle::<JobsByEvents>(id).await.unwrap().output().await.unwrap();
    assert_eq!((world.count("round begins a"), world.count("round begins b")), (1, 1));
    assert_eq!(world.count("poll"), 1);
    coordinator.shutdown().await.unwrap();
    assert!(tasks(&home, id).await.iter().all(|task| task.kept && task.failure.is_none()));
}
