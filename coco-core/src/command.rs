//! What a command is to the engine. The derive implements it; nobody else does.

use std::any::TypeId;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::callback::{CallbackKind, CallbackOf, Pace};
use crate::erased::Erased;
use crate::execute::Execute;
use crate::lock::{Lock, LockProperties, LockScope, LockWait};
use crate::retry::Retry;
use crate::storable::{NotStorable, storable};

/// A command: a struct with `#[derive(Command)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "not a command",
    note = "put `#[derive(Command)]` on `{Self}`"
)]
pub trait Command: Execute + Stored + Declaration {}

/// What the derive reads from the `#[command(…)]` and `#[lock(…)]` of a command. It does not ask
/// whether the type can be executed and stored, so that one that cannot is reported once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no `#[derive(Command)]`",
    label = "nothing would register it",
    note = "put `#[derive(Command)]` on `{Self}`; an `impl Command` is not written by hand"
)]
pub trait Declaration: Sized {
    /// Its callback.
    type Callback: CallbackOf<Self>;

    /// What is registered of it.
    const DESCRIPTOR: &'static Descriptor;

    /// The locks that its fields declare.
    fn locks(&self) -> Vec<Lock>;

    /// Catches an implementation written by hand, which nothing would register.
    #[doc(hidden)]
    fn only_the_derive_implements_command(proof: crate::private::Derived);
}

/// What a command says about its locks now.
pub(crate) fn lock_properties<C: Command>(command: &C) -> LockProperties {
    let Spec { scope, wait, .. } = C::DESCRIPTOR.spec;
    let declared = LockProperties { scope, wait, locks: Vec::new() };
    command.apply_lock_properties(command.locks().into_iter().fold(declared, LockProperties::with))
}

/// What can be stored: anything with `Serialize` and `Deserialize`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored",
    label = "must survive a restart",
    note = "put `#[derive(Serialize, Deserialize)]` on `{Self}`"
)]
pub trait Stored: Sized {
    /// As JSON.
    ///
    /// # Errors
    /// When no store would take it.
    fn encode(&self) -> Result<Arc<str>, NotStorable>;

    /// From JSON.
    ///
    /// # Errors
    /// When the text is not what the type reads.
    fn decode(json: &str) -> serde_json::Result<Self>;

    /// Whether it is written as this.
    #[doc(hidden)]
    fn is_written_as(&self, json: &str) -> bool {
        self.encode().is_ok_and(|written| *written == *json)
    }
}

/// As JSON that reads back: some values do not, as a float that is no number.
pub(crate) fn readable<T: Stored>(value: &T) -> Result<Arc<str>, NotStorable> {
    let json = value.encode()?;
    T::decode(&json).map_err(|error| NotStorable::Decode(error.to_string()))?;
    Ok(json)
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Stored for T {
    fn encode(&self) -> Result<Arc<str>, NotStorable> {
        let json = serde_json::to_string(self).map_err(|e| NotStorable::Encode(e.to_string()))?;
        storable(&json)?;
        Ok(json.into())
    }

    fn decode(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    fn is_written_as(&self, json: &str) -> bool {
        let mut same = Same(json.as_bytes());
        serde_json::to_writer(&mut same, self).is_ok() && same.0.is_empty()
    }
}

/// What is left of a text, while the same is written again.
struct Same<'a>(&'a [u8]);

impl io::Write for Same<'_> {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let rest = self.0.strip_prefix(written).ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says that a command may reach the resource `T`: `needs(T)` in its `#[command(…)]`.
#[diagnostic::on_unimplemented(
    message = "the command `{Self}` does not say that it needs `{T}`",
    label = "`{T}` is not in its `needs(…)`",
    note = "add `needs({T})` to the `#[command(…)]` of `{Self}`"
)]
pub trait Needs<T> {
    /// Catches an implementation written by hand, of which the start-up check would not know.
    #[doc(hidden)]
    fn only_the_derive_implements_needs(proof: crate::private::Derived);
}

/// What is registered of a command.
#[derive(Debug)]
#[non_exhaustive]
pub struct Descriptor {
    /// What the engine's decisions depend on.
    pub spec: Spec,
    /// Path of the type in Rust, for messages.
    pub rust_path: &'static str,
    /// Source file of the derive, for messages.
    pub file: &'static str,
    /// Line of the derive, for messages.
    pub line: u32,
    /// The resources that it reaches.
    pub needs: &'static [Need],
    pub(crate) decode: fn(&str) -> serde_json::Result<Box<dyn Erased>>,
}

impl Descriptor {
    /// Used by generated code.
    #[doc(hidden)]
    pub const fn of<C: Command>(
        spec: Spec,
        rust_path: &'static str,
        file: &'static str,
        line: u32,
        needs: &'static [Need],
    ) -> Self {
        let decode =
            |json: &str| C::decode(json).map(|command| Box::new(command) as Box<dyn Erased>);
        Self { spec, rust_path, file, line, needs, decode }
    }
}

/// What the engine's decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The stored name: snake_case of the struct, unless `name` says otherwise.
    pub name: &'static str,
    /// Its callback.
    pub callback: CallbackKind,
    /// True when an interrupted `execute` may run again.
    pub idempotent: bool,
    /// How long it keeps its locks.
    pub scope: LockScope,
    /// Whether it waits for them.
    pub wait: LockWait,
    /// How it is retried when `execute` fails.
    pub retry: Option<Retry>,
    /// How long it may take, from its first start, over restarts.
    pub timeout: Option<Duration>,
    /// How many of its type run at a time, per engine.
    pub concurrency: Option<NonZeroU32>,
    /// At what intervals it is polled, where its callback is.
    pub poll: Pace,
    /// How long it is not polled while it waits for an event.
    pub event_timeout: Duration,
}

impl Spec {
    /// The pause before its first round; none where that comes at once.
    pub(crate) const fn first_pause(&self) -> Duration {
        if self.callback.waits_for_children() { Duration::ZERO } else { self.poll.first() }
    }
}

/// A resource that a command reaches.
#[derive(Debug)]
pub struct Need {
    pub(crate) type_id: fn() -> TypeId,
    pub(crate) type_name: fn() -> &'static str,
}

impl Need {
    /// The need of a `T`.
    pub const fn of<T: 'static>() -> Self {
        Self { type_id: TypeId::of::<T>, type_name: std::any::type_name::<T> }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_its_own_text_and_no_other() {
        let value = ("a\"b".to_owned(), [1.5, 2.0], Some(true));
        let json = value.encode().unwrap();
        assert!(value.is_written_as(&json));
        for other in
            ["", "[", &json[..json.len() - 1], &format!("{json} "), &json.replace('2', "3")]
        {
            assert!(!value.is_written_as(other), "{other}");
        }
    }
}
