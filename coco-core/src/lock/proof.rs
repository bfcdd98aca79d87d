//! Proofs that a lock is held, for the arguments of a program's own functions.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::{LockKey, LockMode};

/// A mode as a type: [`Exclusive`] or [`Shared`].
pub trait Mode: sealed::Sealed + Copy + Send + Sync + 'static {
    /// The mode.
    const MODE: LockMode;
}

/// Nobody else holds the lock, but for the command's own ancestors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusive;

/// Others may hold the lock shared as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared;

impl Mode for Exclusive {
    const MODE: LockMode = LockMode::Exclusive;
}

impl Mode for Shared {
    const MODE: LockMode = LockMode::Shared;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Exclusive {}
    impl Sealed for super::Shared {}
}

/// Says that the command that runs holds the lock of this key, in this mode at least.
///
/// Only a context makes one (`cx.held(key)`, `cx.lock(key, mode)`), and it lives no longer than the
/// context. A function that demands it cannot be called without the lock:
///
/// ```
/// use coco_core::lock::{Exclusive, Held, LockKey};
///
/// struct DiskId(u32);
/// impl LockKey for DiskId {
///     const GROUP: &'static str = "disk";
///     fn key(&self) -> String {
///         self.0.to_string()
///     }
/// }
///
/// fn wipe(disk: &Held<'_, Exclusive, DiskId>) {
///     println!("wiping disk {}", disk.0);
/// }
/// ```
pub struct Held<'cx, M, K> {
    key: K,
    mode: PhantomData<fn() -> M>,
    context: PhantomData<&'cx ()>,
}

impl<'cx, M: Mode, K: LockKey> Held<'cx, M, K> {
    pub(crate) const fn new(key: K) -> Self {
        Self { key, mode: PhantomData, context: PhantomData }
    }

    /// What is held exclusively can be used where shared is enough.
    pub fn shared(self) -> Held<'cx, Shared, K> {
        Held::new(self.key)
    }
}

impl<M, K> Deref for Held<'_, M, K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.key
    }
}

impl<M: Mode, K: fmt::Debug> fmt::Debug for Held<'_, M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.key).field(&M::MODE).finish()
    }
}
