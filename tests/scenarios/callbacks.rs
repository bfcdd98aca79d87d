//! What follows `execute` with each callback: the rounds, what they are given and what they start.

use coco_core::Builder;
use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, in_no_time, on_every_store, start, start_with};
use super::world::World;

on_every_store!(
    children_side_by_side_and_then_the_command,
    a_failed_child_fails_the_command,
    one_operation_after_the_other,
    the_first_of_several,
);
in_no_time!(polls_at_growing_intervals);

/// Notes its number, waits at its gate, and gives it back.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(World))]
struct Part {
    number: u32,
}

impl Execute for Part {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("part {}", self.number), cx.attempt());
        world.pass(&format!("part {}", self.number)).await;
        if world.is_said(&format!("fail {}", self.number)) {
            return Err(Error::other(format!("part {} is broken", self.number)));
        }
        Ok(self.number)
    }
}

/// Starts its parts, then as many again as they add up to, and adds all up.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct Sum {
    parts: Vec<u32>,
    more: bool,
    started: Vec<Child<Part>>,
}

impl Execute for Sum {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        self.started = self.parts.iter().map(|number| cx.start(Part { number: *number })).collect();
        Ok(0)
    }
}

impl ConcurrentChildren for Sum {
    async fn children_ended(
        &mut self,
        output: &mut u32,
        outcomes: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        outcomes.all_succeeded()?;
        for child in self.started.drain(..) {
            *output += outcomes.of(&child)?;
        }
        if std::mem::take(&mut self.more) {
            self.started.push(cx.start(Part { number: *output }));
        }
        Ok(())
    }
}

async fn children_side_by_side_and_then_the_command(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    world.close("part 2");
    let sum = Sum { parts: vec![1, 2, 3], more: true, started: Vec::new() };
    let handle = coordinator.submit(sum).await.unwrap();
    world.noted("part 1").await;
    world.noted("part 3").await;
    world.open("part 2");
    assert_eq!(handle.output().await.unwrap(), 12);
    assert_eq!(world.count("part 6"), 1);
    let none = Sum { parts: Vec::new(), more: false, started: Vec::new() };
    assert_eq!(coordinator.submit(none).await.unwrap().output().await.unwrap(), 0);
    coordinator.shutdown().await.unwrap();
}

async fn a_failed_child_fails_the_command(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    world.say("fail 2", "");
    let sum = Sum { parts: vec![1, 2, 3], more: true, started: Vec::new() };
    let output = coordinator.submit(sum).await.unwrap().output().await;
    assert_eq!(failure_of(output).message, "part 2 is broken");
    assert_eq!(world.count("part 3"), 1);
    coordinator.shutdown().await.unwrap();
}

/// One part after the other; what fails is left out.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, poll(every = "2ms"))]
struct Operations {
    parts: Vec<u32>,
    next: usize,
    failed: Vec<String>,
    idle: u32,
}

impl Execute for Operations {
    type Output = Vec<String>;

    async fn execute(&mut self, _: &Context<Self>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl NextOperation for Operations {
    async fn perform_next_operation(
        &mut self,
        output: &mut Vec<String>,
        completed: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<bool> {
        assert_eq!(completed.len(), self.next);
        output.clone_from(&self.failed);
        let Some(number) = self.parts.get(self.next) else {
            self.idle += 1;
            return Ok(self.idle < 3);
        };
        self.next += 1;
        cx.start(Part { number: *number });
        Ok(true)
    }

    fn ignore_child_failure(&mut self, failure: &Failure) -> bool {
        self.failed.push(failure.message.clone());
        true
    }
}

async fn one_operation_after_the_other(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    world.say("fail 2", "");
    let steps = Operations { parts: vec![1, 2, 3], next: 0, failed: Vec::new(), idle: 0 };
    let output = coordinator.submit(steps).await.unwrap().output().await.unwrap();
    assert_eq!(output, ["part 2 is broken"]);
    assert_eq!(world.deeds(), ["part 1", "part 2", "part 3"]);
    coordinator.shutdown().await.unwrap();
}

/// Is polled until the world says so.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Polling, needs(World), timeout = "5m")]
struct Wait {
    polls: u32,
}

impl Execute for Wait {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        cx.get::<World>().note(cx.id(), "begun", cx.attempt());
        Ok(0)
    }
}

impl Polling for Wait {
    async fn poll(&mut self, output: &mut u32, cx: &Context<Self>) -> Result<Poll> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("{}s", world.age().as_secs()), cx.attempt());
        if world.is_said("done") {
            self.polls += 1;
            *output = self.polls;
            return Ok(Poll::Ready);
        }
        Ok(Poll::Pending)
    }
}

mod scenario {
    use super::*;

    pub(super) async fn polls_at_growing_intervals(home: Home) {
        let world = World::new();
        let coordinator = start_with(home.open().await, &world, Builder::on_tokio_time).await;
        let handle = coordinator.submit(Wait { polls: 0 }).await.unwrap();
        world.noted("25s").await;
        world.say("done", "");
        assert_eq!(handle.output().await.unwrap(), 1);
        assert_eq!(world.deeds(), ["begun", "1s", "3s", "7s", "15s", "25s", "35s"]);
        coordinator.shutdown().await.unwrap();
    }
}

/// Ready when one child has succeeded.
struct AnyOf;

impl<C: Execute> CommandCallback<C> for AnyOf {
    async fn do_polling(
        _: &mut C,
        _: &mut C::Output,
        outcomes: &Outcomes,
        _: &Context<C>,
    ) -> Result<Poll> {
        let has_one = outcomes.failures().count() < outcomes.len();
        Ok(if has_one { Poll::Ready } else { Poll::Pending })
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = AnyOf, poll(every = "2ms"))]
struct First {
    parts: Vec<u32>,
}

impl Execute for First {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        for number in &self.parts {
            cx.start(Part { number: *number });
        }
        Ok(())
    }
}

async fn the_first_of_several(home: Home) {
    let world = World::new();
    let coordinator = start(home.open().await, &world).await;
    world.close("part 2");
    world.say("fail 1", "");
    let handle = coordinator.submit(First { parts: vec![1, 2, 3] }).await.unwrap();
    world.noted("part 3").await;
    world.open("part 2");
    handle.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}
