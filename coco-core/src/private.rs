//! Used by generated code only; not covered by semver.

use std::fmt::Display;

pub use inventory;
pub use typetag;

pub use crate::command::Need;
pub use crate::erased::DynCommand;
pub use crate::registry::Registration;

use crate::lock::{Lock, LockKey, LockMode};

/// Proof that the derive wrote an `impl Command`.
#[derive(Debug)]
pub struct Derived(());

/// The lock that a field of a key type declares.
pub fn lock<K: LockKey>(key: &K, mode: LockMode) -> Lock {
    Lock { group: K::GROUP.into(), key: key.key(), mode }
}

/// The key of a `#[derive(LockKey)]`.
pub fn key_text<T: Display>(field: &T) -> String {
    field.to_string()
}

/// The lock that a field with a `group` of its own declares.
pub fn lock_in<K: Display>(group: &'static str, key: &K, mode: LockMode) -> Lock {
    Lock { group: group.into(), key: key.to_string(), mode }
}
