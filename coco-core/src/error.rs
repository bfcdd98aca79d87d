//! The error that user code returns and the coordinator gives.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::{Lock, LockConflict, LockTimedOut, WouldDeadlock};
use crate::retry::Again;
use crate::storable::NotStorable;

/// `Result` with coco's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Takes any [`std::error::Error`] by `?` and anything else by [`Error::other`].
///
/// What the engine itself says keeps its type: look for a [`Failure`], a
/// [`LockConflict`](crate::lock::LockConflict) or an [`EngineError`] with [`Error::downcast_ref`].
/// An error that ends a command is stored as a [`Failure`]; one about a lock keeps its kind and its
/// data then.
pub struct Error(Box<Inner>);

struct Inner {
    source: Box<dyn StdError + Send + Sync>,
    code: Option<Box<str>>,
    data: Option<Value>,
    again: Again,
}

impl Error {
    /// An error that is only a message.
    pub fn other(message: impl fmt::Display) -> Self {
        Self::boxed(message.to_string().into())
    }

    fn boxed(source: Box<dyn StdError + Send + Sync>) -> Self {
        Self(Box::new(Inner { source, code: None, data: None, again: Again::AsDeclared }))
    }

    /// An error that would come again: the command is not retried. It does not change an error
    /// that ends a flow, which is never retried.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.0.again = Again::Never;
        self
    }

    /// An error after which the command is tried again, but not before `pause` has gone by,
    /// where it has an attempt left.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.again = Again::After(pause);
        self
    }

    /// Adds a code, for programs that read the failure.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into().into_boxed_str());
        self
    }

    /// Adds data, for programs that read the failure. Data that cannot be written as JSON is
    /// kept as the text that says so; data of more than 256 KiB of JSON is not kept.
    #[must_use]
    pub fn with_data(mut self, data: impl Serialize) -> Self {
        let data = serde_json::to_value(data);
        self.0.data = Some(data.unwrap_or_else(|error| Value::String(error.to_string())));
        self
    }

    /// The error as an `E`, if it is one.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.source.downcast_ref()
    }

    /// The stored failure of a command, if that is what the error is.
    pub fn failure(&self) -> Option<&Failure> {
        self.downcast_ref()
    }

    /// What it says about another attempt.
    pub(crate) fn again(&self) -> Again {
        self.0.again
    }

    /// As it is stored when it ends `command`. A failure that is passed on stays what it was.
    pub(crate) fn into_failure(self, command: CommandId) -> Failure {
        let Inner { source, code, data, again: _ } = *self.0;
        let mut failure = match source.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(source) => {
                let mut failure = known(&*source)
                    .unwrap_or_else(|| Failure::new(FailureKind::Failed, source.to_string()));
                let mut cause = source.source();
                while let Some(error) = cause {
                    failure.chain.push(error.to_string());
                    cause = error.source();
                }
                failure
            }
        };
        failure.code = code.or(failure.code);
        failure.data = data.or(failure.data);
        failure.of(command).fitting()
    }
}

/// The failure of an error whose sort is known, though a command's own code returned it.
fn known(source: &(dyn StdError + 'static)) -> Option<Failure> {
    let conflict = source.downcast_ref().map(|conflict: &LockConflict| conflict.into());
    let deadlock = || source.downcast_ref().map(|deadlock: &WouldDeadlock| deadlock.into());
    let timed_out = || source.downcast_ref().map(|timed_out: &LockTimedOut| timed_out.into());
    let not_storable = || {
        let why = source.downcast_ref::<NotStorable>()?;
        Some(Failure::new(FailureKind::NotStorable, why.to_string()))
    };
    conflict.or_else(deadlock).or_else(timed_out).or_else(not_storable)
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::boxed(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.source.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.source, f)?;
        let mut cause = self.0.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// What the engine says about a command when there is no outcome to give.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Something in the tree cannot go on by itself. Not final: the tree goes on after
    /// [`Coordinator::retry`](crate::Coordinator::retry), and one that this program cannot read
    /// when a program starts that can.
    #[error("command `{command}` is stuck: {reason}")]
    Stuck {
        /// The command that is stuck.
        command: CommandId,
        /// Why.
        reason: Failure,
    },
    /// The engine has stopped. Not final: the tree goes on when an engine starts again.
    #[error("the engine has stopped; what is stored goes on when it starts again")]
    Shutdown,
    /// No such command is stored.
    #[error("no command `{0}` is stored")]
    NotFound(CommandId),
    /// Only what is stuck can be retried or abandoned.
    #[error("command `{0}` is not stuck, so there is nothing to retry or abandon")]
    NotStuck(CommandId),
    /// Only what has no outcome yet can be cancelled.
    #[error("command `{0}` has its outcome already, so there is nothing to cancel")]
    AlreadyEnded(CommandId),
    /// Its tree runs in another engine on the same database: ask that one.
    #[error("command `{0}` belongs to another engine; ask that one")]
    OtherEngine(CommandId),
    /// Only what has ended can be submitted again.
    #[error(
        "command `{0}` has not ended, so it cannot be submitted again; cancel or abandon it first"
    )]
    NotEnded(CommandId),
    /// A command ends after its children: abandon or cancel them first.
    #[error(
        "command `{command}` has {open} open children, so it cannot be abandoned before they end"
    )]
    OpenChildren {
        /// The command.
        command: CommandId,
        /// How many of its children are open.
        open: usize,
    },
    /// The submit key belongs to a command of another type, or with other parameters.
    #[error(
        "the key `{key}` belongs to {command_type} `{command}`, which is another command or has other parameters"
    )]
    KeyTaken {
        /// The key.
        key: String,
        /// Who has it.
        command: CommandId,
        /// The stored name of who has it.
        command_type: String,
    },
    /// The command does not say how long it keeps a lock, so it cannot take one.
    #[error(
        "command `{0}` does not say how long it keeps a lock: write `#[command(lock = Execution)]`, \
         or `with_scope` in `apply_lock_properties` where no field is a lock"
    )]
    NoLockScope(CommandId),
    /// An undo command takes no locks: it runs under those of the command that registered it. Let
    /// that one take the lock, before what is to be undone.
    #[error(
        "the undo command `{0}` takes no locks: it runs under those of the command that registered it"
    )]
    LockInUndo(CommandId),
    /// An undo command launches no trees: it has no row with which they could be stored. Let the
    /// command that registers it launch them.
    #[error(
        "the undo command `{0}` launches no trees: launch them from the command that registered it"
    )]
    LaunchInUndo(CommandId),
    /// The command does not hold the lock, as far as this run of it knows.
    #[error(
        "command `{command}` does not hold {} `{}` {mode}: declare it with `#[lock({mode})]`, or take \
         it with `cx.lock`",
        lock.group, lock.key, mode = lock.mode.as_str()
    )]
    NotHeld {
        /// The command.
        command: CommandId,
        /// The lock that was asked about.
        lock: Lock,
    },
    /// The command has let go of the lock that was to be taken from it.
    #[error("command `{command}` does not hold {} `{}` any more", lock.group, lock.key)]
    LockGone {
        /// The command.
        command: CommandId,
        /// The lock.
        lock: Lock,
    },
    /// The stored output is not what the type reads.
    #[error("the output of `{command}` cannot be read as `{expected}`: {reason}")]
    Output {
        /// The command.
        command: CommandId,
        /// The type that was asked for.
        expected: &'static str,
        /// What the decoder says.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::lock::{ConflictReason, LockMode, WaitsFor};

    fn lock() -> Lock {
        Lock { group: "disk".into(), key: "7".to_owned(), mode: LockMode::Shared }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot copy")]
    struct Outer(#[source] std::num::ParseIntError);

    fn fails() -> Result<()> {
        Err(Outer("x".parse::<i32>().unwrap_err()))?
    }

    #[test]
    fn an_error_becomes_a_failure_with_its_causes_code_and_data() {
        let error = fails().unwrap_err().with_code("E7").with_data([1, 2]);
        assert_eq!(format!("{error}"), "cannot copy");
        assert_eq!(format!("{error:?}"), "cannot copy: invalid digit found in string");
        assert!(error.downcast_ref::<Outer>().is_some());

        let command = CommandId::from_uuid(uuid::Uuid::from_u128(1));
        let failure = error.into_failure(command);
        assert_eq!(failure.chain, ["invalid digit found in string"]);
        assert_eq!(failure.code.as_deref(), Some("E7"));
        assert_eq!(failure.data, Some(serde_json::json!([1, 2])));
        assert_eq!(failure.command, Some(command));
    }

    #[test]
    fn a_failure_that_is_passed_on_stays_what_it_was() {
        let id = |n| CommandId::from_uuid(uuid::Uuid::from_u128(n));
        let failure = Failure::new(FailureKind::Panicked, "boom").of(id(1));
        let passed_on = Error::from(failure.clone()).into_failure(id(2));
        assert_eq!(passed_on, failure);
        assert_eq!(Error::other("plain").into_failure(id(2)).message, "plain");
    }

    /// What a command's own code returns of a lock that it did not get, is stored as what it is.
    #[test]
    fn an_error_about_a_lock_keeps_its_kind_and_its_data() {
        let command = CommandId::from_uuid(uuid::Uuid::from_u128(1));
        let conflict = LockConflict {
            group: "disk".to_owned(),
            key: "7".to_owned(),
            mode: LockMode::Shared,
            holder: command,
            command_type: "copy".to_owned(),
            since: Timestamp::from_micros(5),
            reason: ConflictReason::Ahead,
        };
        let waits_for = WaitsFor {
            command,
            command_type: "copy".to_owned(),
            group: "disk".to_owned(),
            key: "7".to_owned(),
            holder: command,
        };
        let deadlock = WouldDeadlock { cycle: vec![waits_for] };
        let timed_out = LockTimedOut { locks: vec![lock()] };

        let failure = Error::from(conflict.clone()).with_code("E7").into_failure(command);
        assert_eq!(
            (failure.kind, &failure.message),
            (FailureKind::LockConflict, &conflict.to_string())
        );
        assert_eq!((failure.command, failure.code.as_deref()), (Some(command), Some("E7")));
        assert_eq!(
            serde_json::from_value::<LockConflict>(failure.data.unwrap()).unwrap(),
            conflict
        );

        let failure = Error::from(deadlock.clone()).into_failure(command);
        assert_eq!(
            (failure.kind, &failure.message),
            (FailureKind::WouldDeadlock, &deadlock.to_string())
        );
        assert_eq!(
            serde_json::from_value::<WouldDeadlock>(failure.data.unwrap()).unwrap(),
            deadlock
        );

        let failure = Error::from(timed_out.clone()).into_failure(command);
        assert_eq!(
            (failure.kind, &failure.message),
            (FailureKind::LockTimedOut, &timed_out.to_string())
        );
        assert_eq!(
            serde_json::from_value::<LockTimedOut>(failure.data.unwrap()).unwrap(),
            timed_out
        );

        let own_data = Error::from(timed_out).with_data(7).into_failure(command);
        assert_eq!(own_data.data, Some(7.into()));
        let not_storable = Error::from(NotStorable::Nul).into_failure(command);
        assert_eq!(not_storable.kind, FailureKind::NotStorable);
    }

    #[test]
    fn what_the_engine_says_names_the_command() {
        let command = CommandId::from_uuid(uuid::Uuid::from_u128(1));
        let reason = Failure::new(FailureKind::Diverged, "another way");
        let output = |reason: &str| EngineError::Output {
            command,
            expected: "u64",
            reason: reason.to_owned(),
        };
        for (error, text) in [
            (
                EngineError::Stuck { command, reason },
                format!("command `{command}` is stuck: another way"),
            ),
            (
                EngineError::Shutdown,
                "the engine has stopped; what is stored goes on when it starts again".to_owned(),
            ),
            (EngineError::NotFound(command), format!("no command `{command}` is stored")),
            (
                EngineError::NotStuck(command),
                format!(
                    "command `{command}` is not stuck, so there is nothing to retry or abandon"
                ),
            ),
            (
                EngineError::AlreadyEnded(command),
                format!(
                    "command `{command}` has its outcome already, so there is nothing to cancel"
                ),
            ),
            (
                EngineError::OtherEngine(command),
                format!("command `{command}` belongs to another engine; ask that one"),
            ),
            (
                EngineError::NotEnded(command),
                format!(
                    "command `{command}` has not ended, so it cannot be submitted again; cancel or \
                     abandon it first"
                ),
            ),
            (
                EngineError::OpenChildren { command, open: 2 },
                format!(
                    "command `{command}` has 2 open children, so it cannot be abandoned before they \
                     end"
                ),
            ),
            (
                EngineError::KeyTaken {
                    key: "order 7".to_owned(),
                    command,
                    command_type: "pay".to_owned(),
                },
                format!(
                    "the key `order 7` belongs to pay `{command}`, which is another command or has \
                     other parameters"
                ),
            ),
            (
                EngineError::NoLockScope(command),
                format!(
                    "command `{command}` does not say how long it keeps a lock: write \
                     `#[command(lock = Execution)]`, or `with_scope` in `apply_lock_properties` where \
                     no field is a lock"
                ),
            ),
            (
                EngineError::LockInUndo(command),
                format!(
                    "the undo command `{command}` takes no locks: it runs under those of the command \
                     that registered it"
                ),
            ),
            (
                EngineError::LaunchInUndo(command),
                format!(
                    "the undo command `{command}` launches no trees: launch them from the command \
                     that registered it"
                ),
            ),
            (
                EngineError::NotHeld { command, lock: lock() },
                format!(
                    "command `{command}` does not hold disk `7` shared: declare it with \
                     `#[lock(shared)]`, or take it with `cx.lock`"
                ),
            ),
            (
                EngineError::LockGone { command, lock: lock() },
                format!("command `{command}` does not hold disk `7` any more"),
            ),
            (output("odd"), format!("the output of `{command}` cannot be read as `u64`: odd")),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn data_that_is_no_json_says_so() {
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = Error::other("plain").with_data(odd);
        let failure = error.into_failure(CommandId::from_uuid(uuid::Uuid::from_u128(1)));
        assert_eq!(failure.data, Some(serde_json::json!("key must be a string")));
    }
}
