//! What became of a command in a test.

use std::fmt;

use crate::command::Command;
use crate::entity::TreeRows;
use crate::failure::Failure;
use crate::id::CommandId;

/// What became of the command of a [`Case`](super::Case).
pub struct End<C: Command> {
    pub(super) id: CommandId,
    pub(super) outcome: Outcome<C>,
    pub(super) rows: TreeRows,
    pub(super) fault: Option<String>,
}

/// How it ended.
pub(super) enum Outcome<C: Command> {
    Ended(Result<C::Output, Failure>),
    /// This command of its tree cannot go on, for this reason.
    Stuck(CommandId, Failure),
}

impl<C: Command> End<C> {
    /// What it returned, or how it failed.
    ///
    /// # Panics
    /// When it is stuck, and the case lets it be.
    pub fn output(&self) -> Result<&C::Output, &Failure> {
        match &self.outcome {
            Outcome::Ended(result) => result.as_ref(),
            Outcome::Stuck(..) => panic!("there is no output: {self:?}"),
        }
    }

    /// Why it is stuck, if it is; that is for cases which [let it be](super::Case::may_be_stuck).
    pub fn stuck(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Ended(_) => None,
            Outcome::Stuck(_, reason) => Some(reason),
        }
    }

    /// What went wrong in this case: one of [`Report::cases`](super::Report::cases). None in the
    /// first life, in which nothing does.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The identity of the command.
    pub const fn id(&self) -> CommandId {
        self.id
    }

    /// What is stored of its tree.
    pub const fn rows(&self) -> &TreeRows {
        &self.rows
    }
}

impl<C: Command> fmt::Debug for End<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Ended(Ok(_)) => f.write_str("it has succeeded"),
            Outcome::Ended(Err(failure)) => write!(f, "it has failed: {failure}"),
            Outcome::Stuck(command, reason) => {
                let row = self.rows.commands.iter().find(|row| row.command_id == *command);
                let name = row.map_or("a command", |row| &row.command_type);
                write!(f, "`{name}` is stuck: {reason}")
            }
        }
    }
}
