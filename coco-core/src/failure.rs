//! How a command failed, as it is stored and as a parent's `?` gets it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::CommandId;
use crate::lock::{LockConflict, LockTimedOut, WouldDeadlock};

/// Longest message, code or chain entry that is kept, in bytes.
const LONGEST_TEXT: usize = 16 * 1024;
/// Most causes that are kept.
const LONGEST_CHAIN: usize = 16;
/// Largest `data` that is kept, in bytes of JSON.
const LARGEST_DATA: usize = 256 * 1024;

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The command's own code returned an error.
    Failed,
    /// The command's own code panicked.
    Panicked,
    /// `validate` refused; nothing was done by this run.
    Refused,
    /// A lock that it needs is held by another command; nothing was done.
    LockConflict,
    /// To wait for a lock would never end, because whoever has it waits for this command in turn;
    /// nothing was done.
    WouldDeadlock,
    /// It waited for a lock longer than it may; nothing was done.
    LockTimedOut,
    /// The engine died while the code ran, and the command is not idempotent: what it was about
    /// may have half happened.
    Restarted,
    /// It was cancelled, or a command above it was.
    Cancelled,
    /// It took longer than its `timeout`.
    TimedOut,
    /// It was stuck, and an operator gave it up.
    Abandoned,
    /// The engine died again and again while it ran.
    Crashed,
    /// A value of it cannot be stored: too large, too deep, or with a NUL.
    NotStorable,
    /// The store refused its data.
    Rejected,
    /// What is stored of it cannot be turned back into a command.
    Undecodable,
    /// Its flow took another way than the one that is stored.
    Diverged,
    /// A kind that this program does not know.
    #[serde(other)]
    Unknown,
}

/// Why a command failed: stored with it, and what a parent's `?` gives, live as well as replayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: FailureKind,
    /// A code that the failing code chose ([`Error::with_code`](crate::Error::with_code)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<str>>,
    /// What went wrong.
    pub message: String,
    /// The causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// Data that the failing code chose ([`Error::with_data`](crate::Error::with_data)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The command whose code failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
}

impl Failure {
    /// A failure of `kind`.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            chain: Vec::new(),
            data: None,
            command: None,
        }
    }

    /// A failure of `kind` that keeps what an error of the engine says for programs to read.
    fn with_data(kind: FailureKind, error: &(impl std::error::Error + Serialize)) -> Self {
        Self { data: serde_json::to_value(error).ok(), ..Self::new(kind, error.to_string()) }
    }

    /// Names the command that failed, unless one is named already.
    #[must_use]
    pub fn of(mut self, command: CommandId) -> Self {
        self.command.get_or_insert(command);
        self
    }

    /// Cuts what would be too large to store, so that a failure always fits.
    #[must_use]
    pub(crate) fn fitting(mut self) -> Self {
        cut(&mut self.message);
        self.chain.truncate(LONGEST_CHAIN);
        self.chain.iter_mut().for_each(cut);
        self.code = self.code.map(|code| {
            let mut code = code.into_string();
            cut(&mut code);
            code.into()
        });
        let fits = |data: &Value| {
            let text = data.to_string();
            text.len() <= LARGEST_DATA && crate::storable::storable(&text).is_ok()
        };
        self.data = self.data.filter(fits);
        self
    }
}

fn cut(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.chain.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl std::error::Error for Failure {}

impl From<&LockConflict> for Failure {
    fn from(conflict: &LockConflict) -> Self {
        Self::with_data(FailureKind::LockConflict, conflict)
    }
}

impl From<&WouldDeadlock> for Failure {
    fn from(deadlock: &WouldDeadlock) -> Self {
        Self::with_data(FailureKind::WouldDeadlock, deadlock)
    }
}

impl From<&LockTimedOut> for Failure {
    fn from(timed_out: &LockTimedOut) -> Self {
        Self::with_data(FailureKind::LockTimedOut, timed_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_always_fits() {
        let mut failure = Failure::new(FailureKind::Failed, "é".repeat(LONGEST_TEXT));
        failure.chain = vec!["nul \0".to_owned(); 40];
        failure.data = Some(Value::String("x".repeat(LARGEST_DATA)));
        let failure = failure.fitting();
        assert_eq!(failure.message.len(), LONGEST_TEXT);
        assert_eq!(failure.chain.len(), LONGEST_CHAIN);
        assert_eq!(failure.chain[0], "nul \u{fffd}");
        assert_eq!(failure.data, None);
    }

    #[test]
    fn a_kind_of_a_newer_program_is_unknown() {
        let read: Failure = serde_json::from_str(r#"{"kind":"exploded","message":"m"}"#).unwrap();
        assert_eq!(read.kind, FailureKind::Unknown);
    }
}
