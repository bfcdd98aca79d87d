//! What a program holds: it starts the engine, submits commands and stops it.

mod handle;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use self::handle::CommandHandle;
use crate::command::{Command, Descriptor};
use crate::context::Resources;
use crate::error::{EngineError, Result};
use crate::id::CommandId;
use crate::lock::storable_keys;
use crate::machine::{Address, Loaded};
use crate::recovery::{self, StartReport};
use crate::registry::Registry;
use crate::runtime::engine::{Engine, NewRoot, Request};
use crate::store::{Lease, Store, StoreError};

/// Submits that wait while the engine is busy; more wait at the caller.
const SUBMIT_QUEUE: usize = 1024;
/// Trees that recovery reads at a time.
const RECOVERY_PAGE: usize = 500;
/// How long recovery waits before it reads again what it could not read.
const PAUSE: Duration = Duration::from_millis(200);
/// How long [`Coordinator::shutdown`] waits for leaves that run.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// The engine of a program. Clones are the same engine; when the last one is dropped without
/// [`Coordinator::shutdown`], the engine stops as if the process had died.
#[derive(Clone)]
pub struct Coordinator(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    requests: mpsc::Sender<Request>,
    engine: JoinHandle<()>,
    report: StartReport,
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

    async fn run(self, registry: Arc<Registry>, lease: Lease) -> Result<Coordinator> {
        let crashed = !lease.clean;
        let (requests, heard) = mpsc::channel(SUBMIT_QUEUE);
        let resources = Arc::new(self.resources);
        let store = Arc::clone(&self.store);
        let (engine, ears) = Engine::new(store, lease, Arc::clone(&registry), resources, heard);
        let engine = tokio::spawn(engine.run(ears));
        let mut inner =
            Inner { store: self.store, requests, engine, report: StartReport::default() };
        inner.recover(&registry, crashed).await?;
        Ok(Coordinator(Arc::new(inner)))
    }
}

impl Inner {
    /// Reads all open trees, page by page, and hands them to the engine.
    async fn recover(&mut self, registry: &Registry, crashed: bool) -> Result<()> {
        let mut after = None;
        loop {
            let page = match self.store.open_trees(after, RECOVERY_PAGE).await {
                // What was handed over runs already; stopping it for this would interrupt it.
                Err(error) if after.is_some() && !matches!(error, StoreError::Damaged(_)) => {
                    tracing::warn!(%error, "open trees cannot be read; trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                page => page?,
            };
            let (mut loads, mut quarantined) = (Vec::new(), Vec::new());
            for rows in page {
                let Some(root) = rows.commands.first().map(|row| row.root_command_id) else {
                    continue;
                };
                after = after.max(Some(root));
                match recovery::decode(registry, root, rows) {
                    Ok(tree) => {
                        self.report.resumed.push(root);
                        self.report.failed.extend(tree.interrupted());
                        loads.push(tree.because(Loaded::Start { crashed }));
                    }
                    Err(quarantine) => {
                        tracing::error!(%root, reason = %quarantine.reason, "a tree is quarantined");
                        quarantined.push(*quarantine);
                    }
                }
            }
            if loads.is_empty() && quarantined.is_empty() {
                return Ok(());
            }
            self.report.quarantined.extend(quarantined.iter().cloned());
            self.ask(Request::Load { loads, quarantined }).await?;
        }
    }

    async fn ask(&self, request: Request) -> Result<()> {
        self.requests.send(request).await.map_err(|_| EngineError::Shutdown.into())
    }
}

impl Coordinator {
    /// A builder of an engine on `store`.
    pub fn builder(store: impl Store) -> Builder {
        Builder { store: Arc::new(store), resources: Resources::default(), registered: Vec::new() }
    }

    /// What the engine found when it started.
    pub fn report(&self) -> &StartReport {
        &self.0.report
    }

    /// Submits a command as the root of a new tree. `Ok`: it is stored durably, with its locks,
    /// and runs to its end whatever happens to this process.
    ///
    /// When the future is dropped, the command may be submitted or not.
    ///
    /// # Errors
    /// Nothing is stored when it is a [`LockConflict`](crate::lock::LockConflict), which names the
    /// holder, a [`NotStorable`](crate::NotStorable), or says that the store refused the data.
    /// After [`EngineError::Shutdown`] the command may be stored or not: the report of the next
    /// start says.
    pub async fn submit<C: Command>(&self, command: C) -> Result<CommandHandle<C>> {
        let id = CommandId::from_uuid(Uuid::now_v7());
        let spec = C::DESCRIPTOR.spec;
        let locks = command.locks();
        storable_keys(&locks)?;
        let submit = NewRoot { id, spec, parameters: command.encode()?, locks };
        drop(command);
        let (reply, answer) = oneshot::channel();
        self.0.ask(Request::Submit { submit, reply }).await?;
        let standing = answer.await.map_err(|_| EngineError::Shutdown)??;
        Ok(CommandHandle::new(id, standing, Arc::clone(&self.0.store)))
    }

    /// The handle of a root that was submitted before, by this process or an earlier one.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when no such root of this type is stored,
    /// [`EngineError::Shutdown`], or a [`StoreError`](crate::store::StoreError).
    pub async fn handle<C: Command>(&self, id: CommandId) -> Result<CommandHandle<C>> {
        let (reply, answer) = oneshot::channel();
        self.0.ask(Request::Watch { root: id, reply }).await?;
        let watched = answer.await.map_err(|_| EngineError::Shutdown)?;
        // Read after asking: a root that the engine does not have any more has its end stored.
        let row = self.0.store.entity(id).await?;
        let row = row.filter(|row| {
            row.command_type == C::DESCRIPTOR.spec.name && row.parent_command_id.is_none()
        });
        let row = row.ok_or(EngineError::NotFound(id))?;
        let standing = watched.unwrap_or_else(|| handle::stored_standing(&row));
        Ok(CommandHandle::new(id, standing, Arc::clone(&self.0.store)))
    }

    /// Lets a command that is stuck go on: a flow runs again over what is stored, an end hook is
    /// called again. `Ok`: that is stored. When the future is dropped, it may go on or not.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::NotStuck`], [`EngineError::Shutdown`], a
    /// [`StoreError`](crate::store::StoreError), or a [`Failure`](crate::Failure) when the tree can
    /// no longer be decoded.
    pub async fn retry(&self, id: CommandId) -> Result<()> {
        let row = self.0.store.entity(id).await?.ok_or(EngineError::NotFound(id))?;
        let at = Address { root: row.root_command_id, command: id };
        let (reply, answer) = oneshot::channel();
        self.0.ask(Request::Retry { at, reply }).await?;
        answer.await.map_err(|_| EngineError::Shutdown)?
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
        self.0.ask(Request::Stop { within, reply }).await?;
        stopped.await.map_err(|_| EngineError::Shutdown.into())
    }
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
