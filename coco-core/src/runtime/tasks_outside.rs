//! Tasks outside: asked, stopped and cleared, each in its own time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::body::Outside;
use super::engine::Engine;
use super::tasks::{Code, Task};
use crate::caught::caught;
use crate::context::CancelFlag;
use crate::erased::{Hooks, Reply};
use crate::error::{Error, Result};
use crate::failure::{Failure, FailureKind};
use crate::machine::{Happened, OverTask, Run, RunKind};
use crate::retry::Again;
use crate::task::{TaskContext, TaskStatus, decode};

/// An answer that takes longer is none.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

impl Engine {
    /// Asks or clears the tasks of a command, where that is what is to be run; else gives it back.
    pub(super) fn ask_outside(&mut self, run: Box<Run>) -> Option<Box<Run>> {
        let code = match run.kind {
            RunKind::Tasks { .. } => Code::Round,
            RunKind::Clear(_) => Code::Hook,
            _ => return Some(run),
        };
        if self.stopping.is_some() {
            return None;
        }
        let (at, cancel) = (run.at, Arc::new(CancelFlag::default()));
        let outside = self.outside(at, &cancel);
        let join = Some(tokio::spawn(Asking { outside, run }.run()));
        self.tasks.insert(at.command, Task { root: at.root, code, cancel, messages: None, join });
        None
    }
}

/// Tasks that are asked or cleared.
struct Asking {
    outside: Outside,
    run: Box<Run>,
}

impl Asking {
    async fn run(mut self) {
        self.outside.alone().await;
        let cx = TaskContext {
            command: self.run.at.command,
            resources: Arc::clone(&self.outside.world.resources),
        };
        let said = match &self.run.kind {
            RunKind::Tasks { open, stop } => {
                let mut over = Vec::new();
                for (position, json) in open {
                    over.extend(ask(*position, json, *stop, &cx).await);
                }
                Happened::TasksAsked(over)
            }
            RunKind::Clear(tasks) => Happened::Hooked(clear(tasks, &cx).await),
            _ => return,
        };
        self.outside.say(self.run.at, said);
    }
}

/// Asks one task, after it was told to stop. None while it goes on, or it is not known how it stands.
async fn ask(position: i32, json: &str, stop: bool, cx: &TaskContext) -> Option<OverTask> {
    let command = cx.command;
    let over = |failure: Option<String>, is_known| {
        let failure = failure.map(|message| Failure::new(FailureKind::Failed, message));
        Some(OverTask { position, failure, is_known })
    };
    let task = match decode(json) {
        Ok(task) => task,
        Err(error) => {
            tracing::error!(%command, %error, task = json, "a task cannot be read");
            return None;
        }
    };
    if stop && let Err(error) = in_time(|| task.stop(cx)).await {
        tracing::warn!(%command, %error, task = json, "a task could not be stopped");
    }
    match in_time(|| task.status(cx)).await {
        Ok(TaskStatus::Running) => None,
        Ok(TaskStatus::Succeeded) => over(None, true),
        Ok(TaskStatus::Failed(reason)) => {
            over(Some(format!("its task {} has failed: {reason}", name_of(json))), true)
        }
        Ok(TaskStatus::Unknown) => {
            let name = name_of(json);
            let message =
                format!("the outside does not know the task {name}: not begun, or forgotten");
            over(Some(message), false)
        }
        Err(error) => {
            tracing::warn!(%command, %error, task = json, "it is not known how a task stands");
            None
        }
    }
}

async fn clear(tasks: &[Arc<str>], cx: &TaskContext) -> Reply {
    let mut result: Result<()> = Ok(());
    for json in tasks {
        let cleared = match decode(json) {
            Ok(task) => in_time(|| task.clear(cx)).await,
            Err(error) => Err(error),
        };
        result = result.and(cleared);
    }
    let (again, hooks) = (Again::AsDeclared, Hooks::NONE);
    let result = result.map(|()| "null".into()).map_err(|error| error.into_failure(cx.command));
    Reply { result, state: None, refused: false, hooks, again, next: None }
}

/// As a message names a task.
fn name_of(json: &str) -> String {
    json.chars().take(200).collect()
}

/// What a method of a task gives; a panic in it, or that it takes too long, is an error.
async fn in_time<T, F: Future<Output = Result<T>>>(method: impl FnOnce() -> F) -> Result<T> {
    let future = caught(method).map_err(Error::other)?;
    let mut future = Box::pin(future);
    let mut limit = pin!(tokio::time::sleep(LONGEST_ANSWER));
    let answer = std::future::poll_fn(|cx| {
        match caught(|| future.as_mut().poll(cx)) {
            Ok(Poll::Ready(answer)) => return Poll::Ready(answer),
            Err(panic) => return Poll::Ready(Err(Error::other(format!("it panicked: {panic}")))),
            Ok(Poll::Pending) => {}
        }
        let late = || Error::other(format!("no answer within {LONGEST_ANSWER:?}"));
        limit.as_mut().poll(cx).map(|()| Err(late()))
    })
    .await;
    let _ = caught(|| drop(future));
    answer
}
