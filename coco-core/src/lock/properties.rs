//! What a command says about its locks.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{Lock, LockKey, LockMode, LockScope};

/// What a command says about its locks: which it asks for, how long it keeps them, and whether it
/// waits for them.
///
/// The derive makes it of the `#[command(…)]` and `#[lock(…)]` of a command;
/// [`Execute::apply_lock_properties`](crate::Execute::apply_lock_properties) may change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockProperties {
    pub(crate) scope: LockScope,
    pub(crate) wait: LockWait,
    pub(crate) locks: Vec<Lock>,
}

/// Whether a command waits for what it cannot have now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockWait {
    /// It is refused.
    #[default]
    No,
    /// It waits in line.
    Yes,
    /// It waits in line, and is refused when that takes longer.
    AtMost(Duration),
}

impl LockProperties {
    /// As it is kept; most commands say the same, which is nothing, and share that.
    pub(crate) fn shared(self) -> Arc<Self> {
        static NOTHING: LazyLock<Arc<LockProperties>> = LazyLock::new(Arc::default);
        if self == **NOTHING { Arc::clone(&NOTHING) } else { self.into() }
    }

    /// No locks, kept for `scope`.
    pub const fn new(scope: LockScope) -> Self {
        Self { scope, wait: LockWait::No, locks: Vec::new() }
    }

    /// How long the locks are kept. [`LockScope::None`]: the command takes none.
    #[must_use]
    pub fn with_scope(mut self, scope: LockScope) -> Self {
        self.scope = scope;
        self
    }

    /// The command waits in line for what it cannot have now.
    #[must_use]
    pub fn with_wait(mut self) -> Self {
        self.wait = LockWait::Yes;
        self
    }

    /// The command is refused when it cannot have all of its locks now.
    #[must_use]
    pub fn with_no_wait(mut self) -> Self {
        self.wait = LockWait::No;
        self
    }

    /// The command waits in line, and is refused when that takes longer.
    #[must_use]
    pub fn with_wait_timeout(mut self, longest: Duration) -> Self {
        self.wait = LockWait::AtMost(longest);
        self
    }

    /// One exclusive lock more. It wins over a shared one of the same key.
    #[must_use]
    pub fn with_exclusive<K: LockKey>(self, key: &K) -> Self {
        self.with(Lock::of(key, LockMode::Exclusive))
    }

    /// One shared lock more.
    #[must_use]
    pub fn with_shared<K: LockKey>(self, key: &K) -> Self {
        self.with(Lock::of(key, LockMode::Shared))
    }

    /// One lock more. A key that is asked for twice is asked for once, in the stronger mode.
    #[must_use]
    pub fn with(mut self, lock: Lock) -> Self {
        match self.locks.iter_mut().find(|other| other.is_of_key(&lock)) {
            Some(other) => other.mode = other.mode.max(lock.mode),
            None => self.locks.push(lock),
        }
        self
    }

    /// What is asked for: nothing where the scope is [`LockScope::None`].
    pub fn locks(&self) -> &[Lock] {
        if self.scope == LockScope::None { &[] } else { &self.locks }
    }

    /// How long the locks are kept.
    pub const fn scope(&self) -> LockScope {
        self.scope
    }

    /// Whether the command waits.
    pub const fn wait(&self) -> LockWait {
        self.wait
    }
}
