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

/// The locks of all fields.
pub fn all_locks<const N: usize>(fields: [Vec<Lock>; N]) -> Vec<Lock> {
    fields.into_iter().flatten().collect()
}

/// The locks that a field with a key, or with several, declares.
pub fn locks<'a, K: LockKey + 'a>(
    keys: impl IntoIterator<Item = &'a K>,
    mode: LockMode,
) -> Vec<Lock> {
    keys.into_iter().map(|key| Lock::of(key, mode)).collect()
}

/// The locks that such a field with a `group` of its own declares.
pub fn locks_in<'a, K: KeyText + 'a>(
    group: &'static str,
    keys: impl IntoIterator<Item = &'a K>,
    mode: LockMode,
) -> Vec<Lock> {
    let lock = |key: &K| Lock { group: group.into(), key: key.text(), mode };
    keys.into_iter().map(lock).collect()
}

/// What a field with a `group` of its own holds: anything with `Display`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot name a locked thing",
    label = "no text to name it by",
    note = "with a `group` the key is the text that `Display` gives: implement it for `{Self}`",
    note = "the type of a field with several keys is written out: `Option<K>`, `Vec<K>` or `BTreeSet<K>`"
)]
pub trait KeyText {
    /// The text.
    fn text(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<K: Display> KeyText for K {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// The key of a `#[derive(LockKey)]`.
pub fn key_text<T: Display>(field: &T) -> String {
    field.to_string()
}
