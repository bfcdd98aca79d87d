//! One command that is not terminal.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::flow::Flow;
use super::input::Undoing;
use super::locks::LateLock;
use super::rounds::Rounds;
use crate::callback::{CallbackKind, EndedChild};
use crate::command::Spec;
use crate::context::requests::Ended;
use crate::entity::{CommandEntity, Progress};
use crate::erased::{Call, Hooks};
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::{Lock, LockProperties, LockRequest};
use crate::retry::Retry;
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// A command that is not terminal.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) spec: &'static Spec,
    pub(super) parent: Option<CommandId>,
    pub(super) position: i32,
    pub(super) parameters: Arc<str>,
    pub(super) created_at: Timestamp,
    pub(super) locks: Arc<LockProperties>,
    /// How it is retried, and the same as its parent said it, as JSON.
    pub(super) retry: (Option<Retry>, Option<Arc<str>>),
    /// Whether it may hold locks: those that it asks for, those of the type that it was when it
    /// began, and those of its children that may have to be undone.
    pub(super) may_hold: bool,
    /// Whether it takes up one of the places of its type.
    pub(super) has_place: bool,
    /// When it asked for its start, while the step that starts it may be refused and is on its way.
    pub(super) asked_at: Option<Timestamp>,
    /// Where it waits in line for the locks that it needs to begin, until when.
    pub(super) in_line: Option<Option<Timestamp>>,
    /// Whether it was granted them after that.
    pub(super) has_locks: bool,
    /// The locks that it has asked for while it runs, and has no answer for, by the numbers of the
    /// requests.
    pub(super) late: BTreeMap<i32, LateLock>,
    /// How many locks a leaf has asked for since its tree is here.
    pub(super) locks_asked: i32,
    /// Whether what a leaf asked for before may still be in line.
    pub(super) asked_before: bool,
    /// The cancels that came meanwhile: they are heard when it is known what became of its start.
    pub(super) early_cancels: Vec<(u64, Arc<str>)>,
    /// Whether what is stored of its requests is being read, for a retry.
    pub(super) is_read: bool,
    pub(super) progress: Progress,
    /// Why it failed, or is about to.
    pub(super) failure: Option<Arc<Failure>>,
    /// Why it was cancelled, or a command above it was.
    pub(super) cancelled: Option<Arc<Failure>>,
    /// Which hooks are its own, as far as it is known.
    pub(super) hooks: Hooks,
    /// What runs for it since its outcome stands.
    pub(super) ending: Option<Ending>,
    /// What succeeded in it and may have to be undone, newest last.
    pub(super) done: Vec<Undoing>,
    /// How many undo commands it has registered.
    pub(super) entries: i32,
    pub(super) open_children: usize,
    pub(super) flow: Option<Box<Flow>>,
    /// Where rounds follow its `execute`.
    pub(super) rounds: Option<Box<Rounds>>,
}

/// What runs for a command whose outcome stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The newest of what it has done is being undone.
    Undo,
    /// Its own `compensate`.
    Compensate,
    /// Its tasks are cleared.
    Clear,
    /// Its end hook.
    Hook,
}

impl Node {
    pub(super) fn new(
        spec: &'static Spec,
        parent: Option<CommandId>,
        position: i32,
        parameters: Arc<str>,
        created_at: Timestamp,
        locks: LockProperties,
    ) -> Self {
        let (is_flow, has_rounds) = (spec.callback.is_flow(), spec.callback.has_rounds());
        Self {
            spec,
            parent,
            position,
            parameters,
            created_at,
            retry: (spec.retry, None),
            may_hold: !locks.locks().is_empty(),
            locks: locks.shared(),
            has_place: false,
            asked_at: None,
            in_line: None,
            has_locks: false,
            late: BTreeMap::new(),
            locks_asked: 0,
            asked_before: false,
            early_cancels: Vec::new(),
            is_read: false,
            progress: Progress::new(CommandStatus::NotStarted),
            failure: None,
            cancelled: None,
            hooks: Hooks::UNKNOWN,
            ending: None,
            done: Vec::new(),
            entries: 0,
            open_children: 0,
            flow: is_flow.then(Box::default),
            rounds: has_rounds.then(Box::default),
        }
    }

    /// Its code may begin.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.become_status(CommandStatus::Active);
        if self.progress.attempt == 0 && now != self.created_at {
            self.progress.started_at = Some(now);
        }
        self.progress.attempt += 1;
        self.progress.wake_at = None;
    }

    /// When it has taken too long.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        Some(self.progress.began_at(self.created_at)?.after(self.spec.timeout?))
    }

    /// True while this run of `execute` counts.
    pub(super) fn runs(&self, attempt: i32) -> bool {
        let progress = &self.progress;
        let waits = progress.wake_at.is_some();
        progress.status == CommandStatus::Active && progress.attempt == attempt && !waits
    }

    /// # Panics
    /// When the table of statuses has no such way: a bug, better loud than stored.
    pub(super) fn become_status(&mut self, next: CommandStatus) {
        match self.progress.status.to(next) {
            Ok(status) => self.progress.status = status,
            Err(illegal) => panic!("{illegal}"),
        }
    }

    /// Back where it was before it became stuck.
    pub(super) fn unpark(&mut self) {
        let back = self.progress.stuck_from.take().unwrap_or(CommandStatus::Active);
        self.progress.stuck_reason = None;
        self.progress.hook_attempt = 0;
        self.become_status(back);
    }

    pub(super) fn fail(&mut self, status: CommandStatus, failure: Failure) {
        self.become_status(status);
        self.progress.failure = Some(failure_json(&failure));
        self.failure = Some(failure.into());
    }

    /// What it returned, as JSON.
    pub(super) fn output(&self) -> Arc<str> {
        self.progress.return_value.clone().unwrap_or_else(|| "null".into())
    }

    /// The call of the end hook that belongs to its status.
    pub(super) fn end_hook(&self) -> Call {
        match &self.failure {
            Some(failure) => Call::EndWithFailure(Arc::clone(failure)),
            None => Call::EndSuccessfully(self.output()),
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
            submit_key: None,
            resubmit_of: None,
            retry: self.retry.1.clone(),
            progress: self.progress.clone(),
        }
    }

    /// A child of it has ended.
    pub(super) fn child_ended(
        &mut self,
        id: CommandId,
        position: i32,
        end_order: i64,
        ended: Ended,
        has_begun: bool,
    ) {
        if let Some(flow) = &mut self.flow {
            flow.ended(end_order, position, ended);
        } else if let Some(rounds) = &mut self.rounds {
            let child = EndedChild { id, end_order, result: ended.result };
            rounds.child_ended(child, has_begun.then_some(position));
        }
    }

    /// Whether it needs locks to begin.
    pub(super) fn needs_locks(&self) -> bool {
        !self.locks.locks().is_empty()
    }

    /// The request for what it needs to begin and was not granted yet.
    pub(super) fn start_request(
        &self,
        owner: CommandId,
        ancestors: Vec<CommandId>,
        at: Timestamp,
    ) -> Option<Arc<LockRequest>> {
        let locks = self.locks.locks().to_vec();
        let asks = self.needs_locks() && !self.has_locks;
        asks.then(|| Arc::new(self.request(owner, 0, ancestors, locks, at)))
    }

    /// The request of this number for `locks`, as its command says whether it waits.
    pub(super) fn request(
        &self,
        owner: CommandId,
        number: i32,
        ancestors: Vec<CommandId>,
        locks: Vec<Lock>,
        at: Timestamp,
    ) -> LockRequest {
        let command_type = self.spec.name.into();
        let (waits, until) = (false, None);
        LockRequest { owner, number, command_type, ancestors, locks, at, waits, until }
            .waiting(self.locks.wait())
    }
}

pub(super) fn failure_json(failure: &Failure) -> Arc<str> {
    serde_json::to_string(failure)
        .unwrap_or_else(|_| r#"{"kind":"failed","message":""}"#.into())
        .into()
}
