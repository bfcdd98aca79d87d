//! What the engine does when the machine says so: it answers callers, and starts user code.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::body::{Body, Outside};
use super::drive::FlowMessage;
use super::engine::{Engine, Heard};
use super::reload::ReadWhy;
use super::request::Submitted;
use super::tasks::{Code, Task};
use super::undo::UndoBody;
use crate::context::CancelFlag;
use crate::erased::Reply;
use crate::error::{EngineError, Error, Result};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::LockRefusal;
use crate::machine::{Address, Effect, Happened, Refusal, Run, RunKind, UndoRun};

/// How long the steps of a tree wait for the poll of a flow.
const LONGEST_HOLD: Duration = Duration::from_millis(10);

/// Who waits for an answer.
pub(super) enum Caller {
    Submit(CommandId, oneshot::Sender<Result<Submitted>>),
    Other(oneshot::Sender<Result<()>>),
    /// Who published an event, and how many have got it so far.
    Publish(usize, oneshot::Sender<Result<usize>>),
}

impl Caller {
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Submit(_, reply) => drop(reply.send(Err(error))),
            Self::Other(reply) => drop(reply.send(Err(error))),
            Self::Publish(_, reply) => drop(reply.send(Err(error))),
        }
    }

    fn answer(self, refusal: Refusal) {
        let error = match refusal {
            Refusal::Duplicate(taken) => {
                if let Self::Submit(_, reply) = self {
                    let _ = reply.send(Ok(Submitted::Duplicate(taken)));
                }
                return;
            }
            Refusal::Locks(LockRefusal::Conflict(conflict)) => conflict.into(),
            Refusal::Locks(LockRefusal::WouldDeadlock(cycle)) => cycle.into(),
            Refusal::LockTimedOut(timed_out) => timed_out.into(),
            Refusal::NotStuck(command) => EngineError::NotStuck(command).into(),
            Refusal::AlreadyEnded(command) => EngineError::AlreadyEnded(command).into(),
            Refusal::OpenChildren { command, open } => {
                EngineError::OpenChildren { command, open }.into()
            }
        };
        self.refuse(error);
    }
}

pub(super) fn ticket_of(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Accept { ticket } | Effect::Refuse { ticket, .. } => Some(*ticket),
        Effect::Reload { ticket, .. } => *ticket,
        _ => None,
    })
}

impl Engine {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Accept { ticket } => match self.callers.remove(&ticket) {
                Some(Caller::Submit(root, reply)) => {
                    // The caller may have gone; the command is stored all the same.
                    let _ = reply.send(Ok(Submitted::New(self.watchers.watch(root))));
                }
                Some(Caller::Other(reply)) => {
                    let _ = reply.send(Ok(()));
                }
                Some(Caller::Publish(count, reply)) => {
                    let _ = reply.send(Ok(count));
                }
                None => {}
            },
            Effect::Refuse { ticket, refusal } => {
                if let Some(caller) = self.callers.remove(&ticket) {
                    caller.answer(*refusal);
                }
            }
            Effect::Run(run) => self.start(run),
            Effect::Give { command, outcomes, replay_is_over } => {
                self.tasks.tell(command, FlowMessage::Give { outcomes, replay_is_over });
            }
            Effect::Turn { at, attempt, position, given } => {
                self.happened(at, Happened::Turn { attempt, position, given });
            }
            Effect::LetRun { command, position } => {
                self.tasks.tell(command, FlowMessage::LetRun { position });
            }
            Effect::Drop { command } => self.tasks.drop_code(command),
            Effect::Cancel { command } => self.tasks.cancel(command),
            Effect::Undo(run) => self.undo(*run),
            Effect::WakeAt { at, when } => self.alarms.set(at, when),
            Effect::Disarm { command, when } => self.alarms.disarm(command, when),
            Effect::Reload { at, ticket } => self.read(at.root, ReadWhy::Replay { at, ticket }),
            Effect::Rest { root, rest } => {
                let at = Address { root, command: root };
                self.happened(at, Happened::Rest { rest });
            }
            Effect::NoRoom { root } => self.admission.passes_by(root),
            Effect::Rested { root } => self.admission.rests(root),
            Effect::Ended { root, result } => {
                self.watchers.ended(root, result.map_err(|failure| *failure));
            }
            Effect::Stuck { at, reason } => {
                tracing::error!(command = %at.command, root = %at.root, %reason, "a command is stuck");
                self.watchers.stuck(at.root, at.command, *reason);
            }
            Effect::Unstuck { root } => self.watchers.unstuck(root),
            Effect::Held { root, hold } => {
                self.held.push_back((Instant::now() + LONGEST_HOLD, root, hold));
            }
        }
    }

    /// Starts user code. Once the engine stops, only a leaf that is stored as active is started.
    fn start(&mut self, run: Box<Run>) {
        let Some(run) = self.ask_outside(run) else { return };
        let is_flow = matches!(run.kind, RunKind::Flow { .. });
        let is_leaf = matches!(run.kind, RunKind::Leaf);
        let Some(descriptor) = self.registry.get(run.name) else {
            let message = format!("no command `{}` is registered in this program", run.name);
            let failure = Failure::new(FailureKind::Undecodable, message).of(run.at.command);
            let over = run.over(Reply { refused: true, ..Reply::failed(failure) });
            return drop(self.world.inputs.send(Heard::Happened(run.at, over)));
        };
        if self.stopping.is_some() && !is_leaf {
            return;
        }
        let (messages, outcomes) = is_flow.then(mpsc::unbounded_channel).unzip();
        let (at, cancel) = (run.at, Arc::new(CancelFlag::default()));
        let code = match run.kind {
            RunKind::Leaf => Code::Leaf(run.attempt),
            RunKind::Flow { .. } => Code::Flow(run.attempt),
            RunKind::Round(_) | RunKind::Inbox(_) | RunKind::Tasks { .. } => Code::Round,
            RunKind::Hook(_) | RunKind::Clear(_) => Code::Hook,
        };
        let outside = self.outside(at, &cancel);
        let grace = self.settings.cancel_grace;
        let is_round = matches!(run.kind, RunKind::Round(_));
        let body = Body { outside, run, descriptor, outcomes, grace };
        let join = if is_round {
            self.tasks.hands.take(body);
            None
        } else {
            Some(body.spawn())
        };
        self.tasks.insert(at.command, Task { root: at.root, code, cancel, messages, join });
    }

    /// Undoes something for a command that has failed, unless the engine stops.
    fn undo(&mut self, run: UndoRun) {
        if self.stopping.is_some() {
            return;
        }
        let (at, cancel) = (run.at, Arc::new(CancelFlag::default()));
        let outside = self.outside(at, &cancel);
        let registry = Arc::clone(&self.registry);
        let join = Some(tokio::spawn(UndoBody { outside, run, registry }.run()));
        let task = Task { root: at.root, code: Code::Hook, cancel, messages: None, join };
        self.tasks.insert(at.command, task);
    }

    pub(super) fn outside(&mut self, at: Address, cancel: &Arc<CancelFlag>) -> Outside {
        Outside {
            before: self.tasks.take_ending(at.command),
            world: Arc::clone(&self.world),
            cancel: Arc::clone(cancel),
        }
    }
}
