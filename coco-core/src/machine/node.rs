//! One command that is not terminal.

use std::sync::Arc;

use super::flow::Flow;
use crate::callback::CallbackKind;
use crate::command::Spec;
use crate::entity::{CommandEntity, Progress};
use crate::erased::Call;
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::{Lock, LockRequest, LockScope};
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// A command that is not terminal.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) spec: Spec,
    pub(super) parent: Option<CommandId>,
    pub(super) position: i32,
    pub(super) parameters: Arc<str>,
    pub(super) created_at: Timestamp,
    pub(super) locks: Vec<Lock>,
    /// Whether it may hold locks: those that it asks for, or those of the type that it was when
    /// it began.
    pub(super) may_hold: bool,
    pub(super) progress: Progress,
    /// Why it failed, or is about to.
    pub(super) failure: Option<Failure>,
    /// Whether `end_with_failure` is its own, once `execute` has failed.
    pub(super) failure_hook: bool,
    pub(super) open_children: usize,
    pub(super) flow: Option<Box<Flow>>,
}

impl Node {
    pub(super) fn new(
        spec: Spec,
        parent: Option<CommandId>,
        position: i32,
        parameters: Arc<str>,
        created_at: Timestamp,
        locks: Vec<Lock>,
    ) -> Self {
        let locks = if spec.scope == LockScope::None { Vec::new() } else { locks };
        let is_flow = spec.callback == CallbackKind::SerialChildren;
        Self {
            spec,
            parent,
            position,
            parameters,
            created_at,
            may_hold: !locks.is_empty(),
            locks,
            progress: Progress::new(CommandStatus::NotStarted),
            failure: None,
            failure_hook: true,
            open_children: 0,
            flow: is_flow.then(Box::default),
        }
    }

    /// Its code may begin.
    pub(super) fn begin(&mut self) {
        self.become_status(CommandStatus::Active);
        self.progress.attempt += 1;
    }

    /// True while this run of `execute` counts.
    pub(super) fn runs(&self, attempt: i32) -> bool {
        self.progress.status == CommandStatus::Active && self.progress.attempt == attempt
    }

    /// # Panics
    /// When the table of statuses has no such way: a bug, better loud than stored.
    pub(super) fn become_status(&mut self, next: CommandStatus) {
        match self.progress.status.to(next) {
            Ok(status) => self.progress.status = status,
            Err(illegal) => panic!("{illegal}"),
        }
    }

    /// Back where it was before it became stuck; gives the end hook to run from there.
    pub(super) fn unpark(&mut self) -> Call {
        let back = self.progress.stuck_from.take().unwrap_or(CommandStatus::Active);
        self.progress.stuck_reason = None;
        self.become_status(back);
        self.end_hook()
    }

    pub(super) fn fail(&mut self, status: CommandStatus, failure: Failure) {
        self.become_status(status);
        self.progress.failure = Some(failure_json(&failure));
        self.failure = Some(failure);
    }

    /// The call of the end hook that belongs to its status.
    pub(super) fn end_hook(&self) -> Call {
        match (&self.failure, &self.progress.return_value) {
            (Some(failure), _) => Call::EndWithFailure(Arc::new(failure.clone())),
            (None, Some(output)) => Call::EndSuccessfully(Arc::clone(output)),
            (None, None) => Call::EndSuccessfully("null".into()),
        }
    }

    pub(super) fn row(&self, id: CommandId, root: CommandId) -> CommandEntity {
        CommandEntity {
            command_id: id,
            command_type: self.spec.name.into(),
            parent_command_id: self.parent,
            root_command_id: root,
            position: self.position,
            command_parameters: Arc::clone(&self.parameters),
            created_at: self.created_at,
            callback_enabled: self.spec.callback != CallbackKind::None,
            progress: self.progress.clone(),
        }
    }

    pub(super) fn request(
        &self,
        owner: CommandId,
        ancestors: Vec<CommandId>,
        at: Timestamp,
    ) -> Option<Arc<LockRequest>> {
        let command_type = self.spec.name.into();
        let locks = self.locks.clone();
        let request = LockRequest { owner, command_type, ancestors, locks, at };
        (!self.locks.is_empty()).then(|| Arc::new(request))
    }
}

pub(super) fn failure_json(failure: &Failure) -> Arc<str> {
    serde_json::to_string(failure)
        .unwrap_or_else(|_| r#"{"kind":"failed","message":""}"#.into())
        .into()
}
