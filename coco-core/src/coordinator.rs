//! What a program holds: it starts the engine, submits commands and stops it.

mod handle;
mod locks;
mod publish;
mod why;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use self::handle::CommandHandle;
pub use self::locks::Locks;
use crate::command::{Command, Descriptor, lock_properties};
use crate::context::Resources;
use crate::entity::{Audit, CommandEntity};
use crate::error::{EngineError, Result};
use crate::id::CommandId;
use crate::lock::storable_keys;
use crate::machine::{self, Address, Submit};
use crate::recovery::StartReport;
use crate::registry::Registry;
use crate::retry::Retry;
use crate::runtime::clock::Clock;
use crate::runtime::engine::{Engine, Settings};
pub use crate::runtime::outages::StoreState;
use crate::runtime::request::{Line, NewSubmit, Offer, Operation, Request, Submitted};
use crate::runtime::watch::Standing;
use crate::status::CommandStatus;
use crate::storable::storable_text;
use crate::store::{EngineId, Lease, Store};
use crate::time::Timestamp;

/// Trees that are in memory at a time, unless the program says otherwise.
const MOST_TREES: usize = 10_000;
/// How long [`Coordinator::shutdown`] waits for leaves that run.
const SHUTDOWN: Duration = Duration::from_secs(30);
/// For a wait that is no longer a tree stays in memory.
const SHORT_WAIT: Duration = Duration::from_secs(60);
/// How long a leaf has to end when it is cancelled, unless the program says otherwise.
const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// How end hooks and undo are tried again, unless the program says otherwise.
const HOOK_RETRY: Retry = Retry::new(5).backoff(Duration::from_secs(1));

/// The engine of a program. Clones are the same engine; when the last one is dropped without
/// [`Coordinator::shutdown`], the engine stops as if the process had died.
#[derive(Clone)]
pub struct Coordinator(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    line: Line,
    engine: JoinHandle<()>,
    clock: Clock,
    registry: Arc<Registry>,
    engine_id: EngineId,
    report: StartReport,
}

/// How a root is submitted.
#[derive(Default)]
struct How {
    key: Option<Arc<str>>,
    start_at: Option<Timestamp>,
    again: Option<(CommandId, CommandStatus)>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// Prepares a [`Coordinator`].
pub struct Builder {
    store: Arc<dyn Store>,
    resources: Resources,
    registered: Vec<&'static Descriptor>,
    settings: Settings,
}

impl Builder {
    /// Gives the commands a resource: they reach it with `needs(T)` and `cx.get::<T>()`. A
    /// second value of the same type takes the place of the first.
    #[must_use]
    pub fn provide<T: Any + Send + Sync>(mut self, resource: T) -> Self {
        self.resources.insert(resource);
        self
    }

    /// Registers a command by hand, where link-time registration does not reach: plug-ins, wasm.
    #[must_use]
    pub fn register<C: Command>(mut self) -> Self {
        self.registered.push(C::DESCRIPTOR);
        self
    }

    /// How end hooks and undo are tried again when they fail; after the last attempt the command
    /// is stuck. Without it 5 attempts, the first pause 1 second, each double the one before.
    #[must_use]
    pub fn hook_retry(mut self, retry: Retry) -> Self {
        self.settings.machine.hook_retry = retry;
        self
    }

    /// How many trees are in memory at a time, at least 1; others wait in the store, the oldest
    /// first. Without it 10,000. A tree in which everything waits for a time or an operator does
    /// not count.
    #[must_use]
    pub fn most_trees(mut self, most: usize) -> Self {
        self.settings.machine.most_trees = most.max(1);
        self
    }

    /// How long a leaf that is cancelled, or whose time is out, has to end by itself before its
    /// future is dropped. Without it 10 seconds.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.settings.cancel_grace = grace;
        self
    }

    /// For tests: what is to happen at a time happens by tokio's clock, which can be paused.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn on_tokio_time(self) -> Self {
        self.with_clock(Clock::tokio())
    }

    /// Engines that follow each other on one store share a clock, so that time never goes back.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Takes the store, recovers what is open in it, and starts. When it returns, everything that
    /// was interrupted goes on; [`Coordinator::report`] says what that was.
    ///
    /// # Errors
    /// A [`RegistryError`](crate::RegistryError) that lists everything that is wrong with the
    /// commands, or a [`StoreError`](crate::store::StoreError). When the future is dropped the
    /// engine stops, as if the process had died.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled.
    pub async fn start(self) -> Result<Coordinator> {
        let registry = Registry::collect(&self.registered);
        registry.check(Some(&self.resources))?;
        let lease = self.store.acquire().await?;
        self.run(Arc::new(registry), lease).await
    }

    /// [`Builder::start`], though commands that will not run need what nobody provides.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn start_with_what_there_is(self) -> Result<Coordinator> {
        let registry = Registry::collect(&self.registered);
        registry.check(None)?;
        let lease = self.store.acquire().await?;
        self.run(Arc::new(registry), lease).await
    }

    async fn run(self, registry: Arc<Registry>, lease: Lease) -> Result<Coordinator> {
        let (store, resources) = (Arc::clone(&self.store), Arc::new(self.resources));
        let engine_id = lease.engine_id;
        let (started, found) = oneshot::channel();
        let (engine, ears, line) =
            Engine::new(store, lease, Arc::clone(&registry), resources, self.settings, started);
        let engine = tokio::spawn(engine.run(ears));
        let (clock, report) = (self.settings.clock, StartReport::default());
        let store = self.store;
        let mut inner = Inner { store, line, engine, clock, registry, engine_id, report };
        inner.report = found.await.map_err(|_| EngineError::Shutdown)??;
        Ok(Coordinator(Arc::new(inner)))
    }
}

impl Inner {
    fn ask(&self, request: Request) -> Result<()> {
        self.line.requests.send(request).map_err(|_| EngineError::Shutdown.into())
    }
}

impl Coordinator {
    /// A builder of an engine on `store`.
    pub fn builder(store: impl Store) -> Builder {
        let settings = Settings {
            machine: machine::Settings {
                hook_retry: HOOK_RETRY,
                most_trees: MOST_TREES,
                short_wait: SHORT_WAIT,
            },
            cancel_grace: CANCEL_GRACE,
            clock: Clock::default(),
        };
        let (resources, registered) = (Resources::default(), Vec::new());
        Builder { store: Arc::new(store), resources, registered, settings }
    }

    /// What the engine found when it started.
    pub fn report(&self) -> &StartReport {
        &self.0.report
    }

    /// Whether the engine waits for its store now. It says so to `tracing` as well.
    pub fn store_state(&self) -> StoreState {
        self.0.line.outages.state()
    }

    /// Submits a command as the root of a new tree. `Ok`: it is stored durably, with its locks or
    /// its rank in line for them, and runs to its end whatever happens to this process.
    ///
    /// While the store is away it waits, as long as the caller does; behind a thousand others before
    /// it is taken at all. When the future is dropped, the command may be submitted or not.
    ///
    /// # Errors
    /// Nothing is stored when it is a [`LockConflict`](crate::lock::LockConflict), which names the
    /// holder, a [`NotStorable`](crate::NotStorable), or says that the store refused the data.
    /// After [`EngineError::Shutdown`] the command may be stored or not: the report of the next
    /// start says.
    pub async fn submit<C: Command>(&self, command: C) -> Result<CommandHandle<C>> {
        self.submit_as(command, How::default()).await
    }

    /// [`Coordinator::submit`] for a caller who may ask twice, as after a lost reply: the first
    /// submit with `key` is stored, and every later one with the same parameters gives its handle.
    /// The key belongs to the command as long as its row is stored, also when it has ended.
    ///
    /// # Errors
    /// Those of [`Coordinator::submit`], and [`EngineError::KeyTaken`] when a command of another
    /// type, or with other parameters, has the key.
    pub async fn submit_with_key<C: Command>(
        &self,
        key: impl Into<Arc<str>>,
        command: C,
    ) -> Result<CommandHandle<C>> {
        self.submit_as(command, How { key: Some(key.into()), ..How::default() }).await
    }

    /// [`Coordinator::submit`] of a command that begins at `time`, by the system's clock, or as
    /// soon after it as an engine runs. Until then it is `NotStarted` and holds no locks; when
    /// they are refused then, that is its failure.
    ///
    /// # Errors
    /// Those of [`Coordinator::submit`].
    pub async fn submit_at<C: Command>(
        &self,
        time: SystemTime,
        command: C,
    ) -> Result<CommandHandle<C>> {
        self.submit_as(command, How { start_at: Some(time.into()), ..How::default() }).await
    }

    /// [`Coordinator::submit_at`], `pause` from now.
    ///
    /// # Errors
    /// Those of [`Coordinator::submit`].
    pub async fn submit_after<C: Command>(
        &self,
        pause: Duration,
        command: C,
    ) -> Result<CommandHandle<C>> {
        let start_at = self.0.clock.now().after(pause);
        self.submit_as(command, How { start_at: Some(start_at), ..How::default() }).await
    }

    /// Submits an ended root once more, with the same parameters, as a new tree that names it.
    ///
    /// # Errors
    /// Those of [`Coordinator::submit`] and [`Coordinator::handle`], and
    /// [`EngineError::NotEnded`].
    pub async fn resubmit<C: Command>(&self, id: CommandId) -> Result<CommandHandle<C>> {
        let row = self.root_of_type::<C>(id).await?;
        let status = row.progress.status;
        if !status.is_terminal() {
            return Err(EngineError::NotEnded(id).into());
        }
        let command = C::decode(&row.command_parameters)?;
        self.submit_as(command, How { again: Some((id, status)), ..How::default() }).await
    }

    async fn submit_as<C: Command>(&self, command: C, how: How) -> Result<CommandHandle<C>> {
        let id = new_id();
        let spec = &C::DESCRIPTOR.spec;
        let locks = lock_properties(&command);
        storable_keys(locks.locks())?;
        let How { key, start_at, again } = how;
        key.iter().try_for_each(|key| storable_text(key))?;
        let parameters = command.encode()?;
        drop(command);
        let kept = (key.clone(), Arc::clone(&parameters));
        let submit = Submit { id, ticket: 0, spec, parameters, locks, key, start_at, again };
        let (reply, answer) = oneshot::channel();
        let line = &self.0.line.submits;
        let offer = Offer::Submit(Box::new(NewSubmit { submit, reply }));
        line.send(offer).await.map_err(|_| EngineError::Shutdown)?;
        match (self.0.line.answer(answer).await??, kept) {
            (Submitted::New(standing), _) => Ok(self.handle_of(id, standing)),
            (Submitted::Duplicate(taken), (key, parameters)) => {
                let key = key.unwrap_or_default();
                self.submitted_before(taken, &key, &parameters).await
            }
        }
    }

    /// The handle of the command that has `key`, if it is the same command.
    async fn submitted_before<C: Command>(
        &self,
        taken: CommandId,
        key: &str,
        parameters: &str,
    ) -> Result<CommandHandle<C>> {
        let row = self.0.store.entity(taken).await?.ok_or(EngineError::NotFound(taken))?;
        let is_same = row.command_type == C::DESCRIPTOR.spec.name && {
            let canonical = |json: &str| C::DESCRIPTOR.canonical(json);
            canonical(&row.command_parameters)
                .is_ok_and(|stored| canonical(parameters) == Ok(stored))
        };
        if is_same {
            return self.handle(taken).await;
        }
        let command_type = row.command_type.into_owned();
        Err(EngineError::KeyTaken { key: key.to_owned(), command: taken, command_type }.into())
    }

    fn handle_of<C>(&self, id: CommandId, standing: watch::Receiver<Standing>) -> CommandHandle<C> {
        CommandHandle::new(id, standing, Arc::clone(&self.0.store), self.0.line.clone())
    }

    /// The handle of a root that was submitted before, by this process or an earlier one.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when no such root of this type is stored,
    /// [`EngineError::OtherEngine`], [`EngineError::Shutdown`], or a
    /// [`StoreError`](crate::store::StoreError): `Unreadable` where the row of the root is what its tree is quarantined for.
    pub async fn handle<C: Command>(&self, id: CommandId) -> Result<CommandHandle<C>> {
        let (reply, answer) = oneshot::channel();
        self.0.ask(Request::Watch { root: id, reply })?;
        let watched = self.0.line.answer(answer).await?;
        // Read after asking: a root that the engine does not have any more has its end stored.
        let row = self.root_of_type::<C>(id).await?;
        if let Some(ended) = handle::stored_standing(&row) {
            return Ok(self.handle_of(id, ended));
        }
        self.is_own(id, id).await?;
        Ok(self.handle_of(id, watched))
    }

    async fn root_of_type<C: Command>(&self, id: CommandId) -> Result<CommandEntity> {
        let row = self.0.store.entity(id).await?;
        let row = row.filter(|row| {
            row.command_type == C::DESCRIPTOR.spec.name && row.parent_command_id.is_none()
        });
        row.ok_or_else(|| EngineError::NotFound(id).into())
    }

    /// Cancels a command and all below it. `Ok`: that is stored, with `reason`, also in the audit.
    ///
    /// A leaf that runs is told ([`Context::cancelled`](crate::Context::cancelled)), and its future
    /// is dropped when it does not end soon; a flow is dropped at once, and what had not begun does
    /// not begin. All of them fail as [`Cancelled`](crate::FailureKind::Cancelled) and are undone.
    /// An outcome that stood before is kept. When the future is dropped, it may be cancelled or
    /// not.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::AlreadyEnded`], [`EngineError::OtherEngine`],
    /// [`EngineError::Shutdown`], or a [`StoreError`](crate::store::StoreError).
    pub async fn cancel(&self, id: CommandId, reason: impl Into<Arc<str>>) -> Result<()> {
        let reason = reason.into();
        storable_text(&reason)?;
        self.operate(id, Operation::Cancel(reason)).await
    }

    /// Lets everything that is stuck in a command go on: a flow runs again over what is stored, an
    /// end hook or undo is called again, with all its attempts. `Ok`: that is stored, also in the
    /// audit. When the future is dropped, it may go on or not.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::NotStuck`], [`EngineError::OtherEngine`],
    /// [`EngineError::Shutdown`], a [`StoreError`](crate::store::StoreError), or a [`Failure`](crate::Failure) when the tree can
    /// no longer be decoded.
    pub async fn retry(&self, id: CommandId) -> Result<()> {
        self.operate(id, Operation::Retry).await
    }

    /// Ends a command that is stuck as failed, and as it is: no end hook is called and nothing is
    /// undone; its locks are freed. `Ok`: that is stored, with `reason`, also in the audit. When
    /// the future is dropped, it may be abandoned or not.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::NotStuck`], [`EngineError::OpenChildren`],
    /// [`EngineError::OtherEngine`], [`EngineError::Shutdown`], or a [`StoreError`](crate::store::StoreError).
    pub async fn abandon(&self, id: CommandId, reason: impl Into<Arc<str>>) -> Result<()> {
        let reason = reason.into();
        storable_text(&reason)?;
        self.operate(id, Operation::Abandon(reason)).await
    }

    /// What operators did to the tree of this root, oldest first.
    ///
    /// # Errors
    /// A [`StoreError`](crate::store::StoreError).
    pub async fn audit(&self, root: CommandId) -> Result<Vec<Audit>> {
        Ok(self.0.store.audit(root).await?)
    }

    async fn operate(&self, id: CommandId, operation: Operation) -> Result<()> {
        let row = self.0.store.entity(id).await?.ok_or(EngineError::NotFound(id))?;
        let at = Address { root: row.root_command_id, command: id };
        let done = handle::operate(&self.0.line, at, operation).await;
        if done.is_err() && !row.progress.status.is_terminal() {
            self.is_own(at.root, id).await?;
        }
        done
    }

    /// Makes sure that no other engine has the tree.
    async fn is_own(&self, root: CommandId, id: CommandId) -> Result<()> {
        if self.0.engine_id == EngineId::ONLY {
            return Ok(());
        }
        match self.0.store.own_tree(self.0.engine_id, root).await? {
            Some(_) => Ok(()),
            None => Err(EngineError::OtherEngine(id).into()),
        }
    }

    /// Waits until the engine has stopped, by itself or because somebody said so.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn stopped(&self) {
        self.0.line.requests.closed().await;
    }

    /// Stops the engine. Flows are dropped at once, and go on at the next start; leaves and end
    /// hooks that run get 30 seconds, and the store a few more. Nothing new is started but leaves
    /// whose start is stored already. The engine stops also when the future is dropped.
    ///
    /// # Errors
    /// [`EngineError::Shutdown`] when it has stopped before.
    pub async fn shutdown(self) -> Result<()> {
        self.shutdown_within(SHUTDOWN).await
    }

    /// [`Coordinator::shutdown`] with another time for the leaves that run. One that is dropped
    /// at the end of it counts as interrupted. The engine stops also when the future is dropped.
    ///
    /// # Errors
    /// [`EngineError::Shutdown`] when it has stopped before.
    pub async fn shutdown_within(self, within: Duration) -> Result<()> {
        let (reply, stopped) = oneshot::channel();
        self.0.ask(Request::Stop { within, reply })?;
        self.0.line.answer(stopped).await
    }
}

/// The identity of a new root.
fn new_id() -> CommandId {
    CommandId::from_uuid(Uuid::now_v7())
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator").finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}
