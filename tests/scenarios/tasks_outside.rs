//! Tasks that another system does for a command: stored before they begin, followed to their end.

use coco_core::prelude::*;
use coco_core::task::{ExternalTask, TaskContext, TaskFuture, TaskStatus, typetag};
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::crash::sweep;
use super::home::{Home, failure_of, on_every_store, start, stuck_of};
use super::world::World;

on_every_store!(
    the_command_goes_on_when_its_task_is_done,
    a_task_that_has_failed_fails_its_command,
    a_task_that_the_outside_does_not_know,
    what_is_not_known_is_asked_again,
    a_cancel_stops_it_and_waits_for_it,
    a_command_that_fails_stops_its_task,
    it_is_cleared_before_the_end_hook,
    what_cannot_be_cleared_is_stuck,
    the_same_task_is_stored_once,
    a_crash_at_every_commit,
    a_crash_before_it_has_begun_outside,
    one_that_cannot_be_read_quarantines_its_tree,
);

/// A job of the world: what is said of `job <name>` is how it stands.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) name: String,
}

impl Job {
    /// One that a sweep looks at may be asked any number of times.
    fn note(&self, world: &World, cx: &TaskContext, deed: &str) {
        if !self.name.starts_with("again") {
            world.note(cx.command(), format!("{deed} {}", self.name), 0);
        }
    }
}

#[typetag::serde(name = "job")]
impl ExternalTask for Job {
    fn status<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, TaskStatus> {
        Box::pin(async move {
            let world = cx.get::<World>()?;
            self.note(world, cx, "asked");
            Ok(match world.word(&format!("job {}", self.name)).as_deref() {
                None => TaskStatus::Unknown,
                Some("runs") => TaskStatus::Running,
                Some("done" | "stopped") => TaskStatus::Succeeded,
                Some("away") => return Err(Error::other("the outside is away")),
                Some("panics") => panic!("of its own accord"),
                Some(reason) => TaskStatus::Failed(reason.to_owned()),
            })
        })
    }

    fn stop<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()> {
        Box::pin(async move {
            let world = cx.get::<World>()?;
            self.note(world, cx, "stop");
            if world.is_said("nothing stops") {
                return Ok(());
            }
            if world.is_said(&format!("job {}", self.name)) {
                world.say(&format!("job {}", self.name), "stopped");
            }
            Ok(())
        })
    }

    fn clear<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()> {
        Box::pin(async move {
            let world = cx.get::<World>()?;
            self.note(world, cx, "clear");
            if world.is_said("nothing clears") { Err(Error::other("kept")) } else { Ok(()) }
        })
    }
}

/// Lets the world do a job, and looks once more when it is done.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "1ms", max = "2ms"), needs(World))]
struct HasJob {
    name: String,
    begins: bool,
    fails: bool,
}

impl HasJob {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), begins: true, fails: false }
    }
}

impl Execute for HasJob {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.task(Job { name: self.name.clone() }).await?;
        cx.task(Job { name: self.name.clone() }).await?;
        let world = cx.get::<World>();
        world.note(cx.id(), "stored", cx.attempt());
        world.pass("stored").await;
        if self.begins {
            world.say(&format!("job {}", self.name), &world.word("at first").unwrap_or_default());
        }
        if self.fails { Err(Error::other("no")) } else { Ok(String::new()) }
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "end", 0);
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "end with failure", 0);
        Ok(())
    }
}

impl Polling for HasJob {
    async fn poll(&mut self, output: &mut String, cx: &Context<Self>) -> Result<Poll> {
        cx.get::<World>().note(cx.id(), "poll", 0);
        *output = format!("{} is done", self.name);
        Ok(Poll::Ready)
    }
}

/// A world in which a job stands like this when it has begun.
fn world(at_first: &str) -> World {
    let world = World::new();
    world.say("at first", at_first);
    world
}

async fn the_command_goes_on_when_its_task_is_done(home: Home) {
    let world = world("runs");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    world.noted_times("asked a", 3).await;
    assert_eq!(world.count("poll"), 0, "it is not polled while its task runs");
    let rows = home.tree(handle.id()).await;
    assert_eq!((rows.tasks.len(), rows.tasks[0].ended_at), (1, None));
    world.say("job a", "done");
    assert_eq!(handle.output().await.unwrap(), "a is done");
    assert_eq!((world.count("poll"), world.count("stop a")), (1, 0));
    let rows = home.tree(handle.id()).await;
    assert!(rows.tasks[0].ended_at.is_some() && rows.tasks[0].failure.is_none());
    coordinator.shutdown().await.unwrap();
}

async fn a_task_that_has_failed_fails_its_command(home: Home) {
    let world = world("no room");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(
        failure.message,
        r#"its task {"task":"job","parameters":{"name":"a"}} has failed: no room"#
    );
    assert_eq!((failure.kind, world.count("poll")), (FailureKind::Failed, 0));
    assert!(home.tree(handle.id()).await.tasks[0].failure.is_some());
    coordinator.shutdown().await.unwrap();
}

async fn a_task_that_the_outside_does_not_know(home: Home) {
    let world = world("runs");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    world.noted("asked a").await;
    world.unsay("job a");
    assert_eq!(
        failure_of(handle.output().await).message,
        r#"the outside does not know the task {"task":"job","parameters":{"name":"a"}}: not begun, or forgotten"#
    );
    coordinator.shutdown().await.unwrap();
}

async fn what_is_not_known_is_asked_again(home: Home) {
    let world = world("away");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    world.noted_times("asked a", 3).await;
    world.say("job a", "panics");
    let times = world.count("asked a");
    world.noted_times("asked a", times + 2).await;
    world.say("job a", "done");
    assert_eq!(handle.output().await.unwrap(), "a is done");
    coordinator.shutdown().await.unwrap();
}

async fn a_cancel_stops_it_and_waits_for_it(home: Home) {
    let world = world("runs");
    world.say("nothing stops", "");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    world.noted("asked a").await;
    handle.cancel().await.unwrap();
    world.noted("stop a").await;
    let times = world.count("asked a");
    world.noted_times("asked a", times + 2).await;
    let status = home.entity(handle.id()).await.progress.status;
    assert_eq!(status, CommandStatus::ExecutionFailed, "it has not failed while its task runs");
    world.say("job a", "stopped");
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Cancelled);
    assert_eq!((world.count("stop a"), world.count("poll")), (1, 0));
    coordinator.shutdown().await.unwrap();
}

async fn a_command_that_fails_stops_its_task(home: Home) {
    let world = world("runs");
    let coordinator = start(home.open().await, &world).await;
    let command = HasJob { fails: true, ..HasJob::new("a") };
    let output = coordinator.submit(command).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "no");
    assert_eq!(world.deeds(), ["stored", "stop a", "asked a", "clear a", "end with failure"]);
    coordinator.shutdown().await.unwrap();
}

async fn it_is_cleared_before_the_end_hook(home: Home) {
    let world = world("done");
    let coordinator = start(home.open().await, &world).await;
    coordinator.submit(HasJob::new("a")).await.unwrap().output().await.unwrap();
    assert_eq!(world.deeds(), ["stored", "asked a", "poll", "clear a", "end"]);
    coordinator.shutdown().await.unwrap();
}

async fn what_cannot_be_cleared_is_stuck(home: Home) {
    let world = world("done");
    world.say("nothing clears", "");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.message.as_str()), (handle.id(), "kept"));
    world.unsay("nothing clears");
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "a is done");
    coordinator.shutdown().await.unwrap();
}

async fn the_same_task_is_stored_once(home: Home) {
    let world = world("done");
    let coordinator = start(home.open().await, &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!(home.tree(handle.id()).await.tasks.len(), 1);
    coordinator.shutdown().await.unwrap();
}

/// The same, and what was interrupted begins again.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, poll(every = "1ms"), needs(World), idempotent)]
struct HasJobAgain {}

impl Execute for HasJobAgain {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.task(Job { name: "again".to_owned() }).await?;
        cx.get::<World>().say("job again", "done");
        Ok(())
    }
}

impl Polling for HasJobAgain {
    async fn poll(&mut self, (): &mut (), _: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Ready)
    }
}

async fn a_crash_at_every_commit(home: Home) {
    let commits = sweep(&home, true, |_| HasJobAgain {}).await;
    assert!(commits >= 4, "{commits}");
}

async fn a_crash_before_it_has_begun_outside(home: Home) {
    let world = world("runs");
    world.close("stored");
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    world.noted("stored").await;
    let id = handle.id();
    drop((coordinator, handle, store));
    world.open("stored");

    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<HasJob>(id).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Restarted);
    assert_eq!(world.deeds(), ["stored", "stop a", "asked a", "clear a", "end with failure"]);
    coordinator.shutdown().await.unwrap();
}

async fn one_that_cannot_be_read_quarantines_its_tree(home: Home) {
    use coco_core::entity::Task;
    use coco_core::store::{Step, Write};

    let world = world("runs");
    let store = home.open().await;
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(HasJob::new("a")).await.unwrap();
    world.noted("asked a").await;
    let id = handle.id();
    drop((coordinator, handle));

    let lease = super::home::until_acquired(&store).await;
    let task = Task {
        command_id: id,
        root_command_id: id,
        position: 7,
        task: r#"{"task":"of another program","parameters":{}}"#.into(),
        created_at: coco_core::Timestamp::default(),
        kept: true,
        ended_at: None,
        failure: None,
    };
    let writes = vec![Write::Task(Box::new(task))];
    let step = Step { root: id, command: id, request: None, writes };
    store.commit(&lease, vec![step].into()).await.unwrap();
    store.release(lease, true).await.unwrap();

    let coordinator = start(store, &world).await;
    let [quarantine] = &*coordinator.report().quarantined else { panic!("one tree") };
    assert_eq!((quarantine.root, quarantine.command), (id, id));
    let reason = &quarantine.reason.message;
    let begins = r#"its task {"task":"of another program","parameters":{}} cannot be read: "#;
    assert!(reason.starts_with(begins), "{reason}");
    coordinator.shutdown().await.unwrap();
}
