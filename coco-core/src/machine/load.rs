//! A tree that comes from the store: each open command goes on where it stood.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::flow::{Flow, Phase, StoredKind, StoredRequest};
use super::input::{Address, Effect, Load, LoadedCommand, LoadedCompensation, Output, Stored};
use super::node::Node;
use super::reject::Lost;
use super::rounds::Rounds;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::requests::Ended;
use crate::entity::{OnceResult, Sleep};
use crate::erased::Reply;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::lock::LockScope;
use crate::status::CommandStatus;

impl Stored {
    /// What is stored of each flow of a tree.
    pub(crate) fn by_flow(
        commands: &[LoadedCommand],
        once_results: &[OnceResult],
        sleeps: &[Sleep],
        compensations: &[LoadedCompensation],
    ) -> HashMap<CommandId, Self> {
        let mut flows = HashMap::<_, Self>::new();
        // What else registers undo commands does not ask for them by positions.
        let has_rounds = |command: &&LoadedCommand| command.spec.callback.has_rounds();
        let with_rounds: HashSet<_> =
            commands.iter().filter(has_rounds).map(|command| command.entity.command_id).collect();
        let asked = |loaded: &&LoadedCompensation| !with_rounds.contains(&loaded.row.command_id);
        for LoadedCompensation { row, canonical } in compensations.iter().filter(asked) {
            let flow = flows.entry(row.command_id).or_default();
            let kind = StoredKind::Undo(canonical.clone());
            let name = row.command_type.clone();
            flow.requests.push((row.position, StoredRequest { name, kind }));
            let ended = Ended { result: Ok("null".into()), at: row.created_at };
            flow.outcomes.push((row.end_order, row.position, ended));
        }
        let over: HashSet<_> =
            once_results.iter().map(|once| (once.command_id, once.position)).collect();
        let mut slept = HashSet::new();
        for Sleep { command_id, position, micros, wake_at, .. } in sleeps {
            let flow = flows.entry(*command_id).or_default();
            let kind = StoredKind::Sleep(*micros);
            flow.requests.push((*position, StoredRequest { name: "sleep".into(), kind }));
            if over.contains(&(*command_id, *position)) {
                slept.insert((*command_id, *position));
            } else {
                flow.sleeps.push((*position, *wake_at));
            }
        }
        for LoadedCommand { entity, canonical, .. } in commands {
            let Some(parent) = entity.parent_command_id else { continue };
            let flow = flows.entry(parent).or_default();
            let kind = StoredKind::Child(canonical.clone());
            let request = StoredRequest { name: entity.command_type.clone(), kind };
            flow.requests.push((entity.position, request));
            let progress = &entity.progress;
            if let (true, Some(order)) = (progress.status.is_terminal(), progress.end_order) {
                let at = progress.ended_at.unwrap_or_default();
                let result =
                    stored_result(progress.return_value.as_ref(), progress.failure.as_deref());
                flow.outcomes.push((order, entity.position, Ended { result, at }));
            }
        }
        for once in once_results {
            let flow = flows.entry(once.command_id).or_default();
            if !slept.contains(&(once.command_id, once.position)) {
                flow.requests.push((once.position, StoredRequest::of(once)));
            }
            let result = stored_result(once.return_value.as_ref(), once.failure.as_deref());
            flow.outcomes.push((
                once.end_order,
                once.position,
                Ended { result, at: once.ended_at },
            ));
        }
        flows
    }
}

fn stored_result(value: Option<&Arc<str>>, failure: Option<&str>) -> Result<Arc<str>, Failure> {
    match failure {
        Some(json) => Err(read_failure(json)),
        None => Ok(value.map_or_else(|| "null".into(), Arc::clone)),
    }
}

pub(super) fn read_failure(json: &str) -> Failure {
    serde_json::from_str(json).unwrap_or_else(|error| {
        let message = format!("the stored failure cannot be read: {error}");
        Failure::new(FailureKind::Unknown, message)
    })
}

impl Tree {
    /// The tree as it is stored, before anything in it goes on.
    pub(super) fn read(load: &mut Load) -> Self {
        let mut tree = Self::empty(load.root);
        let orders = load.commands.iter().filter_map(|command| command.entity.progress.end_order);
        let once_orders = load.once_results.iter().map(|once| once.end_order);
        let entry_orders = load.compensations.iter().map(|loaded| loaded.row.end_order);
        let done_orders = load.undoable.iter().map(|undoable| undoable.end_order);
        let orders = orders.chain(once_orders).chain(entry_orders).chain(done_orders);
        tree.end_order = orders.max().unwrap_or(0);
        let mut flows =
            Stored::by_flow(&load.commands, &load.once_results, &load.sleeps, &load.compensations);
        for command in std::mem::take(&mut load.commands) {
            if !command.entity.progress.status.is_terminal() {
                tree.add(command, &mut flows);
            }
        }
        tree.count_children();
        tree.find_done(load);
        for task in &load.tasks {
            if let Some(node) = tree.nodes.get_mut(&task.command_id) {
                node.rounds().tasks.stored(task);
            }
        }
        for subscription in &load.subscriptions {
            if let Some(node) = tree.nodes.get_mut(&subscription.command_id) {
                node.listened();
            }
        }
        tree
    }

    /// Lets everything in the tree go on.
    pub(super) fn resume_all(&mut self, turn: &mut Turn<'_>, mut lost: Lost) {
        let open = self.children_first();
        self.pass_cancels_on(&open);
        self.tell_stuck(turn);
        let moved: Vec<_> =
            open.into_iter().filter_map(|id| self.resume(turn, id, &mut lost)).collect();
        // Only now, so that none is resumed which the end of a child has moved already.
        for id in moved {
            let mut next = Some(id);
            while let Some(id) = next {
                next = self.advance(turn, id);
            }
        }
    }

    /// What is below a cancelled command is cancelled.
    fn pass_cancels_on(&mut self, children_first: &[CommandId]) {
        for id in children_first.iter().rev() {
            let above = self.nodes[id].parent.and_then(|parent| self.nodes.get(&parent));
            if let Some(cancelled) = above.and_then(|above| above.cancelled.clone()) {
                self.node(*id).cancelled.get_or_insert(cancelled);
            }
        }
    }

    fn add(&mut self, command: LoadedCommand, flows: &mut HashMap<CommandId, Stored>) {
        let LoadedCommand { entity, spec, locks, retry, .. } = command;
        let id = entity.command_id;
        let mut node = Node::new(
            spec,
            entity.parent_command_id,
            entity.position,
            entity.command_parameters,
            entity.created_at,
            locks,
        );
        node.may_hold = true;
        node.retry = (retry.or(spec.retry), entity.retry);
        node.cancelled = entity.progress.cancelled.as_deref().map(read_failure).map(Arc::new);
        node.failure = entity.progress.failure.as_deref().map(read_failure).map(Arc::new);
        node.progress = entity.progress;
        // Also of one that was stuck by deaths of the engine in the middle of a run.
        let stands = node.progress.stuck_from.unwrap_or(node.progress.status);
        let has_begun = stands == CommandStatus::Active;
        let is_leaf = node.flow.is_none();
        node.asked_before = is_leaf && has_begun && node.locks.scope() != LockScope::None;
        if node.flow.is_some() {
            node.flow = Some(Box::new(Flow::replaying(flows.remove(&id).unwrap_or_default())));
        }
        if node.rounds.is_some() {
            let stored = flows.remove(&id).unwrap_or_default();
            node.rounds = Some(Box::new(Rounds::stored(self.root, id, stored, &node)));
        }
        self.nodes.insert(id, Box::new(node));
    }

    fn count_children(&mut self) {
        let parents: Vec<_> = self.nodes.values().filter_map(|node| node.parent).collect();
        for parent in parents {
            if let Some(node) = self.nodes.get_mut(&parent) {
                node.open_children += 1;
            }
        }
    }

    /// The open commands, each after its descendants.
    pub(super) fn children_first(&self) -> Vec<CommandId> {
        let (mut order, mut seen) = (Vec::with_capacity(self.nodes.len()), HashSet::new());
        let mut by_place: Vec<_> =
            self.nodes.iter().map(|(id, node)| (node.created_at, node.position, *id)).collect();
        by_place.sort_unstable_by(|a, b| b.cmp(a));
        for (_, _, id) in by_place {
            let lineage = std::iter::successors(Some(id), |id| {
                self.nodes.get(id).and_then(|node| node.parent)
            });
            let new: Vec<_> = lineage.take_while(|id| seen.insert(*id)).collect();
            order.extend(new.into_iter().rev());
        }
        order.reverse();
        order
    }

    /// Lets one command go on. Gives the command that may go on because of it.
    fn resume(&mut self, turn: &mut Turn<'_>, id: CommandId, lost: &mut Lost) -> Option<CommandId> {
        let node = self.node(id);
        match node.progress.status {
            CommandStatus::NotStarted => {
                match lost.finished.remove(&id).map(|reply| reply.result) {
                    Some(Err(failure)) => self.end_refused(turn, id, failure),
                    _ if node.cancelled.is_some() => self.stop_one(turn, id),
                    _ => {
                        self.start(turn, id);
                        None
                    }
                }
            }
            CommandStatus::Active => self.resume_active(turn, id, lost),
            status if status.is_draining() => {
                let goes_on = node.waits_though_failed() || node.stops_tasks();
                if goes_on { self.resume_rounds(turn, id, lost) } else { Some(id) }
            }
            CommandStatus::Succeeded | CommandStatus::Failed if lost.running.contains(&id) => {
                self.node(id).ending = self.next_ending(id);
                None
            }
            CommandStatus::Succeeded | CommandStatus::Failed
                if lost.rejected.as_ref().is_some_and(|(rejected, _)| *rejected == id) =>
            {
                let (_, failure) = lost.rejected.take()?;
                self.park(turn, id, failure);
                None
            }
            CommandStatus::Succeeded | CommandStatus::Failed => {
                let waits = node.progress.wake_at.is_some_and(|at| at > turn.now);
                if let Some(alarm) = self.alarm(id).filter(|_| waits) {
                    turn.perform(alarm);
                    return None;
                }
                self.proceed(turn, id, Vec::new())
            }
            CommandStatus::Stuck if node.cancelled.is_some() => self.stop_one(turn, id),
            _ => None,
        }
    }

    fn resume_active(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        lost: &mut Lost,
    ) -> Option<CommandId> {
        let at = Address { root: self.root, command: id };
        let node = self.node(id);
        if node.is_in_rounds() {
            return self.resume_rounds(turn, id, lost);
        }
        let is_leaf = node.flow.is_none();
        let is_cancelled = node.cancelled.is_some();
        // Also where an order for it was rejected: its code goes on.
        if is_leaf && lost.running.contains(&id) {
            self.take_place(turn, id);
            if is_cancelled {
                self.stop_code(turn, id);
            }
            return None;
        }
        if let Some(reply) = lost.finished.remove(&id) {
            return self.executed(turn, id, reply, None);
        }
        let node = self.node(id);
        if let Some(failure) = node.cancelled.as_deref().cloned() {
            match &mut node.flow {
                None => return self.executed(turn, id, Reply::failed(failure), None),
                Some(flow) => flow.phase = Phase::Gone,
            }
            return Some(id);
        }
        let deadline = node.deadline();
        if is_leaf && node.progress.wake_at.is_some() {
            let deadline = deadline.map(|when| Effect::WakeAt { at, when });
            turn.out.extend(self.alarm(id).into_iter().chain(deadline).map(Output::Do));
            return None;
        }
        if deadline.is_some_and(|deadline| deadline <= turn.now) {
            self.time_out(turn, id);
            let failure = self.nodes.get(&id)?.cancelled.as_deref().cloned()?;
            return if is_leaf {
                self.executed(turn, id, Reply::failed(failure), None)
            } else {
                Some(id)
            };
        }
        let node = self.node(id);
        if is_leaf && !node.spec.idempotent {
            let message = format!("the engine died while `{}` ran", node.spec.name);
            node.fail(
                CommandStatus::FailedRestarted,
                Failure::new(FailureKind::Restarted, message).of(id),
            );
            let write = Write::Update(id, Box::new(node.progress.clone()));
            let goes_on = node.waits_though_failed() || node.stops_tasks();
            let leave = self.leave_lines_of_before(id);
            self.emit(id, None, leave.into_iter().chain([write]).collect(), Vec::new());
            return if goes_on { self.resume_rounds(turn, id, lost) } else { Some(id) };
        }
        if let Some(flow) = &node.flow {
            let alarms = flow.sleeps.values().map(|when| Effect::WakeAt { at, when: *when });
            turn.out.extend(alarms.map(Output::Do));
        }
        self.run_when_placed(turn, id);
        None
    }
}
