//! A tree that comes from the store: each open command goes on where it stood.

use std::collections::{HashMap, HashSet};

use super::flow::{Flow, StoredKind, StoredRequest};
use super::input::{Load, Loaded, LoadedCommand, Stored};
use super::node::Node;
use super::reject::Lost;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::requests::Ended;
use crate::entity::OnceResult;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

impl Stored {
    /// What is stored of each flow of a tree.
    pub(crate) fn by_flow(
        commands: &[LoadedCommand],
        once_results: &[OnceResult],
    ) -> HashMap<CommandId, Self> {
        let mut flows = HashMap::<_, Self>::new();
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
            let name = once.name.as_ref().to_owned().into();
            flow.requests.push((once.position, StoredRequest { name, kind: StoredKind::Once }));
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

fn stored_result(
    value: Option<&std::sync::Arc<str>>,
    failure: Option<&str>,
) -> Result<std::sync::Arc<str>, Failure> {
    match failure {
        Some(json) => Err(read_failure(json)),
        None => Ok(value.map_or_else(|| "null".into(), std::sync::Arc::clone)),
    }
}

pub(super) fn read_failure(json: &str) -> Failure {
    serde_json::from_str(json).unwrap_or_else(|error| {
        let message = format!("the stored failure cannot be read: {error}");
        Failure::new(FailureKind::Unknown, message)
    })
}

impl Tree {
    pub(super) fn load(turn: &mut Turn<'_>, load: Load) -> Self {
        let mut tree = Self::empty(load.root);
        let orders = load.commands.iter().filter_map(|command| command.entity.progress.end_order);
        let once_orders = load.once_results.iter().map(|once| once.end_order);
        tree.end_order = orders.chain(once_orders).max().unwrap_or(0);
        let mut flows = Stored::by_flow(&load.commands, &load.once_results);
        for command in load.commands {
            if !command.entity.progress.status.is_terminal() {
                tree.add(command, &mut flows);
            }
        }
        tree.count_children();
        let mut lost = Lost::default();
        match load.cause {
            Loaded::Start { crashed } => {
                if crashed {
                    tree.count_death();
                }
            }
            Loaded::Rejected { step, reason, skipped, running } => {
                lost = tree.replace_rejected(turn, step, &reason, skipped, running);
            }
        }
        let open = tree.children_first();
        let stuck = |node: &Node| node.progress.status == CommandStatus::Stuck;
        for (id, node) in
            open.iter().map(|id| (id, &tree.nodes[id])).filter(|(_, node)| stuck(node))
        {
            turn.out.push(super::Output::Do(tree.stuck(*id, node)));
        }
        let moved: Vec<_> =
            open.into_iter().filter_map(|id| tree.resume(turn, id, &mut lost)).collect();
        // Only now, so that none is resumed which the end of a child has moved already.
        for id in moved {
            let mut next = Some(id);
            while let Some(id) = next {
                next = tree.advance(turn, id);
            }
        }
        tree
    }

    fn add(&mut self, command: LoadedCommand, flows: &mut HashMap<CommandId, Stored>) {
        let LoadedCommand { entity, spec, locks, .. } = command;
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
        node.failure = entity.progress.failure.as_deref().map(read_failure);
        node.progress = entity.progress;
        if node.flow.is_some() {
            node.flow = Some(Box::new(Flow::replaying(flows.remove(&id).unwrap_or_default())));
        }
        self.nodes.insert(id, node);
    }

    fn count_children(&mut self) {
        let parents: Vec<_> = self.nodes.values().filter_map(|node| node.parent).collect();
        for parent in parents {
            if let Some(node) = self.nodes.get_mut(&parent) {
                node.open_children += 1;
            }
        }
    }

    /// An engine died while this tree was open. A death counts only while nothing of the tree
    /// ends in between.
    fn count_death(&mut self) {
        let (id, end_order) = (self.root, self.end_order);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let progress = &mut node.progress;
        let went_on = end_order > progress.deaths_end_order;
        progress.deaths = if went_on { 1 } else { progress.deaths + 1 };
        progress.deaths_end_order = end_order;
        let write = Write::Update(id, Box::new(progress.clone()));
        self.emit(id, None, vec![write], Vec::new());
    }

    /// The open commands, each after its descendants.
    fn children_first(&self) -> Vec<CommandId> {
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

    /// Lets one command go on. Gives its parent, if it has ended.
    fn resume(&mut self, turn: &mut Turn<'_>, id: CommandId, lost: &mut Lost) -> Option<CommandId> {
        let node = self.node(id);
        match node.progress.status {
            CommandStatus::NotStarted => {
                match lost.finished.remove(&id).map(|reply| reply.result) {
                    Some(Err(failure)) => self.end_refused(turn, id, failure),
                    _ => {
                        self.ask_to_start(turn, id);
                        None
                    }
                }
            }
            CommandStatus::Active => self.resume_active(turn, id, lost),
            CommandStatus::ExecutionFailed | CommandStatus::FailedRestarted => Some(id),
            CommandStatus::Succeeded | CommandStatus::Failed if lost.rejected == Some(id) => {
                let failure = lost.finished.remove(&id).and_then(|reply| reply.result.err());
                self.park(id, failure.unwrap_or_else(|| Failure::new(FailureKind::Rejected, "")));
                None
            }
            CommandStatus::Succeeded | CommandStatus::Failed if lost.running.contains(&id) => None,
            CommandStatus::Succeeded | CommandStatus::Failed => {
                let node = &self.nodes[&id];
                let effects = vec![self.run_hook(node, id, node.end_hook())];
                self.emit(id, None, Vec::new(), effects);
                None
            }
            _ => None,
        }
    }

    fn resume_active(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        lost: &mut Lost,
    ) -> Option<CommandId> {
        if let Some(reply) = lost.finished.remove(&id) {
            return self.executed(turn, id, reply, None);
        }
        let is_leaf = self.node(id).flow.is_none();
        if is_leaf && lost.running.contains(&id) {
            return None;
        }
        let node = self.node(id);
        if is_leaf && !node.spec.idempotent {
            let message = format!("the engine died while `{}` ran", node.spec.name);
            node.fail(
                CommandStatus::FailedRestarted,
                Failure::new(FailureKind::Restarted, message).of(id),
            );
            let write = Write::Update(id, Box::new(node.progress.clone()));
            self.emit(id, None, vec![write], Vec::new());
            return Some(id);
        }
        node.progress.attempt += 1;
        let node = &self.nodes[&id];
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let run = self.run(node, id);
        self.emit(id, None, vec![write], vec![run]);
        None
    }
}
