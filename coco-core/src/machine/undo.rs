//! What happens to a command whose outcome stands: undo, then its end hook, then its end.
//!
//! A succeeded command keeps what may have to be undone of it, and passes that to its parent when
//! it ends: itself, where it has a `compensate` of its own, else what is left of its children and
//! of the undo commands that it registered, in their order. A failed command undoes all that it
//! has, newest first, then itself. Each undo is a step of its own, and the next one waits until
//! that is durable, so a restart goes on with the first that is not marked as undone.

use std::collections::HashMap;
use std::sync::Arc;

use super::input::{Address, Effect, Load, RunKind, Undoable, Undoing};
use super::node::Ending;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::entity::{Compensation, Undo};
use crate::erased::{Call, Reply};
use crate::id::CommandId;
use crate::lock::LockScope;
use crate::status::CommandStatus;

impl Tree {
    /// Its own outcome stands: stores that, and lets come what comes next. Gives the parent, if
    /// that was the end.
    pub(super) fn conclude(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        self.conclude_with(turn, id, Vec::new())
    }

    /// The same, where this is stored with its outcome.
    pub(super) fn conclude_with(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        mut writes: Vec<Write>,
    ) -> Option<CommandId> {
        let node = self.node(id);
        let has_succeeded = node.progress.status == CommandStatus::Succeeded;
        if has_succeeded && node.parent.is_some() {
            node.progress.undo = match (node.hooks.compensate, node.done.is_empty()) {
                (true, _) => Some(Undo::Own),
                (false, false) => Some(Undo::Inner),
                (false, true) => None,
            };
        }
        if self.next_ending(id).is_none() {
            return self.end(turn, id, writes);
        }
        let node = &self.nodes[&id];
        writes.push(Write::Update(id, Box::new(node.progress.clone())));
        if has_succeeded && node.locks.scope() != LockScope::Command {
            writes.extend(self.let_locks_go(id));
        }
        self.proceed(turn, id, writes)
    }

    /// Runs what comes next of a command whose outcome stands, after `writes`. Gives its parent,
    /// if nothing comes any more.
    pub(super) fn proceed(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        writes: Vec<Write>,
    ) -> Option<CommandId> {
        let ending = self.next_ending(id);
        self.node(id).ending = ending;
        let node = &self.nodes[&id];
        let effect = match (ending, node.done.last()) {
            (None, _) => return self.end(turn, id, writes),
            (Some(Ending::Undo), Some(undoing)) => Effect::Undo(Box::new(super::UndoRun {
                at: Address { root: self.root, command: id },
                hook_attempt: node.progress.hook_attempt,
                undoing: undoing.clone(),
            })),
            (Some(Ending::Compensate), _) => {
                let output = node.progress.executed.then(|| node.progress.return_value.clone());
                self.run_hook(node, id, Call::Compensate(output.flatten()))
            }
            (Some(Ending::Clear), _) => {
                let tasks = node.rounds.as_deref().map(|rounds| rounds.tasks.to_clear());
                let kind = RunKind::Clear(tasks.unwrap_or_default());
                self.run_with(node, id, Arc::clone(&node.parameters), kind)
            }
            (Some(_), _) => self.run_hook(node, id, node.end_hook()),
        };
        self.emit(id, None, writes, vec![effect]);
        None
    }

    pub(super) fn next_ending(&self, id: CommandId) -> Option<Ending> {
        let node = &self.nodes[&id];
        let clear = node.has_uncleared_tasks().then_some(Ending::Clear);
        if node.progress.status == CommandStatus::Succeeded {
            return clear.or(node.hooks.success.then_some(Ending::Hook));
        }
        let is_compensated = node.progress.compensated_at.is_some();
        if !node.done.is_empty() {
            Some(Ending::Undo)
        } else if node.hooks.compensate && !is_compensated {
            Some(Ending::Compensate)
        } else {
            clear.or(node.hooks.failure.then_some(Ending::Hook))
        }
    }

    /// What ran for a command whose outcome stands is over.
    pub(super) fn hooked(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        reply: Reply,
    ) -> Option<CommandId> {
        let (now, retry) = (turn.now, turn.settings.hook_retry);
        let node = self.node(id);
        let ending = node.ending.take()?;
        if let Err(reason) = reply.result {
            node.progress.hook_attempt += 1;
            match retry.pause_after(node.progress.hook_attempt, id, reply.again) {
                Some(pause) => self.wait_until(id, now.after(pause)),
                None => self.park(turn, id, reason),
            }
            return None;
        }
        let (mut writes, mut is_undone) = (Vec::new(), true);
        let progress = &mut node.progress;
        let mut is_changed = std::mem::take(&mut progress.hook_attempt) > 0;
        is_changed |= progress.wake_at.take().is_some();
        match ending {
            Ending::Undo => writes.extend(match node.done.pop() {
                Some(Undoing::Command(id)) => Some(Write::Compensated(id, now)),
                Some(Undoing::Entry { command, position, .. }) => {
                    Some(Write::Undone(command, position, now))
                }
                None => None,
            }),
            Ending::Compensate => {
                // A default one has undone nothing, and is not called again.
                progress.compensated_at = reply.hooks.compensate.then_some(now);
                node.hooks.compensate = false;
                progress.state = reply.state.or(progress.state.take());
                is_undone = progress.compensated_at.is_some();
                is_changed |= is_undone;
            }
            Ending::Clear => {
                is_undone = false;
                node.rounds().tasks.are_cleared();
            }
            Ending::Hook => {
                progress.state = reply.state.or(progress.state.take());
                return self.end(turn, id, writes);
            }
        }
        if is_undone {
            writes.extend(self.forget_deaths());
        }
        if is_changed && self.next_ending(id).is_some() {
            writes.push(Write::Update(id, Box::new(self.nodes[&id].progress.clone())));
        }
        self.proceed(turn, id, writes)
    }

    /// Gives the locks of a command that has ended or succeeded to its parent, while something in
    /// it could still be undone; else frees them.
    pub(super) fn let_locks_go(&mut self, id: CommandId) -> Option<Write> {
        let node = self.node(id);
        if !std::mem::take(&mut node.may_hold) {
            return None;
        }
        let to = node.parent.filter(|_| node.progress.undo.is_some());
        let Some(to) = to else { return Some(Write::Release(id)) };
        let parent = self.node(to);
        parent.may_hold = true;
        Some(Write::Pass { from: id, to, command_type: parent.spec.name.into() })
    }

    /// Hands what may have to be undone of a command that has succeeded to its parent.
    pub(super) fn hand_over(
        &mut self,
        parent: CommandId,
        id: CommandId,
        undo: Option<Undo>,
        done: Vec<Undoing>,
    ) {
        let handed = &mut self.node(parent).done;
        match undo {
            Some(Undo::Own) => handed.push(Undoing::Command(id)),
            Some(Undo::Inner) => handed.extend(done),
            None => {}
        }
    }

    /// Finds what may have to be undone of the open commands: a parent ends after its children,
    /// so in the order of ends each is complete when its own turn comes.
    pub(super) fn find_done(&mut self, load: &Load) {
        enum Found<'a> {
            Command(&'a Undoable),
            Entry(&'a Compensation),
        }
        let commands =
            load.undoable.iter().map(|undoable| (undoable.end_order, Found::Command(undoable)));
        let entries = load.compensations.iter().map(|loaded| &loaded.row);
        let entries = entries.filter(|row| row.compensated_at.is_none());
        let entries = entries.map(|row| (row.end_order, Found::Entry(row)));
        let mut found: Vec<_> = commands.chain(entries).collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        let mut done: HashMap<CommandId, Vec<Undoing>> = HashMap::new();
        for (_, found) in found {
            match found {
                Found::Command(Undoable { id, parent, undo, .. }) => {
                    let inner = done.remove(id).unwrap_or_default();
                    let outer = done.entry(*parent).or_default();
                    match undo {
                        Undo::Own => outer.push(Undoing::Command(*id)),
                        Undo::Inner => outer.extend(inner),
                    }
                }
                Found::Entry(row) => {
                    let entry = super::Entry {
                        name: row.command_type.clone(),
                        parameters: Arc::clone(&row.command_parameters),
                    };
                    let (command, position) = (row.command_id, row.position);
                    done.entry(command).or_default().push(Undoing::Entry {
                        command,
                        position,
                        entry,
                    });
                }
            }
        }
        for loaded in &load.compensations {
            if let Some(node) = self.nodes.get_mut(&loaded.row.command_id) {
                node.entries = node.entries.max(loaded.row.position + 1);
            }
        }
        for (id, done) in done {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.done = done;
            }
        }
    }
}
