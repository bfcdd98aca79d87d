//! A flow waits for its context and for nothing else; what else it waits for parks it, and says so.

use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::home::{Home, on_every_store, stuck_of, until};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    alone,
    beside_a_child,
    inside_once,
    asking_inside_once,
    combinators,
    it_goes_on_when_the_code_is_right,
);

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Waits {
    world: u64,
    what: String,
}

impl Execute for Waits {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let world = World::at(self.world);
        let first = cx.child(Mark::new("before")).await?;
        match world.word("mended") {
            Some(_) => {}
            None => match self.what.as_str() {
                "sleep" => tokio::time::sleep(Duration::from_secs(3600)).await,
                "world" => world.pass("outside").await,
                "pending" => pending().await,
                "yield" => tokio::task::yield_now().await,
                "task" => tokio::spawn(async {}).await?,
                "child and world" => {
                    let (child, ()) =
                        tokio::join!(cx.child(Mark::new("beside")), world.pass("outside"));
                    child?;
                }
                other => return Err(Error::other(other)),
            },
        }
        Ok(first)
    }
}

const REASON: &str = "the flow waits for something that is not its context; \
    wait for it in a child, or inside `cx.once`";

async fn alone(home: Home) {
    let world = World::new();
    world.close("outside");
    let coordinator = home.start(&world).await;
    for what in ["sleep", "world", "pending", "yield", "task"] {
        let waits = Waits { world: world.number(), what: what.to_owned() };
        let handle = coordinator.submit(waits).await.unwrap();
        let (command, reason) = stuck_of(handle.output().await);
        assert_eq!((command, reason.message.as_str()), (handle.id(), REASON), "{what}");
        assert_eq!(reason.kind, FailureKind::Diverged);
        assert_eq!(handle.status().await.unwrap(), CommandStatus::Stuck);
    }
    coordinator.shutdown().await.unwrap();
}

/// While it waits for a child too, the wait is known as foreign only when it is over.
async fn beside_a_child(home: Home) {
    let world = World::new();
    ["outside", "beside"].into_iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let waits = Waits { world: world.number(), what: "child and world".into() };
    let handle = coordinator.submit(waits).await.unwrap();
    world.noted("beside").await;
    assert_eq!(handle.status().await.unwrap(), CommandStatus::Active);
    world.open("outside");
    let (command, reason) = stuck_of(handle.output().await);
    assert_eq!((command, reason.message.as_str()), (handle.id(), REASON));
    // The child goes on and its end is stored; the flow takes it up when it may go on.
    world.open("beside");
    let ended = || async {
        let rows = home.tree(handle.id()).await.commands;
        rows.iter().filter(|row| row.progress.status.is_terminal()).count() == 2
    };
    until(ended).await;
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "before!");
    assert_eq!(world.count("beside"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn it_goes_on_when_the_code_is_right(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let waits = Waits { world: world.number(), what: "pending".into() };
    let handle = coordinator.submit(waits).await.unwrap();
    stuck_of(handle.output().await);
    coordinator.retry(handle.id()).await.unwrap();
    stuck_of(handle.output().await);
    drop(coordinator);
    world.say("mended", "yes");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Waits>(handle.id()).await.unwrap();
    stuck_of(handle.output().await);
    coordinator.retry(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "before!");
    assert_eq!(world.count("before"), 1);
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct WaitsInside {}

impl Execute for WaitsInside {
    type Output = (u32, String);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<(u32, String)> {
        let borrowed = String::from("borrowed");
        let step = |cx: LeafContext<Self>| async {
            let cx = cx;
            let world = cx.get::<World>();
            world.note(cx.id(), "inside", cx.attempt());
            world.pass("outside").await;
            let spawned = tokio::spawn(async { 7 }).await?;
            tokio::task::yield_now().await;
            Ok((spawned, borrowed.clone()))
        };
        let (number, child) = tokio::join!(cx.once("inside", step), cx.child(Mark::new("beside")));
        child?;
        number
    }
}

async fn inside_once(home: Home) {
    let world = World::new();
    world.close("outside");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(WaitsInside {}).await.unwrap();
    world.noted("inside").await;
    world.noted("beside done").await;
    world.open("outside");
    assert_eq!(handle.output().await.unwrap(), (7, "borrowed".to_owned()));
    assert_eq!(world.count("inside"), 1);
    coordinator.shutdown().await.unwrap();
}

/// Asks its own context from inside a `once`, which a replay would not do again.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct AsksInside {
    what: String,
}

impl Execute for AsksInside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let what = self.what.as_str();
        cx.once("outer", |_| async {
            match what {
                "uuid" => drop(cx.uuid()),
                "child" => drop(cx.child(Mark::new("inner")).await?),
                _ => cx.once("inner", |_| async { Ok(()) }).await?,
            }
            Ok(())
        })
        .await
    }
}

async fn asking_inside_once(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    for what in ["uuid", "child", "once"] {
        let asks = AsksInside { what: what.to_owned() };
        let handle = coordinator.submit(asks).await.unwrap();
        let (command, reason) = stuck_of(handle.output().await);
        let text = "the code of a `once` asks something of its flow's context; ask before it";
        assert_eq!((command, reason.message.as_str()), (handle.id(), text), "{what}");
    }
    assert_eq!(world.count("inner"), 0);
    coordinator.shutdown().await.unwrap();
}

/// Pending a few times, and each time it wakes whoever polls it.
async fn dawdle(mut times: u32) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The waker of one of several futures.
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        let task = self.task.lock().expect("no poison").clone();
        task.into_iter().for_each(Waker::wake);
    }
}

/// Runs all, each with a waker of its own, and polls only those that were woken.
async fn all_of<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let new = |future| {
        let bell = Bell { rung: AtomicBool::new(true), task: Mutex::new(None) };
        (Arc::new(bell), Box::pin(future), None)
    };
    let mut parts: Vec<_> = futures.into_iter().map(new).collect();
    poll_fn(|cx| {
        for (bell, future, output) in &mut parts {
            *bell.task.lock().expect("no poison") = Some(cx.waker().clone());
            if output.is_none()
                && bell.rung.swap(false, Ordering::SeqCst)
                && let Poll::Ready(ready) =
                    future.as_mut().poll(&mut TaskContext::from_waker(&Arc::clone(bell).into()))
            {
                *output = Some(ready);
            }
        }
        if parts.iter().all(|(.., output)| output.is_some()) {
            Poll::Ready(parts.iter_mut().filter_map(|(.., output)| output.take()).collect())
        } else {
            Poll::Pending
        }
    })
    .await
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Combines {}

impl Execute for Combines {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let branch = async |n: u32| {
            dawdle(n).await;
            let output = cx.child(Mark::new(format!("branch {n}"))).await?;
            dawdle(3 - n).await;
            cx.child(Mark::new(format!("after {output}"))).await
        };
        let mut outputs = Vec::new();
        for output in all_of((0..3).map(branch)).await {
            outputs.push(output?);
        }
        // One branch waits for the other: both belong to the flow.
        let (sender, receiver) = oneshot::channel();
        let bell = Notify::new();
        let (sent, received) = tokio::join!(
            async {
                let output = cx.child(Mark::new("sender")).await?;
                bell.notify_one();
                let _ = sender.send(output);
                cx.child(Mark::new("sent")).await
            },
            async {
                bell.notified().await;
                let output = receiver.await?;
                cx.child(Mark::new(format!("receiver of {output}"))).await
            }
        );
        outputs.extend([sent?, received?]);
        Ok(outputs)
    }
}

async fn combinators(home: Home) {
    let world = World::new();
    let expected = [
        "after branch 0!!",
        "after branch 1!!",
        "after branch 2!!",
        "sent!",
        "receiver of sender!!",
    ];
    world.close("receiver of sender!");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Combines {}).await.unwrap();
    world.noted("receiver of sender!").await;
    drop(coordinator);
    world.open("receiver of sender!");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Combines>(handle.id()).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), expected, "replayed");
    let handle = coordinator.submit(Combines {}).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), expected, "live");
    coordinator.shutdown().await.unwrap();
}
