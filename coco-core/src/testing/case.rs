//! A command with the world around it, and what must hold in the end.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::end::End;
use crate::command::Command;
use crate::coordinator::Builder;
use crate::error::{Error, Result};
use crate::store::{MemoryStore, Store};

/// How long a case may take, unless it says otherwise.
const WITHIN: Duration = Duration::from_secs(60);

/// One life of a command in a test: the command, what stands around it, and what must hold in the
/// end.
///
/// The helpers make a new one for each life, so whatever a case is made of is fresh: the closure
/// that makes it also makes the fake of the outside.
#[must_use = "a case is for `crash_sweep` and the other helpers"]
pub struct Case<C: Command> {
    /// The parameters of the command, since it may have to be submitted twice.
    pub(super) parameters: Arc<str>,
    pub(super) setup: Vec<Box<dyn Fn(Builder) -> Builder>>,
    pub(super) open: Open,
    pub(super) check: Option<Check<C>>,
    pub(super) within: Duration,
    pub(super) may_be_stuck: bool,
}

/// Opens the store of a case, as another process would.
pub(super) type Open = Box<dyn Fn() -> Opening>;
type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Store>>>>>;
/// Panics when something does not hold.
type Check<C> = Box<dyn FnOnce(&End<C>)>;

impl<C: Command> Case<C> {
    /// The life of `command` as a root, on a [`MemoryStore`].
    ///
    /// # Panics
    /// When no store would take it.
    pub fn new(command: C) -> Self {
        let parameters = match command.encode() {
            Ok(parameters) => parameters,
            Err(why) => panic!("`{}` cannot be stored: {why}", C::DESCRIPTOR.spec.name),
        };
        drop(command);
        let case = Self {
            parameters,
            setup: Vec::new(),
            open: Box::new(|| Box::pin(async { unreachable!("every case has a store") })),
            check: None,
            within: WITHIN,
            may_be_stuck: false,
        };
        let store = MemoryStore::default();
        case.store(async move || Ok::<_, Error>(store.clone()))
    }

    /// Gives every engine of the case a clone of a resource: [`Builder::provide`].
    pub fn provide<T: Any + Clone + Send + Sync>(self, resource: T) -> Self {
        self.setup(move |builder| builder.provide(resource.clone()))
    }

    /// Prepares every engine of the case. Each call adds to those before it.
    pub fn setup(mut self, setup: impl Fn(Builder) -> Builder + 'static) -> Self {
        self.setup.push(Box::new(setup));
        self
    }

    /// The store. `open` is called for each engine, as in a process that starts; each time it must
    /// open the same store, which is empty at first and belongs to this case alone:
    ///
    /// ```ignore
    /// let folder = tempfile::tempdir()?;
    /// let address = format!("sqlite://{}", folder.path().join("coco.db").display());
    /// Case::new(command).store(async move || {
    ///     let _stays = &folder;
    ///     SeaOrmStore::connect(&address).await
    /// })
    /// ```
    pub fn store<S: Store, E: Into<Error>>(
        mut self,
        open: impl AsyncFn() -> Result<S, E> + 'static,
    ) -> Self {
        let open = Rc::new(open);
        self.open = Box::new(move || {
            let open = Rc::clone(&open);
            Box::pin(async move {
                let store = open().await.map_err(Into::into)?;
                Ok(Arc::new(store) as Arc<dyn Store>)
            })
        });
        self
    }

    /// How long the whole case may take. A case that takes longer fails, and says where its
    /// commands stand. Without it 60 seconds. When tokio's clock is paused, a case fails as soon
    /// as nothing is to happen in it any more within a year.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Lets the case go on to its check when the command is stuck ([`End::stuck`]). Without it
    /// such a case fails.
    pub fn may_be_stuck(mut self) -> Self {
        self.may_be_stuck = true;
        self
    }

    /// What must hold when the command has ended: panics when it does not.
    pub fn check(mut self, check: impl FnOnce(&End<C>) + 'static) -> Self {
        self.check = Some(Box::new(check));
        self
    }
}

impl<C: Command> fmt::Debug for Case<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = C::DESCRIPTOR.spec.name;
        f.debug_struct("Case").field("command", &name).finish_non_exhaustive()
    }
}
