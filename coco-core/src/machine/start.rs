//! How a command begins: when its time has come, it has a place, and its locks are granted.

use std::sync::Arc;

use super::input::{Address, Effect, Refusal, Run, RunKind, Submit};
use super::node::Node;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::Parent;
use crate::entity::Audit;
use crate::erased::Call;
use crate::id::CommandId;
use crate::lock::LockWait;
use crate::status::CommandStatus;
use crate::time::Timestamp;

impl Tree {
    /// A tree of one new root. Where it begins at once, its row and its locks are one step:
    /// stored together or refused.
    pub(super) fn submit(turn: &mut Turn<'_>, submit: Submit) -> Self {
        Self::submit_as(turn, submit, true)
    }

    /// A tree of one new root that does not begin now.
    pub(super) fn unstarted(turn: &mut Turn<'_>, submit: Submit) -> Self {
        Self::submit_as(turn, submit, false)
    }

    fn submit_as(turn: &mut Turn<'_>, submit: Submit, is_admitted: bool) -> Self {
        let Submit { id, ticket, spec, parameters, locks, key, start_at, again } = submit;
        let mut tree = Self::empty(id);
        let mut node = Node::new(spec, None, 0, parameters, turn.now, locks);
        node.progress.wake_at = start_at.filter(|start_at| *start_at > turn.now);
        let is_late = node.progress.wake_at.is_some();
        let is_patient = node.needs_locks() && node.locks.wait() != LockWait::No;
        tree.nodes.insert(id, Box::new(node));
        // A root whose key may be taken waits for a place only once it is stored.
        let may_wait = key.is_some() && (spec.concurrency.is_some() || is_patient);
        let begins =
            is_admitted && !is_late && !may_wait && !is_patient && tree.has_place(turn, id);
        let node = tree.node(id);
        let request = if begins { node.start_request(id, Vec::new(), turn.now) } else { None };
        let before = node.progress.clone();
        if begins {
            node.begin(turn.now);
        }
        let mut row = node.row(id, id);
        (row.submit_key, row.resubmit_of) = (key, again.map(|(ended, _)| ended));
        let is_refusable = request.is_some() || row.submit_key.is_some();
        let mut writes = vec![Write::Insert(Box::new(row))];
        writes.extend(again.map(|(ended, status)| {
            Write::Audit(Box::new(Audit {
                at: turn.now,
                action: "resubmit".into(),
                command_id: ended,
                root_command_id: ended,
                status,
                reason: "".into(),
                linked: Some(id),
            }))
        }));
        let mut effects = Vec::with_capacity(2);
        effects.push(Effect::Accept { ticket });
        if begins {
            tree.run(&tree.nodes[&id], id, &mut effects);
        } else if is_admitted {
            effects.extend(tree.alarm(id));
        } else {
            effects.push(Effect::NoRoom { root: id });
        }
        if is_refusable {
            let node = tree.node(id);
            (node.progress, node.asked_at) = (before, begins.then_some(turn.now));
        }
        tree.emit(id, request, writes, effects);
        // Its row is stored whatever becomes of its request.
        if is_patient && is_admitted && !is_late && !may_wait {
            tree.start(turn, id);
        }
        tree
    }

    /// Lets a command that is stored as `NotStarted` begin, if nothing keeps it.
    pub(super) fn start(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        if let Some(alarm) = self.alarm(id) {
            return turn.perform(alarm);
        }
        if self.has_place(turn, id) {
            self.ask_to_start(turn, id);
        }
    }

    /// The refusable step that starts a command when its locks are granted.
    fn ask_to_start(&mut self, turn: &Turn<'_>, id: CommandId) {
        let ancestors = self.ancestors(id);
        let node = self.node(id);
        let request = node.start_request(id, ancestors, turn.now);
        let before = node.progress.clone();
        node.begin(turn.now);
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let mut run = Vec::with_capacity(1);
        self.run(&self.nodes[&id], id, &mut run);
        if request.is_some() {
            let node = self.node(id);
            (node.progress, node.asked_at) = (before, Some(turn.now));
        }
        self.emit(id, request, vec![write], run);
    }

    /// There may be a place for it now.
    pub(super) fn place(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = &self.nodes[&id];
        if node.cancelled.is_some() {
            return;
        }
        let is_due = node.progress.wake_at.is_some_and(|at| at <= turn.now);
        let (status, is_asking) = (node.progress.status, node.asked_at.is_some());
        let is_in_line = node.in_line.is_some();
        match status {
            CommandStatus::NotStarted if !is_asking && !is_in_line => self.start(turn, id),
            CommandStatus::Active if node.progress.executed => self.place_for_rounds(turn, id),
            CommandStatus::Active if is_due && self.has_place(turn, id) => self.run_again(id),
            _ => {}
        }
    }

    /// The step that starts it is applied.
    pub(super) fn granted(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = self.node(id);
        let Some(asked_at) = node.asked_at.take() else {
            let waits = node.progress.wake_at.is_some() || node.cancelled.is_some();
            if node.progress.status == CommandStatus::NotStarted && !waits {
                self.start(turn, id);
            }
            return;
        };
        node.begin(asked_at);
        let cancels = std::mem::take(&mut node.early_cancels);
        if node.cancelled.is_some() {
            self.stop_code(turn, id);
        }
        self.cancel_late(turn, id, cancels);
    }

    /// Hears the cancels that came before it was known what becomes of its start.
    pub(super) fn cancel_late(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        cancels: Vec<(u64, Arc<str>)>,
    ) {
        for (ticket, reason) in cancels {
            if self.nodes.contains_key(&id) {
                self.cancel(turn, id, ticket, reason);
            } else {
                turn.refuse(ticket, Refusal::AlreadyEnded(id));
            }
        }
    }

    /// The step that starts it is refused: cancels that came meanwhile came too late.
    pub(super) fn not_granted(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = self.node(id);
        node.asked_at = None;
        for (ticket, _) in std::mem::take(&mut node.early_cancels) {
            turn.refuse(ticket, Refusal::AlreadyEnded(id));
        }
    }

    /// The next run of a command that is active and does not run, or the wait for its place.
    pub(super) fn run_when_placed(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        if self.has_place(turn, id) {
            return self.run_again(id);
        }
        let node = self.node(id);
        node.progress.wake_at = Some(turn.now);
        if let Some(when) = node.deadline() {
            turn.perform(Effect::WakeAt { at: Address { root: self.root, command: id }, when });
        }
    }

    /// The next run of a command that has begun before.
    fn run_again(&mut self, id: CommandId) {
        let progress = &mut self.node(id).progress;
        progress.wake_at = None;
        progress.attempt += 1;
        let write = Write::Update(id, Box::new(progress.clone()));
        let mut run = Vec::with_capacity(1);
        self.run(&self.nodes[&id], id, &mut run);
        self.emit(id, None, vec![write], run);
    }

    /// Adds the run of a command that has begun, and when it is to be over.
    pub(super) fn run(&self, node: &Node, id: CommandId, effects: &mut Vec<Effect>) {
        let kind = match &node.flow {
            None => RunKind::Leaf,
            Some(flow) => {
                RunKind::Flow { created_at: node.created_at, replaying: flow.is_replaying() }
            }
        };
        let run = self.run_with(node, id, Arc::clone(&node.parameters), kind);
        let at = Address { root: self.root, command: id };
        effects.push(run);
        effects.extend(node.deadline().map(|when| Effect::WakeAt { at, when }));
    }

    pub(super) fn run_hook(&self, node: &Node, id: CommandId, call: Call) -> Effect {
        let fields = node.progress.state.as_ref().unwrap_or(&node.parameters);
        self.run_with(node, id, Arc::clone(fields), RunKind::Hook(call))
    }

    pub(super) fn run_with(
        &self,
        node: &Node,
        id: CommandId,
        fields: Arc<str>,
        kind: RunKind,
    ) -> Effect {
        let parent = node.parent.and_then(|parent| self.nodes.get(&parent)).map(|parent| Parent {
            name: parent.spec.name,
            parameters: Arc::clone(&parent.parameters),
        });
        let at = Address { root: self.root, command: id };
        let (name, attempt) = (node.spec.name, node.progress.attempt);
        let hook_attempt = node.progress.hook_attempt;
        let locks = Arc::clone(&node.locks);
        let next_position = node.rounds.as_deref().map_or(0, |rounds| rounds.next_position);
        Effect::Run(Box::new(Run {
            at,
            name,
            fields,
            attempt,
            hook_attempt,
            parent,
            locks,
            next_position,
            kind,
        }))
    }

    /// Stores that a command waits until `when`.
    pub(super) fn wait_until(&mut self, id: CommandId, when: Timestamp) {
        let node = self.node(id);
        node.progress.wake_at = Some(when);
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let alarm = self.alarm(id).into_iter().collect();
        self.emit(id, None, vec![write], alarm);
    }

    /// The alarm for what a command waits for.
    pub(super) fn alarm(&self, id: CommandId) -> Option<Effect> {
        let when = self.nodes[&id].progress.wake_at?;
        Some(Effect::WakeAt { at: Address { root: self.root, command: id }, when })
    }

    /// It is `when`: what waits for that in a command goes on.
    pub(super) fn due(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        when: Timestamp,
    ) -> Option<CommandId> {
        self.sleeps_end(id, when);
        if self.lines_are_over(turn, id, when) {
            let failure = self.line_failure(id);
            return self.end_refused(turn, id, failure);
        }
        let node = self.node(id);
        if let Some(rounds) = &mut node.rounds {
            rounds.due(when);
        }
        let is_active = node.progress.status == CommandStatus::Active && node.cancelled.is_none();
        if is_active && node.deadline().is_some_and(|deadline| deadline <= when) {
            self.time_out(turn, id);
            return Some(id);
        }
        if node.progress.wake_at.is_some_and(|at| at <= when) {
            match node.progress.status {
                CommandStatus::NotStarted => {
                    node.progress.wake_at = None;
                    self.start(turn, id);
                }
                CommandStatus::Active => self.place(turn, id),
                // The wait stays stored until what follows it is: a restart in between waits no
                // more than it did.
                CommandStatus::Succeeded | CommandStatus::Failed if node.ending.is_none() => {
                    return self.proceed(turn, id, Vec::new());
                }
                _ => {}
            }
        }
        Some(id)
    }

    pub(super) fn ancestors(&self, id: CommandId) -> Vec<CommandId> {
        let parent_of = |id: &CommandId| self.nodes.get(id).and_then(|node| node.parent);
        std::iter::successors(parent_of(&id), parent_of).collect()
    }
}
