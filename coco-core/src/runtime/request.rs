//! What a program asks of its engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::effects::Caller;
use super::engine::Engine;
use super::outages::Outages;
use super::watch::Standing;
use super::why::Question;
use crate::entity::Published;
use crate::error::{EngineError, Result};
use crate::id::CommandId;
use crate::machine::step::Step;
use crate::machine::{Address, Effect, Happened, Input, Submit};

/// How a program reaches its engine.
#[derive(Clone)]
pub(crate) struct Line {
    /// Bounded: who submits waits while the engine is busy.
    pub(crate) submits: mpsc::Sender<Offer>,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) outages: Outages,
}

/// What waits while the engine is busy.
pub(crate) enum Offer {
    Submit(Box<NewSubmit>),
    Publish { event: Published, reply: oneshot::Sender<Result<usize>> },
}

/// A root to submit, and who waits for it. The engine gives it its ticket.
pub(crate) struct NewSubmit {
    pub(crate) submit: Submit,
    pub(crate) reply: oneshot::Sender<Result<Submitted>>,
}

/// What else a caller asks of the engine.
pub(crate) enum Request {
    Watch {
        root: CommandId,
        reply: oneshot::Sender<watch::Receiver<Standing>>,
    },
    Operate {
        at: Address,
        operation: Operation,
        reply: oneshot::Sender<Result<()>>,
    },
    Why(Question),
    /// To store what is of no tree.
    Store {
        step: Step,
        reply: oneshot::Sender<Result<()>>,
    },
    Stop {
        within: Duration,
        reply: oneshot::Sender<()>,
    },
}

/// What became of a submit.
pub(crate) enum Submitted {
    New(watch::Receiver<Standing>),
    /// This command has its key.
    Duplicate(CommandId),
}

/// What an operator does to a command.
pub(crate) enum Operation {
    Retry,
    Cancel(Arc<str>),
    Abandon(Arc<str>),
}

impl Line {
    /// Waits for the answer of the engine. What is asked of one that is about to be gone is never
    /// looked at, and not dropped either.
    ///
    /// # Errors
    /// The engine is gone.
    pub(crate) async fn answer<T>(&self, mut answer: oneshot::Receiver<T>) -> Result<T> {
        let answer = tokio::select! {
            biased;
            answer = &mut answer => answer.ok(),
            () = self.requests.closed() => answer.try_recv().ok(),
        };
        answer.ok_or_else(|| EngineError::Shutdown.into())
    }
}

impl Engine {
    pub(super) fn offered(&mut self, offer: Offer) {
        match offer {
            Offer::Submit(submit) => self.submitted(*submit),
            Offer::Publish { event, reply } => self.published(event, reply),
        }
    }

    fn submitted(&mut self, NewSubmit { mut submit, reply }: NewSubmit) {
        if self.stopping.is_some() {
            return drop(reply.send(Err(EngineError::Shutdown.into())));
        }
        submit.ticket = self.ticket(Caller::Submit(submit.id, reply));
        self.tell(Input::Submit(submit));
    }

    pub(super) fn requested(&mut self, request: Request) {
        match request {
            Request::Watch { root, reply } => {
                let _ = reply.send(self.watchers.watch(root));
            }
            Request::Operate { at, operation, reply } => {
                let ticket = self.ticket(Caller::Other(reply));
                let what = match operation {
                    Operation::Retry => Happened::Retry { ticket },
                    Operation::Cancel(reason) => Happened::Cancel { ticket, reason },
                    Operation::Abandon(reason) => Happened::Abandon { ticket, reason },
                };
                self.happened(at, what);
            }
            Request::Why(question) => self.asked_why(question),
            Request::Store { step, reply } => {
                let ticket = self.ticket(Caller::Other(reply));
                self.queue.push(step, vec![Effect::Accept { ticket }]);
            }
            Request::Stop { within, reply } => self.stop(within, reply),
        }
    }

    pub(super) fn ticket(&mut self, caller: Caller) -> u64 {
        self.tickets += 1;
        self.callers.insert(self.tickets, caller);
        self.tickets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent while the engine is being dropped may stay in its channel for ever.
    #[tokio::test]
    async fn an_engine_that_is_gone_answers() {
        let (submits, _) = mpsc::channel(1);
        let (requests, heard) = mpsc::unbounded_channel();
        let line = Line { submits, requests, outages: Outages::default() };
        drop(heard);

        let (_kept, answer) = oneshot::channel::<()>();
        let refused = line.answer(answer).await.unwrap_err();
        assert_eq!(refused.downcast_ref(), Some(&EngineError::Shutdown));

        let (reply, answer) = oneshot::channel();
        reply.send(7).unwrap();
        assert_eq!(line.answer(answer).await.unwrap(), 7);
    }
}
