//! A crash before and after every commit: the final rows are the same each time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::UNIX_EPOCH;

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::crash::{sweep, sweep_twice};
use super::home::{Home, on_every_store};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    one_after_the_other,
    side_by_side,
    joined_branches,
    the_first_of_two,
    three_deep,
    a_failure_that_is_handled,
    a_failure_that_is_passed_on,
    hooks_and_locks,
    a_second_crash,
);

/// Remembers which value and which time its flow gave it.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(World))]
struct Stamp {
    token: String,
    time: u128,
}

impl Execute for Stamp {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.get::<World>().note(cx.id(), "stamp", cx.attempt());
        Ok(self.token.clone())
    }
}

/// Children one after the other, a `once`, and values that a replay gives again.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Errand {
    label: String,
}

impl Execute for Errand {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let label = &self.label;
        let mut outputs = vec![cx.child(Mark::new(format!("{label} one"))).await?];
        let look = |cx: LeafContext<Self>| async move {
            cx.get::<World>().note(cx.id(), "once look", cx.attempt());
            Ok("seen".to_owned())
        };
        outputs.push(cx.once("look", look).await?);
        let token = cx.uuid().to_string();
        assert_ne!(token, cx.uuid().to_string());
        let time = cx.now().duration_since(UNIX_EPOCH).map_err(Error::other)?.as_micros();
        outputs.push(cx.child(Stamp { token, time }).await?);
        outputs.push(cx.child(Mark::new(format!("{label} two"))).await?);
        Ok(outputs)
    }
}

async fn one_after_the_other(home: Home) {
    let commits = sweep(&home, true, |_| Errand { label: "a".into() }).await;
    assert_eq!(commits, 6);
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Rows {}

impl Execute for Rows {
    type Output = Vec<Vec<String>>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<Vec<String>>> {
        let first = cx.children(["a", "b", "c"].map(Mark::new)).await?;
        let second = cx.children(first.iter().map(|output| Mark::new(output.as_str()))).await?;
        let none = cx.children(std::iter::empty::<Mark>()).await?;
        Ok(vec![first, second, none])
    }
}

async fn side_by_side(home: Home) {
    sweep(&home, false, |_| Rows {}).await;
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Branches {}

impl Execute for Branches {
    type Output = (String, Vec<String>, String);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<(String, Vec<String>, String)> {
        let left = async {
            let first = cx.child(Mark::new("left")).await?;
            cx.child(Mark::new(format!("left {first}"))).await
        };
        let middle = async {
            let mut all = cx.children(["middle one", "middle two"].map(Mark::new)).await?;
            all.push(cx.child(Mark::new("middle three")).await?);
            Ok::<_, Error>(all)
        };
        let right = async {
            let step = |cx: LeafContext<Self>| async move {
                cx.get::<World>().note(cx.id(), "once right", cx.attempt());
                Ok("right".to_owned())
            };
            let label = cx.once("right", step).await?;
            cx.child(Mark::new(label)).await
        };
        let (left, middle, right) = tokio::join!(left, middle, right);
        Ok((left?, middle?, right?))
    }
}

/// The positions of what the branches ask later depend on which goes on first, so only what each
/// branch got is compared; the comparison by position is made by every replay.
async fn joined_branches(home: Home) {
    sweep(&home, false, |_| Branches {}).await;
}

/// Gives the output of whichever is ready first, and drops the other.
async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Pending => other.as_mut().poll(cx),
        ready => ready,
    })
    .await
}

/// The slower one goes on when nobody waits for it any more, and the flow ends after it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Race {}

impl Execute for Race {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let slow = async {
            let all = cx.child(Errand { label: "slow".into() }).await?;
            Ok(all.concat())
        };
        let winner = first_of(slow, cx.child(Mark::new("fast"))).await?;
        cx.child(Mark::new(format!("after {winner}"))).await
    }
}

async fn the_first_of_two(home: Home) {
    sweep(&home, false, |_| Race {}).await;
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Nested {
    depth: u32,
}

impl Execute for Nested {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let depth = self.depth;
        let mut outputs = vec![cx.child(Mark::new(format!("down {depth}"))).await?];
        if depth > 0 {
            outputs.extend(cx.child(Self { depth: depth - 1 }).await?);
        }
        outputs.push(cx.child(Mark::new(format!("up {depth}"))).await?);
        Ok(outputs)
    }
}

async fn three_deep(home: Home) {
    sweep(&home, true, |_| Nested { depth: 2 }).await;
}

/// Mends what fails below it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Mender {}

impl Execute for Mender {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        match cx.child(Nested { depth: 1 }).await {
            Ok(_) => Err(Error::other("nothing failed")),
            Err(error) => {
                let failure = error.failure().ok_or("no failure").map_err(Error::other)?;
                let code = failure.code.as_deref().unwrap_or_default();
                cx.child(Mark::new(format!("mended {code}: {failure}"))).await
            }
        }
    }
}

async fn a_failure_that_is_handled(home: Home) {
    let mender = |world: &World| {
        world.say("fail up 0", "it broke");
        Mender {}
    };
    sweep(&home, true, mender).await;
}

async fn a_failure_that_is_passed_on(home: Home) {
    let nested = |world: &World| {
        world.say("fail down 0", "it broke");
        Nested { depth: 2 }
    };
    sweep(&home, true, nested).await;
}

/// A flow with locks and end hooks of its own, over children that borrow and exclude each other.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Command, needs(World))]
struct Locking {
    #[lock(exclusive, group = "sweep")]
    world: u64,
}

impl Execute for Locking {
    type Output = Vec<Option<String>>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<Option<String>>> {
        let world = self.world;
        let first = cx.child(Borrower { world, label: "first".into() }).await?;
        let failed = cx.child(Borrower { world, label: "failing".into() }).await.ok();
        let second = cx.child(Borrower { world, label: "second".into() }).await?;
        Ok(vec![Some(first), failed, Some(second)])
    }

    async fn end_successfully(&mut self, _: &Self::Output, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "the flow ends", cx.attempt());
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct Borrower {
    #[lock(exclusive, group = "sweep")]
    world: u64,
    label: String,
}

impl Execute for Borrower {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.get::<World>().note(cx.id(), &*self.label, cx.attempt());
        if self.label == "failing" { Err(Error::other("no")) } else { Ok(self.label.clone()) }
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "ends", cx.attempt());
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "ends badly", cx.attempt());
        Ok(())
    }
}

async fn hooks_and_locks(home: Home) {
    sweep(&home, true, |world| Locking { world: world.number() }).await;
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(World))]
struct Small {}

impl Execute for Small {
    type Output = (String, Vec<String>);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<(String, Vec<String>)> {
        let step = |cx: LeafContext<Self>| async move {
            cx.get::<World>().note(cx.id(), "once begin", cx.attempt());
            Ok("begun".to_owned())
        };
        let begun = cx.once("begin", step).await?;
        let both = cx.children(["left", "right"].map(Mark::new)).await?;
        Ok((begun, both))
    }
}

async fn a_second_crash(home: Home) {
    sweep_twice(&home, false, |_| Small {}).await;
}
