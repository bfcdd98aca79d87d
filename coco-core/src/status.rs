//! Where a command stands, and the one table of the ways between.
//!
//! ```text
//! NotStarted ─► Active ─► Succeeded ─► EndedSuccessfully
//!     │           │ ├───► ExecutionFailed ─┐   execute or a round failed, panicked, timed out, was cancelled
//!     │           │ ├───► FailedRestarted ─┤   the engine died in an execute that is not idempotent
//!     │           │ └───► Failed ◄─────────┘   once every child is terminal
//!     │           │          └───► EndedWithFailure   undone, and its end hook is through
//!     └───────────┴──────────────► EndedWithFailure   refused by validation or a lock, or cancelled
//!                                                     before it ran
//! Active | Succeeded | ExecutionFailed | FailedRestarted | Failed
//!     ─► Stuck ─► back where it came from (retry), or EndedWithFailure (abandon)
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a command stands. Stored as snake_case text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CommandStatus {
    /// Stored; its code has not begun.
    NotStarted,
    /// Its code may have begun.
    Active,
    /// `execute`, its callback and all children succeeded; the end hook is still to come.
    Succeeded,
    /// `execute` or a round of its callback returned an error or panicked, or it timed out or was
    /// cancelled; children and tasks outside may still run.
    ExecutionFailed,
    /// The engine died while `execute` ran, and the command is not idempotent.
    FailedRestarted,
    /// It failed and every child is terminal; it is being undone, or its end hook is to come.
    Failed,
    /// Terminal: it succeeded and its end hook is through.
    EndedSuccessfully,
    /// Terminal: it failed, or was refused before it did anything.
    EndedWithFailure,
    /// It cannot go on by itself; it keeps its locks and waits for an operator.
    Stuck,
    /// What a reader gets for a status that this program does not know. Never written.
    Unknown,
}

use CommandStatus::{
    Active, EndedSuccessfully, EndedWithFailure, ExecutionFailed, Failed, FailedRestarted,
    NotStarted, Stuck, Succeeded, Unknown,
};

/// Every way from one status to another.
const WAYS: [(CommandStatus, CommandStatus); 22] = [
    (NotStarted, Active),
    (NotStarted, EndedWithFailure),
    (Active, Succeeded),
    (Active, ExecutionFailed),
    (Active, FailedRestarted),
    (Active, Failed),
    (Active, EndedWithFailure),
    (Active, Stuck),
    (Succeeded, EndedSuccessfully),
    (Succeeded, Stuck),
    (ExecutionFailed, Failed),
    (ExecutionFailed, Stuck),
    (FailedRestarted, Failed),
    (FailedRestarted, Stuck),
    (Failed, EndedWithFailure),
    (Failed, Stuck),
    (Stuck, Active),
    (Stuck, Succeeded),
    (Stuck, ExecutionFailed),
    (Stuck, FailedRestarted),
    (Stuck, Failed),
    (Stuck, EndedWithFailure),
];

const NAMES: [(CommandStatus, &str); 9] = [
    (NotStarted, "not_started"),
    (Active, "active"),
    (Succeeded, "succeeded"),
    (ExecutionFailed, "execution_failed"),
    (FailedRestarted, "failed_restarted"),
    (Failed, "failed"),
    (EndedSuccessfully, "ended_successfully"),
    (EndedWithFailure, "ended_with_failure"),
    (Stuck, "stuck"),
];

impl CommandStatus {
    /// True for the two that nothing leaves.
    pub const fn is_terminal(self) -> bool {
        matches!(self, EndedSuccessfully | EndedWithFailure)
    }

    /// True for the two of what has failed, and waits until all that it has begun is over.
    pub(crate) const fn is_draining(self) -> bool {
        matches!(self, ExecutionFailed | FailedRestarted)
    }

    /// The text that is stored.
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(status, _)| *status == self).map_or("unknown", |(_, name)| name)
    }

    /// `next`, if the table has a way there.
    ///
    /// # Errors
    /// [`IllegalTransition`] otherwise.
    pub fn to(self, next: Self) -> Result<Self, IllegalTransition> {
        if WAYS.contains(&(self, next)) {
            Ok(next)
        } else {
            Err(IllegalTransition { from: self, to: next })
        }
    }
}

impl fmt::Display for CommandStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CommandStatus {
    type Err = std::convert::Infallible;

    /// Text that no status is stored as gives [`CommandStatus::Unknown`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(NAMES.iter().find(|(_, name)| *name == text).map_or(Unknown, |(status, _)| *status))
    }
}

/// A way that the table of statuses does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command that is `{from}` cannot become `{to}`")]
pub struct IllegalTransition {
    /// Where the command stands.
    pub from: CommandStatus,
    /// Where it was to go.
    pub to: CommandStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_terminal_status_and_nothing_reaches_unknown() {
        for (from, to) in WAYS {
            assert!(!from.is_terminal(), "{from} is terminal but leads to {to}");
            assert!(from != Unknown && to != Unknown);
            assert_eq!(from.to(to), Ok(to));
        }
        let refused = EndedSuccessfully.to(Active).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a command that is `ended_successfully` cannot become `active`"
        );
    }

    #[test]
    fn stored_text_is_read_back_and_foreign_text_is_unknown() {
        for (status, name) in NAMES {
            assert_eq!(name.parse(), Ok(status));
            assert_eq!(serde_json::to_value(status).unwrap(), name);
        }
        assert_eq!("paused".parse(), Ok(Unknown));
    }
}
