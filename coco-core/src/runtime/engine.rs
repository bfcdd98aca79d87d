//! The task that owns the machine.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::admission::{Admission, Page};
use super::alarms::Alarms;
use super::body::{World, leaf_asks};
use super::clock::Clock;
use super::commit::{InFlight, Queue, Queued};
use super::effects::{Caller, ticket_of};
use super::hands::Said;
use super::outages::Outages;
use super::reload::{Read, Reloading};
use super::request::{Line, Offer, Request};
use super::tasks::{Code, Tasks};
use super::watch::Watchers;
use crate::context::Resources;
use crate::context::leaf::LeafAsk;
use crate::error::Result;
use crate::id::CommandId;
use crate::lock::{Grant, LockRefusal};
use crate::machine::{self, Address, Effect, Entry, Happened, Input, Machine, Output};
use crate::recovery::StartReport;
use crate::registry::Registry;
use crate::store::{CommitError, Committed, Lease, Outcome, Step, Store, StoreError};

/// Submits that wait while the engine is busy, and steps that wait before it takes more of them.
const SUBMIT_QUEUE: usize = 1024;

/// How often the engine steps back for others before it begins the next commit.
const MOST_YIELDS: usize = 32;

/// No stop waits longer: ten years.
const LONGEST_STOP: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long a stop waits for the store when the time of the leaves is over.
const LAST_COMMITS: Duration = Duration::from_secs(5);

/// What a program chose for its engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) machine: machine::Settings,
    pub(crate) cancel_grace: Duration,
    pub(crate) clock: Clock,
}

/// What the code of commands says.
pub(super) enum Heard {
    Happened(Address, Happened),
    Asked { at: Address, attempt: i32, ask: LeafAsk },
}

pub(crate) struct Engine {
    pub(super) machine: Machine,
    pub(super) store: Arc<dyn Store>,
    pub(super) lease: Arc<Lease>,
    pub(super) registry: Arc<Registry>,
    pub(super) world: Arc<World>,
    pub(super) settings: Settings,
    pub(super) queue: Queue,
    pub(super) tasks: Tasks,
    pub(super) watchers: Watchers,
    pub(super) callers: FxHashMap<u64, Caller>,
    pub(super) tickets: u64,
    /// Held steps, by the time at which they are to go.
    pub(super) held: VecDeque<(Instant, CommandId, u64)>,
    pub(super) alarms: Alarms,
    pub(super) admission: Admission,
    /// What happens to trees that are being read again.
    pub(super) reloading: HashMap<CommandId, Reloading>,
    /// How often in a row the store has refused what is to be stored of a command.
    pub(super) refused: HashMap<CommandId, u32>,
    pub(super) reads: mpsc::UnboundedSender<Result<Read, StoreError>>,
    pub(super) pages: mpsc::UnboundedSender<Page>,
    pub(super) stopping: Option<Stopping>,
    outputs: Vec<Output>,
    said: Vec<Said>,
    /// What was read of the store says that it is damaged.
    pub(super) damage: Option<StoreError>,
}

pub(super) struct Stopping {
    deadline: Instant,
    /// The time of the leaves is over; what is left is for the store.
    is_over: bool,
    reply: oneshot::Sender<()>,
}

/// Where the engine hears from others.
pub(crate) struct Ears {
    submits: mpsc::Receiver<Offer>,
    requests: mpsc::UnboundedReceiver<Request>,
    inputs: mpsc::UnboundedReceiver<Heard>,
    reads: mpsc::UnboundedReceiver<Result<Read, StoreError>>,
    pages: mpsc::UnboundedReceiver<Page>,
}

impl Engine {
    /// An engine that owns the store; `started` hears what it found there.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        lease: Lease,
        registry: Arc<Registry>,
        resources: Arc<Resources>,
        settings: Settings,
        started: oneshot::Sender<Result<StartReport>>,
    ) -> (Self, Ears, Line) {
        let (submits, heard_submits) = mpsc::channel(SUBMIT_QUEUE);
        let (requests, heard_requests) = mpsc::unbounded_channel();
        let (inputs, heard_inputs) = mpsc::unbounded_channel();
        let (reads, heard_reads) = mpsc::unbounded_channel();
        let (pages, heard_pages) = mpsc::unbounded_channel();
        let boundary = CommandId::from_uuid(Uuid::now_v7());
        let leaf_asks = leaf_asks(inputs.clone());
        let outages = Outages::new(settings.clock);
        let store_of_code = Arc::clone(&store);
        let world =
            World { store: store_of_code, resources, inputs, leaf_asks, outages: outages.clone() };
        let engine = Self {
            machine: Machine::new(settings.machine),
            store,
            admission: Admission::new(boundary, !lease.clean, started),
            lease: Arc::new(lease),
            registry,
            world: Arc::new(world),
            settings,
            queue: Queue::default(),
            tasks: Tasks::new(),
            watchers: Watchers::default(),
            callers: FxHashMap::default(),
            tickets: 0,
            held: VecDeque::new(),
            alarms: Alarms::default(),
            reloading: HashMap::new(),
            refused: HashMap::new(),
            reads,
            pages,
            stopping: None,
            outputs: Vec::new(),
            said: Vec::new(),
            damage: None,
        };
        let ears = Ears {
            submits: heard_submits,
            requests: heard_requests,
            inputs: heard_inputs,
            reads: heard_reads,
            pages: heard_pages,
        };
        (engine, ears, Line { submits, requests, outages })
    }

    /// Runs until it is stopped, or has lost the store.
    pub(crate) async fn run(mut self, mut ears: Ears) {
        let mut in_flight: Option<InFlight> = None;
        let mut lost = Box::pin(lost(Arc::clone(&self.store), Arc::clone(&self.lease)));
        loop {
            self.take_what_waits(&mut ears);
            if in_flight.is_none() {
                in_flight = self.next_commit();
            }
            // Behind what the next commit sets free at once: a tree that rests makes room.
            self.admit();
            if in_flight.is_none() && self.is_stopped() {
                break;
            }
            if let Some(error) = &self.damage {
                tracing::error!(%error, "the engine stops");
                break;
            }
            self.tasks.hands.begin();
            let deadline = self.next_deadline();
            let deadline = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut lost => {
                    tracing::error!(error = %CommitError::Lost, "the engine stops");
                    break;
                }
                done = committing(&mut in_flight), if in_flight.is_some() => {
                    let Some(batch) = in_flight.take() else { continue };
                    if let Err(error) = self.committed(batch, done) {
                        tracing::error!(%error, "the engine stops");
                        break;
                    }
                    self.collect(&mut ears).await;
                }
                Some(heard) = ears.inputs.recv() => self.heard(heard),
                () = self.tasks.hands.heard() => {}
                Some(read) = ears.reads.recv() => match read {
                    Ok(read) => self.was_read(read),
                    Err(damage) => self.damage = Some(damage),
                },
                Some(page) = ears.pages.recv() => self.page_was_read(page),
                Some(request) = ears.requests.recv() => self.requested(request),
                Some(offer) = ears.submits.recv(), if self.takes_submits() => {
                    self.offered(offer);
                }
                () = deadline => {
                    if self.deadline_passed() {
                        tracing::warn!("the engine stops with steps that the store did not take");
                        break;
                    }
                    if in_flight.is_none() {
                        in_flight = self.next_commit();
                    }
                    if in_flight.is_none() {
                        self.collect(&mut ears).await;
                    }
                }
            }
        }
        drop((in_flight, lost));
        self.close().await;
    }

    /// Lets what was set free together run, by a commit or as its time has come, so that it joins
    /// the next batch: as long as something new comes, and not for long.
    async fn collect(&mut self, ears: &mut Ears) {
        for _ in 0..MOST_YIELDS {
            self.tasks.hands.begin();
            step_back().await;
            if !self.take_what_waits(ears) {
                break;
            }
        }
    }

    /// Takes what others have said since. True when there was something.
    fn take_what_waits(&mut self, ears: &mut Ears) -> bool {
        let mut said = std::mem::take(&mut self.said);
        self.tasks.hands.take_said(&mut said);
        let mut took = !said.is_empty();
        // What a round has asked comes before what became of it.
        while let Ok(heard) = ears.inputs.try_recv() {
            self.heard(heard);
            took = true;
        }
        for (at, what) in said.drain(..) {
            self.happened(at, what);
        }
        self.said = said;
        while let Ok(request) = ears.requests.try_recv() {
            self.requested(request);
            took = true;
        }
        for _ in 0..ears.submits.len() {
            if !self.takes_submits() {
                break;
            }
            if let Ok(offer) = ears.submits.try_recv() {
                self.offered(offer);
                took = true;
            }
        }
        took
    }

    /// Submits wait while many steps do; steps that are born in the machine never wait for them.
    fn takes_submits(&self) -> bool {
        self.queue.len() < SUBMIT_QUEUE
    }

    pub(super) fn stop(&mut self, within: Duration, reply: oneshot::Sender<()>) {
        let deadline = Instant::now() + within.min(LONGEST_STOP);
        self.alarms.clear();
        self.stopping = Some(Stopping { deadline, is_over: false, reply });
        self.tell(Input::Stop);
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Happened(at, what) => self.happened(at, what),
            Heard::Asked { at, attempt, ask: LeafAsk::Register { name, parameters, reply } } => {
                let ticket = self.ticket(Caller::Other(reply));
                let entry = Entry { name: name.into(), parameters };
                self.happened(at, Happened::Registers { attempt, ticket, entry });
            }
            Heard::Asked { at, attempt, ask: LeafAsk::Subscribe { key, reply } } => {
                let ticket = self.ticket(Caller::Other(reply));
                self.happened(at, Happened::Subscribes { attempt, ticket, key });
            }
            Heard::Asked { at, attempt, ask: LeafAsk::Task { task, reply } } => {
                let ticket = self.ticket(Caller::Other(reply));
                self.happened(at, Happened::AddsTask { attempt, ticket, task });
            }
            Heard::Asked { at, attempt, ask: LeafAsk::Lock { lock, reply } } => {
                let ticket = self.ticket(Caller::Other(reply));
                self.happened(at, Happened::AsksLock { attempt, ticket, lock });
            }
        }
    }

    pub(super) fn happened(&mut self, at: Address, what: Happened) {
        match &what {
            Happened::Ran { attempt, .. } => self.tasks.over(at.command, Code::Leaf(*attempt)),
            Happened::RoundOver(_) | Happened::NoEvents | Happened::TasksAsked(_) => {
                self.tasks.over(at.command, Code::Round);
            }
            Happened::Hooked(_) => self.tasks.over(at.command, Code::Hook),
            Happened::Polled { attempt, polled } if polled.end.is_some() => {
                self.tasks.over(at.command, Code::Flow(*attempt));
            }
            _ => {}
        }
        if let Some(reloading) = self.reloading.get_mut(&at.root) {
            reloading.happens(at, what);
        } else if self.is_about_absent(at, &what) {
            self.bring_back(at, what);
        } else {
            self.tell(Input::Of { at, what });
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.machine.handle(self.settings.clock.now(), input, &mut outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Do(effect) => self.perform(effect),
                Output::Store(step, effects) => self.queue.push(step, effects),
            }
        }
        self.outputs = outputs;
        self.admission.left(self.machine.take_left());
    }

    fn next_commit(&mut self) -> Option<InFlight> {
        while let Some(free) = self.queue.take_free() {
            self.let_go(free);
        }
        (!self.queue.is_empty())
            .then(|| self.queue.begin(&self.store, &self.lease, &self.world.outages))
    }

    /// The one place that lets effects go. Their steps are durable: committed, or without writes
    /// and behind nothing that is not.
    fn let_go(&mut self, effects: Vec<Effect>) {
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn committed(
        &mut self,
        batch: InFlight,
        done: Result<Committed, CommitError>,
    ) -> Result<(), CommitError> {
        let InFlight { steps, effects, .. } = batch;
        let Committed { outcomes, granted, delivered } = done?;
        self.queue.committed();
        self.count_deliveries(&effects, &delivered);
        let (mut rejected, mut skipped) = (Vec::new(), Vec::new());
        for ((step, effects), outcome) in steps.iter().zip(effects).zip(outcomes) {
            let at = Address { root: step.root, command: step.command };
            match outcome {
                Outcome::Applied => {
                    if !self.refused.is_empty() {
                        self.refused.remove(&step.command);
                    }
                    if step.is_refusable() {
                        let number = step.request_number();
                        self.happened(at, Happened::Granted { number });
                    }
                    self.let_go(effects);
                }
                Outcome::Conflict(conflict) => self.refused(step, &effects, conflict.into()),
                Outcome::WouldDeadlock(cycle) => self.refused(step, &effects, cycle.into()),
                Outcome::Queued { until } => {
                    let number = step.request_number();
                    self.happened(at, Happened::Queued { number, until });
                }
                Outcome::Rejected(reason) => rejected.push((step, effects, reason)),
                Outcome::Duplicate(taken) => {
                    if let Some(ticket) = ticket_of(&effects) {
                        self.happened(at, Happened::Duplicate { ticket, taken });
                    }
                }
                Outcome::Skipped => skipped.push((step.clone(), effects)),
            }
        }
        // Each with what was skipped behind it, which is older than what still waits in the queue.
        for (step, effects, reason) in rejected {
            let behind =
                skipped.extract_if(.., |(behind, _): &mut Queued| behind.root == step.root);
            let behind = behind.collect();
            self.rejected(step, &effects, reason, behind);
        }
        for Grant { root, command, number } in granted {
            self.happened(Address { root, command }, Happened::HasLocks { number });
        }
        // In a storm one command has many of a batch.
        let have_events: BTreeSet<_> =
            delivered.iter().map(|delivered| (delivered.root, delivered.command)).collect();
        for (root, command) in have_events {
            self.happened(Address { root, command }, Happened::HasEvents);
        }
        Ok(())
    }

    fn refused(&mut self, step: &Step, effects: &[Effect], refusal: LockRefusal) {
        let at = Address { root: step.root, command: step.command };
        let (ticket, number) = (ticket_of(effects), step.request_number());
        self.happened(at, Happened::Refused { ticket, number, refusal });
    }

    fn next_deadline(&self) -> Option<Instant> {
        let hold = self.held.front().map(|(at, ..)| *at);
        let stop = self.stopping.as_ref().map(|stopping| stopping.deadline);
        let alarm = self.alarms.pause(self.settings.clock.now());
        let alarm = alarm.map(|pause| Instant::now() + self.settings.clock.wait(pause));
        let hands = self.tasks.hands.deadline();
        hold.into_iter().chain(stop).chain(alarm).chain(hands).min()
    }

    /// True when the engine must not wait any longer.
    fn deadline_passed(&mut self) -> bool {
        let now = Instant::now();
        self.tasks.hands.look_after(now);
        while let Some((_, root, hold)) = self.held.pop_front_if(|(at, ..)| *at <= now) {
            let at = Address { root, command: root };
            self.tell(Input::Of { at, what: Happened::Flush { hold } });
        }
        let time = self.settings.clock.now();
        while let Some((at, when)) = self.alarms.pop(time) {
            self.happened(at, Happened::Due(when));
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

/// Lets others run first. Not `yield_now`: that leaves the task to a worker that user code may
/// block, where this one can be taken over by another.
pub(super) async fn step_back() {
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

/// The store says so without being asked for a commit.
async fn lost(store: Arc<dyn Store>, lease: Arc<Lease>) {
    store.lost(&lease).await;
}

async fn committing(in_flight: &mut Option<InFlight>) -> Result<Committed, CommitError> {
    match in_flight {
        Some(batch) => batch.done.as_mut().await,
        None => std::future::pending().await,
    }
}
