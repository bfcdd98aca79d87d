//! What a method may ask of the engine: which context has what is checked by the compiler.
//!
//! [`Context`] is given to `execute` and to the rounds of a callback. What it offers depends on the
//! callback: a leaf reaches resources, a flow awaits children, most others start them. [`LeafContext`]
//! is given to other code that may touch the outside: `validate`, end hooks, and the closure of a
//! [`Context::once`].

mod cancel;
mod child;
mod events;
mod flow;
mod launch;
pub(crate) mod leaf;
mod lock;
pub(crate) mod requests;
mod start;
mod task;
mod wake;

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

pub(crate) use self::cancel::CancelFlag;
pub use self::child::ChildOutcome;
pub use self::flow::Outcome;
use self::leaf::LeafAsks;
use self::requests::Requests;
pub(crate) use self::wake::inside_engine_wake;
use crate::callback::RunsOnce;
use crate::command::{Command, Needs};
use crate::id::CommandId;
use crate::lock::{Lock, LockProperties};

/// The context of `execute`, and of the rounds that a [callback](crate::callback) has.
pub struct Context<C> {
    scope: Scope,
    command: PhantomData<fn() -> C>,
}

/// The context of code beside `execute` that may touch the outside.
pub struct LeafContext<C> {
    scope: Scope,
    command: PhantomData<fn() -> C>,
}

/// What every context of one run of a command shares.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) id: CommandId,
    root: CommandId,
    /// Where identities come from that are new on every run.
    new_id: fn() -> CommandId,
    pub(crate) attempt: u32,
    pub(crate) parent: Option<Parent>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) requests: Requests,
    pub(crate) hook_attempt: u32,
    /// What it says about its locks: those that it holds since before this run.
    locks: Arc<LockProperties>,
    /// The locks that this run was given.
    late: Mutex<Vec<Lock>>,
    cancel: Arc<CancelFlag>,
    /// Where a leaf asks; none for what is no leaf.
    asks: Option<LeafAsks>,
    pub(crate) is_default_hook: AtomicBool,
    has_begun: AtomicBool,
}

/// The command that asked for this one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    pub(crate) name: &'static str,
    pub(crate) parameters: Arc<str>,
}

impl Scope {
    pub(crate) fn new(
        run: RunOf,
        resources: Arc<Resources>,
        requests: Requests,
        asks: Option<LeafAsks>,
        cancel: Arc<CancelFlag>,
    ) -> Self {
        let RunOf { id, root, new_id, attempt, hook_attempt, parent, locks } = run;
        let (is_default_hook, has_begun) = (AtomicBool::new(false), AtomicBool::new(false));
        let late = Mutex::default();
        Self(Arc::new(Inner {
            id,
            root,
            new_id,
            attempt,
            parent,
            resources,
            requests,
            hook_attempt,
            locks,
            late,
            cancel,
            asks,
            is_default_hook,
            has_begun,
        }))
    }

    /// True once more than `validate` was called.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.0.has_begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn id(&self) -> CommandId {
        self.0.id
    }

    /// An identity for a new tree.
    pub(crate) fn new_id(&self) -> CommandId {
        (self.0.new_id)()
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.0.requests
    }

    pub(crate) async fn cancelled(&self) {
        self.0.cancel.is_set_now().await;
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.cancel.is_set()
    }

    fn mark_default_hook(&self) {
        self.0.is_default_hook.store(true, Ordering::Relaxed);
    }

    /// True when `hook`, which builds the hook's future and drops it unpolled, is the command's
    /// own: a default body marks the context as soon as it is called.
    pub(crate) fn is_own_hook(&self, hook: impl FnOnce()) -> bool {
        self.0.is_default_hook.store(false, Ordering::Relaxed);
        hook();
        !self.0.is_default_hook.load(Ordering::Relaxed)
    }

    fn parent<P: Command>(&self) -> Option<P> {
        let parent =
            self.0.parent.as_ref().filter(|parent| parent.name == P::DESCRIPTOR.spec.name)?;
        P::decode(&parent.parameters).ok()
    }

    fn get<T: Any>(&self) -> &T {
        // A coordinator starts only when all that is needed is provided; the kit for tests does not
        // ask for what commands need that the test does not run.
        let resource = self.0.resources.get();
        resource.unwrap_or_else(|| panic!("nobody provides a `{}`", type_name::<T>()))
    }
}

/// Whose run a context belongs to.
#[derive(Clone)]
pub(crate) struct RunOf {
    pub(crate) id: CommandId,
    pub(crate) root: CommandId,
    pub(crate) new_id: fn() -> CommandId,
    pub(crate) attempt: u32,
    pub(crate) hook_attempt: u32,
    pub(crate) parent: Option<Parent>,
    /// What it says about its locks, with those that it holds.
    pub(crate) locks: Arc<LockProperties>,
}

impl<C> Context<C> {
    pub(crate) const fn new(scope: Scope) -> Self {
        Self { scope, command: PhantomData }
    }

    /// Called by the default body of a hook, before it is awaited.
    pub(crate) fn mark_default_hook(&self) {
        self.scope.mark_default_hook();
    }

    /// The identity of this command: the same on every run of it, so a key for the outside.
    pub fn id(&self) -> CommandId {
        self.scope.id()
    }

    /// The command that asked for this one, with its parameters as submitted; none for a root,
    /// or when it is of another type or cannot be read.
    pub fn parent<P: Command>(&self) -> Option<P> {
        self.scope.parent()
    }
}

impl<C: Command> Context<C> {
    /// A resource of the program, given to the coordinator by `provide`.
    pub fn get<T: Any + Send + Sync>(&self) -> &T
    where
        C: Needs<T>,
        C::Callback: RunsOnce,
    {
        self.scope.get()
    }

    /// Which run of `execute` this is, or belongs to, from 1. More than 1 only for a command that is
    /// `idempotent` or has `retry(…)`.
    pub fn attempt(&self) -> u32
    where
        C::Callback: RunsOnce,
    {
        self.scope.0.attempt
    }

    /// Waits until the command is cancelled or its time is out. From then on it has a few seconds
    /// to end by itself ([`Builder::cancel_grace`](crate::Builder::cancel_grace)); then its future
    /// is dropped. It fails in any case, and [`Execute::compensate`](crate::Execute::compensate)
    /// gets what it still returned. Cancel-safe.
    pub async fn cancelled(&self)
    where
        C::Callback: RunsOnce,
    {
        self.scope.cancelled().await;
    }

    /// Whether the command is cancelled or its time is out: see [`Context::cancelled`].
    pub fn is_cancelled(&self) -> bool
    where
        C::Callback: RunsOnce,
    {
        self.scope.is_cancelled()
    }
}

impl<C> LeafContext<C> {
    pub(crate) const fn new(scope: Scope) -> Self {
        Self { scope, command: PhantomData }
    }

    /// The identity of this command: the same on every run of it, so a key for the outside.
    pub fn id(&self) -> CommandId {
        self.scope.id()
    }

    /// Which run of `execute` this is, or belongs to, from 1.
    pub fn attempt(&self) -> u32 {
        self.scope.0.attempt
    }

    /// Which run of this end hook or `compensate` it is, from 1, as far as it is known: a run that
    /// the death of the process ended is not counted.
    pub fn hook_attempt(&self) -> u32 {
        self.scope.0.hook_attempt.saturating_add(1)
    }

    /// The command that asked for this one, with its parameters as submitted; none for a root,
    /// or when it is of another type or cannot be read.
    pub fn parent<P: Command>(&self) -> Option<P> {
        self.scope.parent()
    }

    /// A resource of the program, given to the coordinator by `provide`.
    pub fn get<T: Any + Send + Sync>(&self) -> &T
    where
        C: Needs<T>,
    {
        self.scope.get()
    }

    /// Called by the default body of a hook, before it is awaited.
    pub(crate) fn mark_default_hook(&self) {
        self.scope.mark_default_hook();
    }
}

impl<C> fmt::Debug for Context<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.id()).finish()
    }
}

impl<C> fmt::Debug for LeafContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeafContext").field(&self.id()).finish()
    }
}

/// What the program provides to its commands, one value a type.
#[derive(Default)]
pub(crate) struct Resources(FxHashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Resources {
    pub(crate) fn insert<T: Any + Send + Sync>(&mut self, resource: T) {
        self.0.insert(TypeId::of::<T>(), Box::new(resource));
    }

    pub(crate) fn has(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}
