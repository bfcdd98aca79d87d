//! What the machine is told, and what it answers.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::flow::StoredRequest;
use super::step::Step;
use super::tree::Turn;
use crate::command::Spec;
use crate::context::Parent;
use crate::context::requests::{Ask, Ended};
use crate::entity::{CommandEntity, OnceResult};
use crate::erased::{Call, Reply};
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::{Lock, LockConflict};
use crate::time::Timestamp;

/// Where a command stands: its tree and itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) root: CommandId,
    pub(crate) command: CommandId,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A root was submitted.
    Submit(Submit),
    /// A tree was read from the store.
    Load(Box<Load>),
    /// The engine stops: flows are dropped, and what ends is still stored.
    Stop,
    /// Something happened to a command that runs.
    Of { at: Address, what: Happened },
}

/// What happened to a command that runs.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Its step with a lock request was applied.
    Granted,
    /// Its step with a lock request met a conflict, and nothing of it was stored. `ticket`: the
    /// step was its submit.
    Refused { ticket: Option<u64>, conflict: LockConflict },
    /// The run of this attempt of a leaf is over.
    Ran { attempt: i32, reply: Reply },
    /// The run of this attempt of a flow was polled until it was pending.
    Polled { attempt: i32, polled: Polled },
    /// All that came before its `once` at this position is durable. `given`: how often it was
    /// given outcomes by then.
    Turn { attempt: i32, position: i32, given: u64 },
    /// Its end hook is through.
    Hooked(Reply),
    /// The polls that the tree's held steps wait for take too long.
    Flush { hold: u64 },
    /// An operator wants what is stuck to go on.
    Retry { ticket: u64 },
    /// What is stored of the requests of a stuck flow.
    Replay { ticket: u64, stored: Stored },
}

#[derive(Debug)]
pub(crate) struct Submit {
    pub(crate) id: CommandId,
    pub(crate) ticket: u64,
    pub(crate) spec: Spec,
    pub(crate) parameters: Arc<str>,
    pub(crate) locks: Vec<Lock>,
}

/// What a flow did between two outcomes.
#[derive(Debug, Default)]
pub(crate) struct Polled {
    /// True when the poll answers [`Effect::Give`].
    pub(crate) given: bool,
    pub(crate) asks: Vec<Ask>,
    pub(crate) end: Option<FlowEnd>,
}

/// How a flow ended its run.
#[derive(Debug)]
pub(crate) enum FlowEnd {
    /// It returned. `unseen`: the first failure that was given to a request it had dropped.
    Returned { reply: Box<Reply>, unseen: Option<Failure> },
    /// It took another way than the one that is stored, or waits for something foreign.
    Diverged(String),
}

/// A tree as it was read from the store.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) root: CommandId,
    pub(crate) commands: Vec<LoadedCommand>,
    pub(crate) once_results: Vec<OnceResult>,
    pub(crate) cause: Loaded,
}

/// Why a tree is read.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// An engine starts. `crashed`: the one before it died.
    Start { crashed: bool },
    /// A step was rejected, and the ones after it were skipped.
    Rejected {
        step: Step,
        reason: String,
        skipped: Vec<Step>,
        /// Commands whose code runs now.
        running: HashSet<CommandId>,
    },
}

/// A command as it was read from the store, with what its type says of it.
#[derive(Debug)]
pub(crate) struct LoadedCommand {
    pub(crate) entity: CommandEntity,
    pub(crate) spec: Spec,
    pub(crate) locks: Vec<Lock>,
    /// Its parameters as they are compared; none where they could not be stored.
    pub(crate) canonical: Option<Value>,
}

/// What is stored of a flow's requests: what was asked by position, what had ended by end order.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) requests: Vec<(i32, StoredRequest)>,
    pub(crate) outcomes: Vec<(i64, i32, Ended)>,
}

/// What follows from an input.
#[derive(Debug)]
pub(crate) enum Output {
    /// Do this now.
    Do(Effect),
    /// Store this, and do these when it is durable. A step without writes only keeps its place
    /// in the order.
    Store(Step, Vec<Effect>),
}

/// Something for the runtime to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Tell the caller that what it asked for is stored.
    Accept { ticket: u64 },
    /// Tell the caller that nothing was done.
    Refuse { ticket: u64, refusal: Refusal },
    /// Run a method of a command.
    Run(Box<Run>),
    /// Give outcomes to a flow, one after the other, polling it between them.
    Give { command: CommandId, outcomes: Vec<(i32, Ended)>, replay_is_over: bool },
    /// Say [`Happened::Turn`].
    Turn { at: Address, attempt: i32, position: i32, given: u64 },
    /// Let the `once` at this position run.
    LetRun { command: CommandId, position: i32 },
    /// Drop the code of a command that runs.
    Drop { command: CommandId },
    /// Read what is stored of a stuck flow's requests.
    Reload { at: Address, ticket: u64 },
    /// The root is terminal.
    Ended { root: CommandId, result: Result<Arc<str>, Failure> },
    /// Something of the tree cannot go on by itself.
    Stuck { at: Address, reason: Failure },
    /// Nothing of the tree is stuck any more.
    Unstuck { root: CommandId },
    /// Steps are held for a poll: say [`Happened::Flush`] with this number when it takes long.
    Held { root: CommandId, hold: u64 },
}

/// Why a caller got nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    Conflict(LockConflict),
    NotStuck(CommandId),
}

/// A method to run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) at: Address,
    pub(crate) name: &'static str,
    /// The JSON to decode it from.
    pub(crate) fields: Arc<str>,
    pub(crate) attempt: i32,
    pub(crate) parent: Option<Parent>,
    pub(crate) kind: RunKind,
}

/// Which method, and how.
#[derive(Debug)]
pub(crate) enum RunKind {
    /// `validate` and `execute` of a leaf.
    Leaf,
    /// A flow. `replaying`: something of an earlier run is stored, so it is past its `validate`.
    Flow { created_at: Timestamp, replaying: bool },
    /// An end hook.
    Hook(Call),
}

impl Happened {
    /// True when a leaf or an end hook is over.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Ran { .. } | Self::Hooked(_))
    }

    /// The answer when the tree is not here.
    pub(super) fn refuse_absent(&self, at: Address, turn: &mut Turn<'_>) {
        if let Self::Retry { ticket } | Self::Replay { ticket, .. } = self {
            let refusal = Refusal::NotStuck(at.command);
            turn.out.push(Output::Do(Effect::Refuse { ticket: *ticket, refusal }));
        }
    }
}

/// The name of a stored command or step.
pub(crate) type StoredName = Cow<'static, str>;
