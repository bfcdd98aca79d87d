//! Drives a flow: gives it one outcome at a time, and polls it until it is pending between two.
//!
//! A flow waits for its context and for nothing else. It has diverged when it is pending though
//! it waits for nothing that it asked for, or when something else than the engine wakes it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use tokio::sync::mpsc::UnboundedReceiver;

use super::body::{drop_caught, panicked};
use crate::caught::caught;
use crate::context::requests::{Ask, Ended};
use crate::context::{Scope, inside_engine_wake};
use crate::erased::{Call, Erased, Reply};
use crate::machine::{FlowEnd, Polled};

const FOREIGN: &str = "the flow waits for something that is not its context; \
    wait for it in a child, or inside `cx.once`";

/// What the engine tells a flow that runs.
#[derive(Debug)]
pub(super) enum FlowMessage {
    Give { outcomes: Vec<(i32, Ended)>, replay_is_over: bool },
    LetRun { position: i32 },
}

/// Runs a flow. What it asks for between two outcomes goes to `report`; gives its last poll.
pub(super) async fn drive(
    command: &mut dyn Erased,
    fields: &str,
    scope: &Scope,
    messages: &mut UnboundedReceiver<FlowMessage>,
    mut report: impl FnMut(Polled),
) -> Polled {
    let waker = Arc::new(FlowWaker::default());
    let mut flow = Flow { code: None, scope, waker: Arc::clone(&waker) };
    let mut begin = Some(command);
    let mut last = poll_fn(|cx| {
        waker.remember(cx.waker());
        if let Some(command) = begin.take() {
            // Without tokio's budget, whose end would wake the flow from outside.
            let code = tokio::task::unconstrained(command.call(fields, scope, Call::Execute));
            flow.code = Some(Box::pin(code));
            match flow.poll(false) {
                polled if polled.end.is_some() => return Poll::Ready(polled),
                polled => report(polled),
            }
        }
        loop {
            let polled = match messages.poll_recv(cx) {
                Poll::Ready(Some(FlowMessage::Give { outcomes, replay_is_over })) => {
                    flow.give(outcomes, replay_is_over)
                }
                Poll::Ready(Some(FlowMessage::LetRun { position })) => {
                    scope.requests().let_run(position);
                    flow.poll(false)
                }
                Poll::Ready(None) => return Poll::Pending,
                Poll::Pending if waker.was_foreign() => diverged(FOREIGN.to_owned()),
                Poll::Pending if waker.take_woken() => flow.poll(false),
                Poll::Pending => return Poll::Pending,
            };
            if polled.end.is_some() {
                return Poll::Ready(polled);
            }
            if polled.given || !polled.asks.is_empty() {
                report(polled);
            }
        }
    })
    .await;
    // A flow that has diverged is stuck, whatever it leaves behind.
    if let (Some(panic), Some(FlowEnd::Returned { reply, .. })) =
        (drop_caught(flow.code.take(), scope), &mut last.end)
    {
        **reply = panic.after(reply);
    }
    last
}

struct Flow<'a> {
    code: Option<Pin<Box<dyn Future<Output = Reply> + Send + 'a>>>,
    scope: &'a Scope,
    waker: Arc<FlowWaker>,
}

impl Flow<'_> {
    /// Gives outcomes one after the other. What it did not wait for any more, it has not seen.
    fn give(&mut self, outcomes: Vec<(i32, Ended)>, replay_is_over: bool) -> Polled {
        let requests = self.scope.requests();
        if replay_is_over {
            requests.replay_is_over();
        }
        let mut all = Polled { given: true, ..Polled::default() };
        for (position, ended) in outcomes {
            if let Some(FlowEnd::Returned { unseen, .. }) = &mut all.end {
                *unseen = unseen.take().or(ended.result.err());
                continue;
            }
            requests.give(position, ended);
            let polled = self.poll(true);
            all.asks.extend(polled.asks);
            all.end = polled.end;
            if let Some(FlowEnd::Diverged(_)) = all.end {
                break;
            }
        }
        all
    }

    /// Polls until the flow is pending and has not woken itself.
    fn poll(&mut self, given: bool) -> Polled {
        let requests = self.scope.requests();
        let Some(code) = &mut self.code else { return Polled::default() };
        let waker = Waker::from(Arc::clone(&self.waker));
        let mut asks = Vec::new();
        loop {
            self.waker.begin();
            let polled = caught(|| code.as_mut().poll(&mut TaskContext::from_waker(&waker)));
            let woken = self.waker.end();
            asks.append(&mut requests.take_asks());
            match polled {
                Ok(Poll::Ready(reply)) => return returned(self.scope, asks, reply, given),
                Err(panic) => {
                    return returned(self.scope, asks, panicked(self.scope, &panic), given);
                }
                Ok(Poll::Pending) => {}
            }
            if let Some(reason) = requests.diverged() {
                return diverged(reason);
            }
            if !woken {
                let waits = requests.is_waiting();
                return if waits {
                    Polled { given, asks, end: None }
                } else {
                    diverged(FOREIGN.to_owned())
                };
            }
        }
    }
}

fn returned(scope: &Scope, asks: Vec<Ask>, reply: Reply, given: bool) -> Polled {
    let unseen = scope.requests().unseen_failure();
    Polled { given, asks, end: Some(FlowEnd::Returned { reply: Box::new(reply), unseen }) }
}

fn diverged(reason: String) -> Polled {
    Polled { end: Some(FlowEnd::Diverged(reason)), ..Polled::default() }
}

/// Wakes the flow's task, and knows who woke it.
#[derive(Default)]
struct FlowWaker {
    task: Mutex<Option<Waker>>,
    is_polling: AtomicBool,
    woken: AtomicBool,
    foreign: AtomicBool,
}

impl FlowWaker {
    fn remember(&self, task: &Waker) {
        let mut slot = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert_with(|| task.clone()).clone_from(task);
    }

    fn begin(&self) {
        self.woken.store(false, Ordering::Release);
        self.is_polling.store(true, Ordering::Release);
    }

    fn end(&self) -> bool {
        self.is_polling.store(false, Ordering::Release);
        self.take_woken()
    }

    fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    fn was_foreign(&self) -> bool {
        self.foreign.load(Ordering::Acquire)
    }
}

impl Wake for FlowWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A flow may wake itself while it is polled, as combinators do.
        if inside_engine_wake() || self.is_polling.load(Ordering::Acquire) {
            self.woken.store(true, Ordering::Release);
        } else {
            self.foreign.store(true, Ordering::Release);
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
