//! What is stored, and what may be stored beside it: each step is checked when it is applied.

mod events;
mod intervals;
mod launches;
mod line;
mod locks;
mod rounds;
mod tasks;
mod undo;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use self::events::EventBook;
use self::locks::LockBook;
use self::tasks::TaskBook;
use super::commands::{json, spec_of};
use super::oracle::outcome;
use super::script;
use crate::entity::{Audit, CommandEntity, Compensation, OnceResult, Progress, Sleep};
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::machine::Address;
use crate::machine::step::{Step, Write};
use crate::status::CommandStatus;

/// Most attempts of a hook or an undo.
pub(super) const HOOK_ATTEMPTS: u32 = 3;

/// The rows as they must be in the store, in order of their ids.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) rows: BTreeMap<CommandId, CommandEntity>,
    pub(super) onces: BTreeMap<(CommandId, i32), OnceResult>,
    pub(super) sleeps: BTreeMap<(CommandId, i32), Sleep>,
    pub(super) entries: BTreeMap<(CommandId, i32), Compensation>,
    pub(super) audits: Vec<Audit>,
    pub(super) keys: HashMap<Arc<str>, CommandId>,
    pub(super) children: HashMap<CommandId, Vec<CommandId>>,
    /// The roots that each has launched.
    launched: HashMap<CommandId, Vec<CommandId>>,
    locks: LockBook,
    events: EventBook,
    tasks: TaskBook,
    end_orders: HashMap<CommandId, i64>,
    /// False when the engine before this one stopped cleanly.
    pub(super) counts_deaths: bool,
    /// What was undone, and the end hooks that were through: their code said so.
    pub(super) undone: HashSet<(CommandId, Option<i32>)>,
    pub(super) hooked: HashSet<CommandId>,
    /// Commands whose validation refused.
    pub(super) refused: HashSet<CommandId>,
    /// Commands that had failed already when they were cancelled.
    failed_before: HashSet<CommandId>,
    /// What this engine has begun.
    pub(super) begun: HashSet<CommandId>,
    pub(super) stuck: usize,
    pub(super) convictions: usize,
    pub(super) timeouts: usize,
    pub(super) compensations: usize,
    pub(super) heard: usize,
    pub(super) launches: usize,
    pub(super) tasks_ended: usize,
    pub(super) queued: usize,
    pub(super) grants: usize,
    pub(super) deadlocks: usize,
    pub(super) lock_timeouts: usize,
}

impl Ledger {
    /// Takes a step that the store has applied.
    pub(super) fn applied(&mut self, step: &Step) {
        let runs = self.runs_of_leaves(step);
        self.check_round_step(step);
        self.check_launches(step);
        for write in &step.writes {
            match write {
                Write::Insert(row) => self.insert(row),
                Write::Update(id, progress) => {
                    self.check_heard(step, *id, progress);
                    self.update(*id, progress);
                }
                Write::Once(once) => {
                    assert!(self.is_open(once.command_id), "a result for an ended flow: {once:?}");
                    self.check_lock_result(once);
                    self.take_order(once.root_command_id, once.end_order);
                    let key = (once.command_id, once.position);
                    assert!(self.onces.insert(key, (**once).clone()).is_none(), "twice: {once:?}");
                }
                Write::Sleep(sleep) => {
                    assert!(self.is_open(sleep.command_id), "an ended flow sleeps: {sleep:?}");
                    let key = (sleep.command_id, sleep.position);
                    let before = self.sleeps.insert(key, (**sleep).clone());
                    assert!(before.is_none(), "twice: {sleep:?}");
                }
                Write::Register(entry) => self.register(entry),
                Write::Compensated(id, _) => {
                    self.marks(step.command, *id, None);
                    let progress = &mut self.rows.get_mut(id).expect("a row").progress;
                    progress.compensated_at = Some(crate::Timestamp::default());
                }
                Write::Undone(id, position, _) => {
                    self.marks(step.command, *id, Some(*position));
                    let entry = self.entries.get_mut(&(*id, *position)).expect("an entry");
                    entry.compensated_at = Some(crate::Timestamp::default());
                }
                Write::Audit(audit) => self.audits.push((**audit).clone()),
                Write::Subscribe(_)
                | Write::Publish(_)
                | Write::Handled(..)
                | Write::Unsubscribe(_) => self.about_events(write),
                Write::Task(task) => self.has_task(task),
                Write::TaskKept(id, position) => self.task_kept(*id, *position),
                Write::TaskEnded(id, position, _, failure) => {
                    self.task_ended(*id, *position, failure.as_ref());
                }
                Write::Release(_)
                | Write::Pass { .. }
                | Write::LeaveLine(..)
                | Write::ReleaseOne { .. } => {}
            }
        }
        for write in &step.writes {
            match write {
                Write::Release(owner) => {
                    self.check_release(*owner);
                    self.locks.release(*owner);
                }
                Write::Pass { from, to, .. } => {
                    self.check_pass(*from, *to);
                    self.locks.pass(*from, *to);
                }
                Write::LeaveLine(owner, number) => self.locks.leave_line(*owner, *number),
                _ => {}
            }
        }
        runs.into_iter().for_each(|id| self.check_leaf_is_over(id));
    }

    /// The leaves of which a run is over by this step.
    fn runs_of_leaves(&self, step: &Step) -> Vec<CommandId> {
        let updates = step.writes.iter().filter_map(|write| match write {
            Write::Update(id, progress) => Some((*id, progress)),
            _ => None,
        });
        let of_leaf = updates.filter(|(id, newer)| {
            let row = &self.rows[id];
            let before = &row.progress;
            let is_over = newer.status != CommandStatus::Active || newer.wake_at.is_some();
            !row.callback_enabled
                && before.status == CommandStatus::Active
                && newer.status != CommandStatus::Stuck
                && is_over
        });
        of_leaf.map(|(id, _)| id).collect()
    }

    fn insert(&mut self, row: &CommandEntity) {
        let id = row.command_id;
        if let Some(parent) = row.parent_command_id {
            assert!(self.is_open(parent), "a child of an ended flow: {row:?}");
            self.children.entry(parent).or_default().push(id);
        }
        if let Some(order) = row.progress.end_order {
            self.take_order(row.root_command_id, order);
        }
        if let Some(key) = &row.submit_key {
            assert!(self.keys.insert(Arc::clone(key), id).is_none(), "a key twice: {row:?}");
        }
        if row.progress.attempt > 0 {
            self.begun.insert(id);
        }
        assert!(self.rows.insert(id, row.clone()).is_none(), "stored twice: {row:?}");
        if row.progress.attempt > 0 {
            self.check_start(id);
        }
        if row.progress.status.is_terminal() {
            self.locks.log.ends.insert(id, self.locks.log.commit);
        }
    }

    /// A flow hears of a lock what has become of its request.
    fn check_lock_result(&mut self, once: &OnceResult) {
        let Some(lock) = &once.lock else { return };
        if once.failure.is_none() {
            return self.check_holds(once.command_id, lock);
        }
        let failure = read(once.failure.as_deref());
        if failure.kind == FailureKind::LockTimedOut {
            self.check_timed_out(once.command_id, once.position + 1);
        }
    }

    fn register(&mut self, entry: &Compensation) {
        let row = &self.rows[&entry.command_id];
        assert_eq!(row.progress.status, CommandStatus::Active, "it registers: {entry:?}");
        let mut own = self.entries.range((entry.command_id, 0)..=(entry.command_id, i32::MAX));
        let is_same = |stored: &Compensation| stored.command_parameters == entry.command_parameters;
        let again = !spec_of(&row.command_type).callback.is_flow()
            && own.any(|(_, stored)| is_same(stored));
        assert!(!again, "a leaf registers it again: {entry:?}");
        self.take_order(entry.root_command_id, entry.end_order);
        let key = (entry.command_id, entry.position);
        assert!(self.entries.insert(key, entry.clone()).is_none(), "twice: {entry:?}");
    }

    fn update(&mut self, id: CommandId, newer: &Progress) {
        use CommandStatus::{
            Active, EndedSuccessfully, EndedWithFailure, ExecutionFailed, FailedRestarted, Stuck,
        };
        let row = &self.rows[&id];
        let before = row.progress.clone();
        let (from, to, root) = (before.status, newer.status, row.root_command_id);
        assert!(!from.is_terminal(), "{id} has ended and is written: {newer:?}");
        // Two ways in one write, where nothing has to happen in between.
        let both = [
            (Active, EndedSuccessfully),
            (ExecutionFailed, EndedWithFailure),
            (FailedRestarted, EndedWithFailure),
        ];
        let is_legal = from == to || from.to(to).is_ok() || both.contains(&(from, to));
        assert!(is_legal, "{id} goes from {from} to {to}");
        assert!(newer.attempt >= before.attempt);
        self.check_wait(id, &before, newer);
        if from == CommandStatus::NotStarted && to == Active {
            self.check_start(id);
        }
        if from == CommandStatus::NotStarted && to == EndedWithFailure {
            let failure = read(newer.failure.as_deref());
            if failure.kind == FailureKind::LockTimedOut {
                self.check_timed_out(id, 0);
            }
        }
        let is_paused = to == Active && newer.wake_at.is_some() && before.wake_at.is_none();
        if from == Active && ((to != Active && to != Stuck) || is_paused) {
            self.check_code_is_over(id);
        }
        let started =
            before.started_at.or(newer.started_at) == newer.started_at.or(before.started_at);
        assert!(started, "{id} has another start: {newer:?}");
        self.check_deaths(id, &before, newer);
        assert!(u32::try_from(newer.hook_attempt).is_ok_and(|n| n <= HOOK_ATTEMPTS));
        assert_eq!(to == Stuck, newer.stuck_from.is_some());
        assert_eq!(to == Stuck, newer.stuck_reason.is_some());
        if to == Stuck {
            let reason = read(newer.stuck_reason.as_deref());
            assert!(!reason.message.is_empty(), "{id} is stuck for no reason");
            self.stuck += usize::from(from != Stuck);
            let is_new = newer.stuck_reason != before.stuck_reason;
            self.convictions += usize::from(is_new && reason.kind == FailureKind::Crashed);
        }
        if newer.cancelled.is_some() && before.cancelled.is_none() {
            let kind = read(newer.cancelled.as_deref()).kind;
            self.timeouts += usize::from(kind == FailureKind::TimedOut);
            let stood = before.stuck_from.unwrap_or(from);
            let outcomes = [CommandStatus::Succeeded, CommandStatus::Failed];
            assert!(!outcomes.contains(&stood), "{id} is cancelled though its outcome stands");
            if [ExecutionFailed, FailedRestarted].contains(&stood) {
                self.failed_before.insert(id);
            }
        }
        assert_eq!(newer.executed, newer.return_value.is_some());
        if to.is_terminal() {
            let mut children = self.children.get(&id).into_iter().flatten();
            assert!(children.all(|child| !self.is_open(*child)), "{id} ends before its children");
            self.take_order(root, newer.end_order.expect("an order"));
            assert!(newer.callback_notified);
        }
        self.check_own_undo(id, &before, newer);
        self.check_tasks(id, newer);
        self.rows.get_mut(&id).expect("it is here").progress.overlay(newer);
        if to.is_terminal() {
            self.locks.log.ends.insert(id, self.locks.log.commit);
            self.check_end(id, &before);
        }
    }

    /// A command begins when its time has come, and a leaf that is tried again has waited.
    fn check_wait(&mut self, id: CommandId, before: &Progress, newer: &Progress) {
        if newer.attempt == before.attempt {
            return;
        }
        if before.status == CommandStatus::NotStarted {
            let waits = before.wake_at.is_some_and(|at| newer.started_at < Some(at));
            assert!(!waits, "{id} begins before its time: {newer:?}");
        }
        let ran_before = !self.begun.insert(id);
        let is_leaf = !spec_of(&self.rows[&id].command_type).callback.is_flow();
        assert!(!ran_before || !is_leaf || before.wake_at.is_some(), "{id} has not waited");
    }

    fn check_deaths(&self, id: CommandId, before: &Progress, newer: &Progress) {
        if newer.deaths <= before.deaths {
            return;
        }
        let is_root = self.rows[&id].parent_command_id.is_none();
        assert!(is_root && newer.deaths <= 3, "{id} has died too often: {newer:?}");
        let counts = self.counts_deaths || newer.deaths == 3;
        assert!(counts, "a death of {id} is counted after a clean stop");
    }

    /// What must have happened before a command ended.
    fn check_end(&self, id: CommandId, before: &Progress) {
        let row = &self.rows[&id];
        let hooks = script::hooks(&json(&row.command_parameters));
        let result = outcome(row);
        let is_abandoned = matches!(&result, Err(failure) if failure.kind == FailureKind::Abandoned && failure.command == Some(id));
        let never_began = before.status == CommandStatus::NotStarted;
        let was_refused = before.status == CommandStatus::Active && self.refused.contains(&id);
        if is_abandoned {
            assert_eq!(before.status, CommandStatus::Stuck, "{id} is abandoned");
        } else if !never_began && !was_refused {
            let has_own = if result.is_ok() { hooks.success } else { hooks.failure };
            assert!(!has_own || self.hooked.contains(&id), "its hook was not called: {row:?}");
            if result.is_err() {
                self.check_undone(id, hooks.compensate);
            }
        }
        if row.progress.cancelled.is_some() {
            let failure = result.expect_err("a cancelled command fails");
            let kinds = [
                FailureKind::Cancelled,
                FailureKind::TimedOut,
                FailureKind::Abandoned,
                FailureKind::Rejected,
            ];
            let is_told = kinds.contains(&failure.kind) || self.failed_before.contains(&id);
            assert!(is_told, "it was cancelled: {row:?}");
        }
    }

    fn take_order(&mut self, root: CommandId, order: i64) {
        let last = self.end_orders.entry(root).or_default();
        assert!(order > *last, "end order {order} comes after {last} in {root}");
        *last = order;
    }

    /// The deaths of a tree since something in it has ended.
    pub(super) fn deaths(&self, root: CommandId) -> i32 {
        let Some(progress) = self.rows.get(&root).map(|row| &row.progress) else { return 0 };
        let order = self.end_orders.get(&root).copied().unwrap_or(0);
        if progress.deaths_end_order >= order { progress.deaths } else { 0 }
    }

    /// Whether it, or a command above it, was cancelled or timed out.
    pub(super) fn is_cancelled(&self, id: CommandId) -> bool {
        let cancelled = |id: CommandId| self.rows[&id].progress.cancelled.is_some();
        cancelled(id) || self.ancestors(id).any(cancelled)
    }

    pub(super) fn is_open(&self, id: CommandId) -> bool {
        self.rows.get(&id).is_some_and(|row| !row.progress.status.is_terminal())
    }

    pub(super) fn ancestors(&self, id: CommandId) -> impl Iterator<Item = CommandId> {
        let parent = |id: &CommandId| self.rows.get(id)?.parent_command_id;
        std::iter::successors(parent(&id), parent)
    }

    /// The commands that are stuck, as it is stored.
    pub(super) fn stuck_commands(&self) -> Vec<Address> {
        let is_stuck = |row: &&CommandEntity| row.progress.status == CommandStatus::Stuck;
        let at =
            |row: &CommandEntity| Address { root: row.root_command_id, command: row.command_id };
        self.rows.values().filter(is_stuck).map(at).collect()
    }

    /// Whether a command takes none of the places of its type.
    pub(super) fn is_below_its_type(&self, id: CommandId) -> bool {
        let name = &self.rows[&id].command_type;
        self.ancestors(id).any(|above| self.rows[&above].command_type == *name)
    }

    /// Checks that these outcomes, which a flow was given, are stored.
    pub(super) fn check_stored(&self, flow: Address, positions: &[i32]) {
        for position in positions {
            let child = flow.command.child(flow.root, *position);
            let row = self.rows.get(&child).filter(|row| row.parent_command_id.is_some());
            let is_stored = match row {
                Some(row) => row.progress.status.is_terminal(),
                None => {
                    let key = (flow.command, *position);
                    self.onces.contains_key(&key) || self.entries.contains_key(&key)
                }
            };
            assert!(is_stored, "a step runs, and {position} of {flow:?} is not stored");
        }
    }

    /// How a command may be tried: as its parent said, else as its type says.
    pub(super) fn may_be_tried_again(&self, id: CommandId) -> bool {
        let row = &self.rows[&id];
        row.retry.is_some() || spec_of(&row.command_type).retry.is_some()
    }
}

/// A stored failure.
pub(super) fn read(text: Option<&str>) -> Failure {
    serde_json::from_str(text.expect("a failure")).expect("a failure")
}
