//! The task that owns the machine.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::body::Body;
use super::commit::{InFlight, Queue};
use super::drive::FlowMessage;
use super::reload::{Read, ReadWhy, Reloading};
use super::tasks::{Task, Tasks};
use super::watch::{Standing, Watchers};
use crate::command::Spec;
use crate::context::Resources;
use crate::erased::Reply;
use crate::error::{EngineError, Error, Result};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::Lock;
use crate::machine::{
    Address, Effect, Happened, Input, Load, Machine, Output, Refusal, Run, RunKind, Submit,
};
use crate::recovery::Quarantine;
use crate::registry::Registry;
use crate::store::{CommitError, Lease, Outcome, Store};

/// How long the steps of a tree wait for the poll of a flow.
const LONGEST_HOLD: Duration = Duration::from_millis(10);

/// How often the engine steps back for others before it begins the next commit.
const MOST_YIELDS: usize = 32;

/// No stop waits longer: ten years.
const LONGEST_STOP: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long a stop waits for the store when the time of the leaves is over.
const LAST_COMMITS: Duration = Duration::from_secs(5);

/// What a caller asks of the engine.
pub(crate) enum Request {
    Submit { submit: NewRoot, reply: oneshot::Sender<Result<watch::Receiver<Standing>>> },
    Watch { root: CommandId, reply: oneshot::Sender<Option<watch::Receiver<Standing>>> },
    Retry { at: Address, reply: oneshot::Sender<Result<()>> },
    Load { loads: Vec<Load>, quarantined: Vec<Quarantine> },
    Stop { within: Duration, reply: oneshot::Sender<()> },
}

/// A root to submit.
pub(crate) struct NewRoot {
    pub(crate) id: CommandId,
    pub(crate) spec: Spec,
    pub(crate) parameters: Arc<str>,
    pub(crate) locks: Vec<Lock>,
}

pub(crate) struct Engine {
    pub(super) machine: Machine,
    pub(super) store: Arc<dyn Store>,
    lease: Arc<Lease>,
    pub(super) registry: Arc<Registry>,
    resources: Arc<Resources>,
    pub(super) queue: Queue,
    pub(super) tasks: Tasks,
    pub(super) watchers: Watchers,
    pub(super) callers: HashMap<u64, Caller>,
    tickets: u64,
    /// Held steps, by the time at which they are to go.
    held: VecDeque<(Instant, CommandId, u64)>,
    /// What happens to trees that are being read again.
    pub(super) reloading: HashMap<CommandId, Reloading>,
    inputs: mpsc::UnboundedSender<(Address, Happened)>,
    pub(super) reads: mpsc::UnboundedSender<Read>,
    stopping: Option<Stopping>,
    outputs: Vec<Output>,
}

pub(super) enum Caller {
    Submit(CommandId, oneshot::Sender<Result<watch::Receiver<Standing>>>),
    Retry(oneshot::Sender<Result<()>>),
}

struct Stopping {
    deadline: Instant,
    /// The time of the leaves is over; what is left is for the store.
    is_over: bool,
    reply: oneshot::Sender<()>,
}

/// Where the engine hears from others.
pub(crate) struct Ears {
    requests: mpsc::Receiver<Request>,
    inputs: mpsc::UnboundedReceiver<(Address, Happened)>,
    reads: mpsc::UnboundedReceiver<Read>,
}

impl Engine {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lease: Lease,
        registry: Arc<Registry>,
        resources: Arc<Resources>,
        requests: mpsc::Receiver<Request>,
    ) -> (Self, Ears) {
        let (inputs, heard_inputs) = mpsc::unbounded_channel();
        let (reads, heard_reads) = mpsc::unbounded_channel();
        let engine = Self {
            machine: Machine::default(),
            store,
            lease: Arc::new(lease),
            registry,
            resources,
            queue: Queue::default(),
            tasks: Tasks::default(),
            watchers: Watchers::default(),
            callers: HashMap::new(),
            tickets: 0,
            held: VecDeque::new(),
            reloading: HashMap::new(),
            inputs,
            reads,
            stopping: None,
            outputs: Vec::new(),
        };
        (engine, Ears { requests, inputs: heard_inputs, reads: heard_reads })
    }

    /// Runs until it is stopped, or has lost the store.
    pub(crate) async fn run(mut self, mut ears: Ears) {
        let mut in_flight: Option<InFlight> = None;
        loop {
            self.take_what_waits(&mut ears);
            if in_flight.is_none() {
                in_flight = self.next_commit();
            }
            if in_flight.is_none() && self.is_stopped() {
                break;
            }
            let deadline = self.next_deadline();
            let deadline = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                done = committing(&mut in_flight), if in_flight.is_some() => {
                    let Some(batch) = in_flight.take() else { continue };
                    if let Err(error) = self.committed(batch, done) {
                        tracing::error!(%error, "the engine stops");
                        break;
                    }
                    self.collect(&mut ears).await;
                }
                Some((at, happened)) = ears.inputs.recv() => self.happened(at, happened),
                Some(read) = ears.reads.recv() => self.was_read(read),
                Some(request) = ears.requests.recv() => self.requested(request),
                () = deadline => {
                    if self.deadline_passed() {
                        tracing::warn!("the engine stops with steps that the store did not take");
                        break;
                    }
                }
            }
        }
        drop(in_flight);
        self.close().await;
    }

    /// Lets what a commit has set free run, so that it joins the next batch: as long as something
    /// new comes, and not for long.
    async fn collect(&mut self, ears: &mut Ears) {
        for _ in 0..MOST_YIELDS {
            step_back().await;
            if !self.take_what_waits(ears) {
                break;
            }
        }
    }

    /// Takes what others have said since. True when there was something.
    fn take_what_waits(&mut self, ears: &mut Ears) -> bool {
        let mut took = false;
        while let Ok((at, happened)) = ears.inputs.try_recv() {
            self.happened(at, happened);
            took = true;
        }
        for _ in 0..ears.requests.len() {
            if let Ok(request) = ears.requests.try_recv() {
                self.requested(request);
                took = true;
            }
        }
        took
    }

    fn requested(&mut self, request: Request) {
        match request {
            Request::Submit { reply, .. } if self.stopping.is_some() => {
                let _ = reply.send(Err(EngineError::Shutdown.into()));
            }
            Request::Submit { submit, reply } => {
                let NewRoot { id, spec, parameters, locks } = submit;
                let ticket = self.ticket(Caller::Submit(id, reply));
                self.tell(Input::Submit(Submit { id, ticket, spec, parameters, locks }));
            }
            Request::Watch { root, reply } => {
                let _ = reply.send(self.watchers.watch_open(root));
            }
            Request::Retry { at, reply } => {
                let ticket = self.ticket(Caller::Retry(reply));
                self.happened(at, Happened::Retry { ticket });
            }
            Request::Load { loads, quarantined } => {
                for quarantine in quarantined {
                    self.watchers.stuck(quarantine.root, quarantine.command, quarantine.reason);
                }
                for load in loads {
                    self.watchers.open(load.root);
                    self.tell(Input::Load(Box::new(load)));
                }
            }
            Request::Stop { within, reply } => {
                let deadline = Instant::now() + within.min(LONGEST_STOP);
                self.stopping = Some(Stopping { deadline, is_over: false, reply });
                self.tell(Input::Stop);
            }
        }
    }

    fn ticket(&mut self, caller: Caller) -> u64 {
        self.tickets += 1;
        self.callers.insert(self.tickets, caller);
        self.tickets
    }

    pub(super) fn happened(&mut self, at: Address, what: Happened) {
        match &what {
            Happened::Ran { attempt, .. } => self.tasks.over(at.command, Some(*attempt)),
            Happened::Hooked(_) => self.tasks.over(at.command, None),
            Happened::Polled { attempt, polled } if polled.end.is_some() => {
                self.tasks.over(at.command, Some(*attempt));
            }
            _ => {}
        }
        match self.reloading.get_mut(&at.root) {
            Some(reloading) => reloading.happened.push((at, what)),
            None => self.tell(Input::Of { at, what }),
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.machine.handle(SystemTime::now().into(), input, &mut outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Do(effect) => self.perform(effect),
                Output::Store(step, effects) => self.queue.push(step, effects),
            }
        }
        self.outputs = outputs;
    }

    fn next_commit(&mut self) -> Option<InFlight> {
        loop {
            let free = self.queue.take_free();
            if free.is_empty() {
                break;
            }
            self.let_go(free);
        }
        (!self.queue.is_empty()).then(|| self.queue.begin(&self.store, &self.lease))
    }

    /// The one place that lets effects go. Their steps are durable: committed, or without writes
    /// and behind nothing that is not.
    fn let_go(&mut self, effects: Vec<Effect>) {
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn committed(
        &mut self,
        batch: InFlight,
        done: Result<Vec<Outcome>, CommitError>,
    ) -> Result<(), CommitError> {
        let InFlight { steps, effects, .. } = batch;
        let outcomes = done?;
        let mut skipped = Vec::new();
        for ((step, effects), outcome) in steps.iter().zip(effects).zip(outcomes) {
            let at = Address { root: step.root, command: step.command };
            match outcome {
                Outcome::Applied => {
                    if step.request.is_some() {
                        self.happened(at, Happened::Granted);
                    }
                    self.let_go(effects);
                }
                Outcome::Conflict(conflict) => {
                    let ticket = ticket_of(&effects);
                    self.happened(at, Happened::Refused { ticket, conflict });
                }
                Outcome::Rejected(reason) => self.rejected(step, &effects, reason),
                Outcome::Skipped => skipped.push((step.clone(), effects)),
            }
        }
        for (step, effects) in skipped {
            self.skipped(step, &effects);
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Accept { ticket } => match self.callers.remove(&ticket) {
                Some(Caller::Submit(root, reply)) => {
                    // The caller may have gone; the command is stored all the same.
                    self.watchers.open(root);
                    let standing = self.watchers.watch_open(root);
                    let _ = reply.send(standing.ok_or_else(|| EngineError::Shutdown.into()));
                }
                Some(Caller::Retry(reply)) => {
                    let _ = reply.send(Ok(()));
                }
                None => {}
            },
            Effect::Refuse { ticket, refusal } => {
                if let Some(caller) = self.callers.remove(&ticket) {
                    caller.refuse(match refusal {
                        Refusal::Conflict(conflict) => conflict.into(),
                        Refusal::NotStuck(command) => EngineError::NotStuck(command).into(),
                    });
                }
            }
            Effect::Run(run) => self.start(*run),
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
            Effect::Reload { at, ticket } => self.read(at.root, ReadWhy::Replay { at, ticket }),
            Effect::Ended { root, result } => self.watchers.ended(root, result),
            Effect::Stuck { at, reason } => {
                tracing::error!(command = %at.command, root = %at.root, %reason, "a command is stuck");
                self.watchers.stuck(at.root, at.command, reason);
            }
            Effect::Unstuck { root } => self.watchers.unstuck(root),
            Effect::Held { root, hold } => {
                self.held.push_back((Instant::now() + LONGEST_HOLD, root, hold));
            }
        }
    }

    /// Starts user code. Once the engine stops, only a leaf that is stored as active is started.
    fn start(&mut self, run: Run) {
        let is_flow = matches!(run.kind, RunKind::Flow { .. });
        let is_leaf = matches!(run.kind, RunKind::Leaf);
        let Some(descriptor) = self.registry.get(run.name) else {
            let message = format!("no command `{}` is registered in this program", run.name);
            let failure = Failure::new(FailureKind::Undecodable, message).of(run.at.command);
            let over = run.over(Reply { refused: true, ..Reply::failed(failure) });
            return drop(self.inputs.send((run.at, over)));
        };
        if self.stopping.is_some() && !is_leaf {
            return;
        }
        let (messages, outcomes) = is_flow.then(mpsc::unbounded_channel).unzip();
        let (at, attempt) = (run.at, run.attempt);
        let (resources, inputs) = (Arc::clone(&self.resources), self.inputs.clone());
        let before = self.tasks.take_ending(at.command);
        let body = Body { before, run, descriptor, resources, outcomes, inputs };
        let join = tokio::spawn(body.run());
        self.tasks.insert(at.command, Task { root: at.root, attempt, messages, join });
    }

    fn next_deadline(&self) -> Option<Instant> {
        let hold = self.held.front().map(|(at, ..)| *at);
        let stop = self.stopping.as_ref().map(|stopping| stopping.deadline);
        hold.into_iter().chain(stop).min()
    }

    /// True when the engine must not wait any longer.
    fn deadline_passed(&mut self) -> bool {
        let now = Instant::now();
        while let Some((_, root, hold)) = self.held.pop_front_if(|(at, ..)| *at <= now) {
            let at = Address { root, command: root };
            self.tell(Input::Of { at, what: Happened::Flush { hold } });
        }
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| stopping.deadline <= now)
        else {
            return false;
        };
        stopping.deadline = now + LAST_COMMITS;
        self.tasks.clear();
        std::mem::replace(&mut stopping.is_over, true)
    }

    fn is_stopped(&self) -> bool {
        let is_idle = self.tasks.is_empty() && self.queue.is_empty() && self.reloading.is_empty();
        self.stopping.is_some() && is_idle
    }

    async fn close(mut self) {
        self.tasks.clear();
        self.watchers.stop();
        self.callers.clear();
        if tokio::time::timeout(LAST_COMMITS, self.tasks.ended()).await.is_err() {
            tracing::warn!("code of commands goes on after the engine has stopped");
        }
        let Some(Stopping { reply, .. }) = self.stopping else { return };
        let released = match Arc::try_unwrap(self.lease) {
            Ok(lease) => self.store.release(lease, true).await.map_err(|error| error.to_string()),
            Err(_) => Err("a commit is still in flight".to_owned()),
        };
        if let Err(reason) = released {
            tracing::warn!(reason, "the store is not released; the next start counts a death");
        }
        let _ = reply.send(());
    }
}

impl Caller {
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Submit(_, reply) => drop(reply.send(Err(error))),
            Self::Retry(reply) => drop(reply.send(Err(error))),
        }
    }
}

pub(super) fn ticket_of(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Accept { ticket } | Effect::Reload { ticket, .. } => Some(*ticket),
        _ => None,
    })
}

/// Lets others run first. Not `yield_now`: that leaves the task to a worker that user code may
/// block, where this one can be taken over by another.
async fn step_back() {
    let mut is_back = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_back, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn committing(in_flight: &mut Option<InFlight>) -> Result<Vec<Outcome>, CommitError> {
    match in_flight {
        Some(batch) => batch.done.as_mut().await,
        None => std::future::pending().await,
    }
}
