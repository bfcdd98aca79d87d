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
use crate::context::requests::{Ask, AskedChild, Ended};
use crate::entity::{CommandEntity, Compensation, OnceResult, Sleep, Subscription, Task, Undo};
use crate::erased::{Call, Reply, Round};
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::{Lock, LockProperties, LockRefusal, LockTimedOut};
use crate::retry::Retry;
use crate::status::CommandStatus;
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
    /// Its step that may be refused was applied: with the lock request of this number, or with a
    /// submit key.
    Granted { number: i32 },
    /// Its step with the lock request of this number was refused, and nothing of it was stored.
    /// `ticket`: who waits for it; of number 0 the step was its submit.
    Refused { ticket: Option<u64>, number: i32, refusal: LockRefusal },
    /// Its lock request of this number waits in line, and nothing else of the step was stored.
    Queued { number: i32, until: Option<Timestamp> },
    /// Its lock request of this number, which waited, was granted.
    HasLocks { number: i32 },
    /// This attempt of a leaf asks for a lock more.
    AsksLock { attempt: i32, ticket: u64, lock: Lock },
    /// The run of this attempt of a leaf is over.
    Ran { attempt: i32, reply: Reply },
    /// The run of this attempt of a flow was polled until it was pending.
    Polled { attempt: i32, polled: Polled },
    /// All that came before its `once` at this position is durable. `given`: how often it was
    /// given outcomes by then.
    Turn { attempt: i32, position: i32, given: u64 },
    /// This attempt of a command listens for events with this key.
    Subscribes { attempt: i32, ticket: u64, key: Arc<str> },
    /// Events are in its inbox.
    HasEvents,
    /// There was nothing in its inbox.
    NoEvents,
    /// This attempt of a command has a task outside.
    AddsTask { attempt: i32, ticket: u64, task: Arc<str> },
    /// Its tasks were asked, and these are over.
    TasksAsked(Vec<OverTask>),
    /// The round of its callback that ran is over.
    RoundOver(Reply),
    /// Its end hook, its own `compensate`, or what was undone for it, is through.
    Hooked(Reply),
    /// Its submit has a key that is taken.
    Duplicate { ticket: u64, taken: CommandId },
    /// A leaf registers an undo command.
    Registers { attempt: i32, ticket: u64, entry: Entry },
    /// It is this time, for which it asked to be woken.
    Due(Timestamp),
    /// All that its tree said is durable: it may rest, if nothing has happened since it asked by
    /// this number.
    Rest { rest: u64 },
    /// There may be a free place for it among its type.
    Place,
    /// An operator or a caller wants it to end.
    Cancel { ticket: u64, reason: Arc<str> },
    /// An operator gives up what is stuck.
    Abandon { ticket: u64, reason: Arc<str> },
    /// The polls that the tree's held steps wait for take too long.
    Flush { hold: u64 },
    /// An operator wants what is stuck in it to go on.
    Retry { ticket: u64 },
    /// What is stored of the requests of a stuck flow. `ticket`: it is the last one of a retry.
    Replay { ticket: Option<u64>, stored: Stored },
}

/// A task that is over, well or not.
#[derive(Debug)]
pub(crate) struct OverTask {
    pub(crate) position: i32,
    pub(crate) failure: Option<Failure>,
    /// Whether the outside knows of it; if not, that is the failure.
    pub(crate) is_known: bool,
}

/// An undo command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: StoredName,
    pub(crate) parameters: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Submit {
    pub(crate) id: CommandId,
    pub(crate) ticket: u64,
    pub(crate) spec: &'static Spec,
    pub(crate) parameters: Arc<str>,
    pub(crate) locks: LockProperties,
    pub(crate) key: Option<Arc<str>>,
    /// Not to start before this time.
    pub(crate) start_at: Option<Timestamp>,
    /// The ended root that it is submitted again from, and where that stood.
    pub(crate) again: Option<(CommandId, CommandStatus)>,
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
    /// Succeeded commands whose own parent may have ended, and what undoes them.
    pub(crate) undoable: Vec<Undoable>,
    pub(crate) once_results: Vec<OnceResult>,
    pub(crate) sleeps: Vec<Sleep>,
    pub(crate) compensations: Vec<LoadedCompensation>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) cause: Loaded,
}

/// Why a tree is read.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// An engine starts. `crashed`: the one before it died.
    Start { crashed: bool },
    /// It was not admitted before, or it rested.
    Admitted,
    /// It has not begun, and is not to begin: it is cancelled.
    Cancelled { ticket: u64, reason: Arc<str> },
    /// A step was rejected, and the ones after it were skipped.
    Rejected {
        step: Step,
        reason: String,
        skipped: Vec<Step>,
        /// What its code had started.
        started: Started,
        /// Commands whose code runs now.
        running: HashSet<CommandId>,
    },
}

/// What the code of a tree had started, of which its rows do not tell all.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// The children that rounds have started, and that may not be stored.
    pub(crate) children: Vec<(CommandId, AskedChild)>,
    /// The tasks that were added by code that runs.
    pub(crate) tasks: Vec<(CommandId, i32)>,
}

/// A succeeded command that is not undone.
#[derive(Debug)]
pub(crate) struct Undoable {
    pub(crate) id: CommandId,
    pub(crate) parent: CommandId,
    pub(crate) end_order: i64,
    pub(crate) undo: Undo,
}

/// An undo command as it was read from the store.
#[derive(Debug)]
pub(crate) struct LoadedCompensation {
    pub(crate) row: Compensation,
    /// Its parameters as they are compared, where the flow that registered it is open.
    pub(crate) canonical: Option<Value>,
}

/// A command as it was read from the store, with what its type says of it.
#[derive(Debug)]
pub(crate) struct LoadedCommand {
    pub(crate) entity: CommandEntity,
    pub(crate) spec: &'static Spec,
    pub(crate) locks: LockProperties,
    /// How it is retried, where its parent said so.
    pub(crate) retry: Option<Retry>,
    /// Its parameters as they are compared; none where they could not be stored.
    pub(crate) canonical: Option<Value>,
}

/// What is stored of a flow's requests: what was asked by position, what had ended by end order.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) requests: Vec<(i32, StoredRequest)>,
    pub(crate) outcomes: Vec<(i64, i32, Ended)>,
    /// The sleeps that have not ended, with the time when they do.
    pub(crate) sleeps: Vec<(i32, Timestamp)>,
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
    Refuse { ticket: u64, refusal: Box<Refusal> },
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
    /// Tell the code of a leaf that it is cancelled, and drop it when it does not end soon.
    Cancel { command: CommandId },
    /// Undo something for a command that has failed.
    Undo(Box<UndoRun>),
    /// Say [`Happened::Due`] at this time.
    WakeAt { at: Address, when: Timestamp },
    /// Do not say [`Happened::Due`] at this time any more.
    Disarm { command: CommandId, when: Timestamp },
    /// A root is stored that is not admitted.
    NoRoom { root: CommandId },
    /// Say [`Happened::Rest`].
    Rest { root: CommandId, rest: u64 },
    /// The tree has left, though it has not ended: it waits for an alarm or an operator.
    Rested { root: CommandId },
    /// Read what is stored of a stuck flow's requests.
    Reload { at: Address, ticket: Option<u64> },
    /// The root is terminal.
    Ended { root: CommandId, result: Result<Arc<str>, Box<Failure>> },
    /// Something of the tree cannot go on by itself.
    Stuck { at: Address, reason: Box<Failure> },
    /// Nothing of the tree is stuck any more.
    Unstuck { root: CommandId },
    /// Steps are held for a poll: say [`Happened::Flush`] with this number when it takes long.
    Held { root: CommandId, hold: u64 },
}

/// Why a caller got nothing.
#[derive(Debug)]
pub(crate) enum Refusal {
    Locks(LockRefusal),
    LockTimedOut(LockTimedOut),
    Duplicate(CommandId),
    NotStuck(CommandId),
    AlreadyEnded(CommandId),
    OpenChildren { command: CommandId, open: usize },
}

/// A method to run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) at: Address,
    pub(crate) name: &'static str,
    /// The JSON to decode it from.
    pub(crate) fields: Arc<str>,
    pub(crate) attempt: i32,
    /// How often this hook has failed.
    pub(crate) hook_attempt: i32,
    pub(crate) parent: Option<Parent>,
    /// What it says about its locks, which it holds since it began.
    pub(crate) locks: Arc<LockProperties>,
    /// The position of the next child that it starts, where it is no flow.
    pub(crate) next_position: i32,
    pub(crate) kind: RunKind,
}

/// Something to undo for a command that has failed.
#[derive(Debug)]
pub(crate) struct UndoRun {
    /// The command that has failed.
    pub(crate) at: Address,
    pub(crate) hook_attempt: i32,
    pub(crate) undoing: Undoing,
}

/// Something that may have to be undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undoing {
    /// A succeeded command, by its own `compensate`.
    Command(CommandId),
    /// What a command registered, by the undo command that it named.
    Entry { command: CommandId, position: i32, entry: Entry },
}

/// Which method, and how.
#[derive(Debug)]
pub(crate) enum RunKind {
    /// `validate` and `execute` of what is no flow.
    Leaf,
    /// A round.
    Round(Call),
    /// A round for what is in its inbox.
    Inbox(Box<Round>),
    /// Its open tasks are asked, by their positions. `stop`: they are told to stop before.
    Tasks { open: Vec<(i32, Arc<str>)>, stop: bool },
    /// Its tasks are cleared.
    Clear(Vec<Arc<str>>),
    /// A flow. `replaying`: something of an earlier run is stored, so it is past its `validate`.
    Flow { created_at: Timestamp, replaying: bool },
    /// An end hook, or `compensate` of a command that has failed.
    Hook(Call),
}

impl Undoable {
    /// What a row says of undo, where the command has succeeded and is not undone.
    pub(crate) fn of(row: &CommandEntity) -> Option<Self> {
        let progress = &row.progress;
        let has_succeeded = progress.status == CommandStatus::EndedSuccessfully;
        if !has_succeeded || progress.compensated_at.is_some() {
            return None;
        }
        Some(Self {
            id: row.command_id,
            parent: row.parent_command_id?,
            end_order: progress.end_order?,
            undo: progress.undo?,
        })
    }
}

impl Happened {
    /// True when code that is no flow is over.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Ran { .. }
                | Self::RoundOver(_)
                | Self::NoEvents
                | Self::TasksAsked(_)
                | Self::Hooked(_)
        )
    }

    /// Who waits for an answer.
    pub(crate) const fn ticket(&self) -> Option<u64> {
        match self {
            Self::Retry { ticket }
            | Self::Replay { ticket: Some(ticket), .. }
            | Self::Abandon { ticket, .. }
            | Self::Cancel { ticket, .. }
            | Self::Registers { ticket, .. }
            | Self::AsksLock { ticket, .. }
            | Self::Subscribes { ticket, .. }
            | Self::AddsTask { ticket, .. }
            | Self::Duplicate { ticket, .. } => Some(*ticket),
            _ => None,
        }
    }

    /// The answer when the command is not here.
    pub(super) fn refuse_absent(&self, at: Address, turn: &mut Turn<'_>) {
        if let Self::Duplicate { ticket, taken } = self {
            return turn.refuse(*ticket, Refusal::Duplicate(*taken));
        }
        let is_end = matches!(
            self,
            Self::Cancel { .. }
                | Self::Registers { .. }
                | Self::AsksLock { .. }
                | Self::Subscribes { .. }
                | Self::AddsTask { .. }
        );
        let refusal = if is_end { Refusal::AlreadyEnded } else { Refusal::NotStuck };
        if let Some(ticket) = self.ticket() {
            turn.refuse(ticket, refusal(at.command));
        }
    }
}

/// The name of a stored command or step.
pub(crate) type StoredName = Cow<'static, str>;
