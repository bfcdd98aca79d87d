//! What the machine asks to be stored.

use std::sync::Arc;

use crate::entity::{CommandEntity, OnceResult, Progress};
use crate::id::CommandId;
use crate::lock::LockRequest;

/// Writes that a store applies together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The tree that it belongs to.
    pub root: CommandId,
    /// The command that it is about.
    pub command: CommandId,
    /// Locks that must be granted, or nothing of the step is stored.
    pub request: Option<Arc<LockRequest>>,
    /// What to write, in this order.
    pub writes: Vec<Write>,
}

/// One write of a [`Step`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new command.
    Insert(Box<CommandEntity>),
    /// What has changed of a command: all of its [`Progress`], except that `return_value`,
    /// `failure`, `state`, `end_order` and `ended_at` keep their stored value where they are none.
    Update(CommandId, Box<Progress>),
    /// The result of a `once`.
    Once(Box<OnceResult>),
    /// Frees all the locks that a command holds.
    Release(CommandId),
}
