//! What a flow asks for becomes steps.

use std::sync::Arc;
use std::time::Duration;

use super::flow::Asked;
use super::input::{Address, Effect, Entry, Output, Refusal, Undoing};
use super::node::{Node, failure_json};
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::requests::{Ask, AskedChild, AskedUndo, Ended};
use crate::entity::{CommandEntity, Compensation, OnceResult, Sleep};
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::Lock;
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// The stored name of the end of a sleep.
const SLEEP: &str = "sleep";

impl Tree {
    /// Compares a request with what is stored. A new one is kept until [`Tree::ask_new`].
    pub(super) fn asked(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        ask: Ask,
    ) -> Result<(), String> {
        let Some(flow) = self.flow(id) else { return Ok(()) };
        match ask {
            Ask::Child { position, child } => {
                if flow.asks_child(position, &child)? == Asked::New {
                    flow.new.push(Ask::Child { position, child });
                }
            }
            Ask::Once { position, name } => {
                if flow.asks_once(position, Arc::clone(&name))? == Asked::New {
                    flow.new.push(Ask::Once { position, name });
                }
            }
            Ask::Sleep { position, micros } => {
                if flow.asks_sleep(position, micros)? == Asked::New {
                    flow.new.push(Ask::Sleep { position, micros });
                }
            }
            Ask::Lock { position, lock } => {
                if flow.asks_lock(position, &lock)? == Asked::New {
                    flow.new.push(Ask::Lock { position, lock });
                }
            }
            Ask::Launch { position, root } => {
                if flow.asks_launch(position, &root)? == Asked::New {
                    flow.new.push(Ask::Launch { position, root });
                }
            }
            Ask::Register { position, undo } => {
                if flow.asks_undo(position, &undo)? == Asked::New {
                    flow.new.push(Ask::Register { position, undo });
                }
            }
            Ask::Dropped { position } => drop(flow.once_ended(position)),
            Ask::OnceEnded { position, result } => {
                if let Some(name) = flow.once_ended(position) {
                    self.once_ended(turn.now, id, position, name, None, result);
                }
            }
        }
        Ok(())
    }

    /// Emits the new requests, unless the flow has yet to ask for what is stored: it may be about
    /// to diverge, and then nothing of this run may happen.
    pub(super) fn ask_new(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let Some(flow) = self.flow(id).filter(|flow| !flow.is_replaying()) else { return };
        for ask in std::mem::take(&mut flow.new) {
            match ask {
                Ask::Child { position, child } => self.insert_child(turn, id, position, *child),
                Ask::Once { position, .. } => self.queue_once(id, position),
                Ask::Sleep { position, micros } => self.sleep(turn, id, position, micros),
                Ask::Lock { position, lock } => self.ask_lock(turn, id, position + 1, lock, None),
                Ask::Launch { position, root } => {
                    self.flow_launches(turn, id, position, *root);
                }
                Ask::Register { position, undo } => {
                    let AskedUndo { name, parameters, .. } = *undo;
                    self.register(turn, id, position, Entry { name: name.into(), parameters });
                }
                Ask::OnceEnded { .. } | Ask::Dropped { .. } => {}
            }
        }
    }

    /// A `once` gets its turn when all that the flow was given is durable.
    fn queue_once(&mut self, id: CommandId, position: i32) {
        let at = Address { root: self.root, command: id };
        let attempt = self.node(id).progress.attempt;
        let Some(given) = self.flow(id).map(|flow| flow.given) else { return };
        let turn = Effect::Turn { at, attempt, position, given };
        self.emit(id, None, Vec::new(), vec![turn]);
    }

    /// Lets a `once` run, unless the flow was given more since it was queued.
    pub(super) fn once_has_turn(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        position: i32,
        given: u64,
    ) {
        match self.flow(id).filter(|flow| flow.has_open_once(position)) {
            None => {}
            Some(flow) if flow.given == given => {
                turn.out.push(Output::Do(Effect::LetRun { command: id, position }));
            }
            Some(_) => self.queue_once(id, position),
        }
    }

    pub(super) fn once_ended(
        &mut self,
        at: Timestamp,
        id: CommandId,
        position: i32,
        name: Arc<str>,
        lock: Option<Lock>,
        result: Result<Arc<str>, Failure>,
    ) {
        let write = self.ended_once(at, id, position, name, lock, result);
        self.emit(id, None, vec![write], Vec::new());
    }

    /// The end of a `once`, to be stored; the flow is given it.
    pub(super) fn ended_once(
        &mut self,
        at: Timestamp,
        id: CommandId,
        position: i32,
        name: Arc<str>,
        lock: Option<Lock>,
        result: Result<Arc<str>, Failure>,
    ) -> Write {
        self.end_order += 1;
        let end_order = self.end_order;
        let row = OnceResult {
            command_id: id,
            root_command_id: self.root,
            position,
            name,
            end_order,
            ended_at: at,
            return_value: result.as_ref().ok().cloned(),
            failure: result.as_ref().err().map(failure_json),
            lock,
        };
        if let Some(flow) = self.flow(id) {
            flow.ended(end_order, position, Ended { result, at });
        }
        Write::Once(Box::new(row))
    }

    /// Stores a child and starts it. Where it asks for locks, its start is a step of its own,
    /// which may be refused.
    fn insert_child(
        &mut self,
        turn: &mut Turn<'_>,
        parent: CommandId,
        position: i32,
        child: AskedChild,
    ) {
        let mut run = Vec::new();
        let (row, waits) = self.new_child(turn, parent, position, child, &mut run);
        self.emit(parent.child(self.root, position), None, vec![row], run);
        if let Some(child) = waits {
            self.start(turn, child);
        }
    }

    /// A new child: the row to store, and the child where it does not begin with that.
    pub(super) fn new_child(
        &mut self,
        turn: &Turn<'_>,
        parent: CommandId,
        position: i32,
        child: AskedChild,
        runs: &mut Vec<Effect>,
    ) -> (Write, Option<CommandId>) {
        let id = parent.child(self.root, position);
        let (parameters, unstorable) = match child.parameters {
            Ok(parameters) => (parameters, None),
            Err(failure) => ("null".into(), Some(failure.of(id))),
        };
        let mut node =
            Node::new(child.spec, Some(parent), position, parameters, turn.now, child.locks);
        if let Some(failure) = unstorable {
            let mut row = node.row(id, self.root);
            self.end_row(turn, &mut row, &failure);
            let ended = Ended { result: Err(failure), at: turn.now };
            self.child_ended(parent, id, &row, ended);
            return (Write::Insert(Box::new(row)), None);
        }
        if let Some(retry) = child.retry {
            node.retry = (Some(retry), serde_json::to_string(&retry).ok().map(Into::into));
        }
        self.node(parent).open_children += 1;
        let begins = !node.needs_locks() && node.spec.concurrency.is_none() && !turn.is_stopping;
        if begins {
            node.begin(turn.now);
        }
        let row = Write::Insert(Box::new(node.row(id, self.root)));
        if begins {
            self.run(&node, id, runs);
        }
        self.nodes.insert(id, Box::new(node));
        (row, (!begins && !turn.is_stopping).then_some(id))
    }

    /// Tells a command that its child has ended, as `row` says.
    fn child_ended(&mut self, parent: CommandId, id: CommandId, row: &CommandEntity, ended: Ended) {
        let end_order = row.progress.end_order.unwrap_or(self.end_order);
        self.node(parent).child_ended(id, row.position, end_order, ended, false);
    }

    /// A flow sleeps: that is stored, and when it is over ends like a `once`.
    fn sleep(&mut self, turn: &Turn<'_>, id: CommandId, position: i32, micros: i64) {
        let duration = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let wake_at = turn.now.after(duration);
        let row = Sleep { command_id: id, root_command_id: self.root, position, micros, wake_at };
        let at = Address { root: self.root, command: id };
        if let Some(flow) = self.flow(id) {
            flow.sleeps.insert(position, wake_at);
        }
        let alarm = Effect::WakeAt { at, when: wake_at };
        self.emit(id, None, vec![Write::Sleep(Box::new(row))], vec![alarm]);
    }

    /// The sleeps of a flow that are over at `when` end, unless its run is over.
    pub(super) fn sleeps_end(&mut self, id: CommandId, when: Timestamp) {
        let node = self.node(id);
        let stands = node.progress.stuck_from.unwrap_or(node.progress.status);
        if stands != CommandStatus::Active || node.cancelled.is_some() {
            return;
        }
        let Some(flow) = self.flow(id) else { return };
        for position in flow.take_slept(when) {
            self.once_ended(when, id, position, SLEEP.into(), None, Ok("null".into()));
        }
    }

    /// An undo command of a flow is stored, in the order of what it undoes.
    fn register(&mut self, turn: &Turn<'_>, id: CommandId, position: i32, entry: Entry) {
        self.end_order += 1;
        let end_order = self.end_order;
        let write = self.registered(turn, id, position, entry);
        self.emit(id, None, vec![write], Vec::new());
        if let Some(flow) = self.flow(id) {
            flow.ended(end_order, position, Ended { result: Ok("null".into()), at: turn.now });
        }
    }

    /// A leaf registers an undo command, unless an earlier run of it has registered the same.
    pub(super) fn registers(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        attempt: i32,
        ticket: u64,
        entry: Entry,
    ) {
        let node = self.node(id);
        if !node.runs(attempt) {
            return turn.refuse(ticket, Refusal::AlreadyEnded(id));
        }
        let is_same = |done: &Undoing| matches!(done, Undoing::Entry { command, entry: stored, .. } if *command == id && *stored == entry);
        let mut writes = Vec::new();
        if !node.done.iter().any(is_same) {
            let position = node.entries;
            node.entries += 1;
            self.end_order += 1;
            writes.push(self.registered(turn, id, position, entry));
        }
        self.emit(id, None, writes, vec![Effect::Accept { ticket }]);
    }

    fn registered(&mut self, turn: &Turn<'_>, id: CommandId, position: i32, entry: Entry) -> Write {
        let row = Compensation {
            command_id: id,
            root_command_id: self.root,
            position,
            command_type: entry.name.clone(),
            command_parameters: Arc::clone(&entry.parameters),
            end_order: self.end_order,
            created_at: turn.now,
            compensated_at: None,
        };
        self.node(id).done.push(Undoing::Entry { command: id, position, entry });
        Write::Register(Box::new(row))
    }
}
