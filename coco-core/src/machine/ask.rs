//! What a flow asks for becomes steps.

use std::sync::Arc;

use super::flow::Asked;
use super::input::{Address, Effect, Output};
use super::node::{Node, failure_json};
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::requests::{Ask, AskedChild, Ended};
use crate::entity::OnceResult;
use crate::failure::Failure;
use crate::id::CommandId;

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
            Ask::OnceEnded { position, result } => {
                if let Some(name) = flow.once_ended(position) {
                    self.once_ended(turn, id, position, name, result);
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
                Ask::OnceEnded { .. } => {}
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

    fn once_ended(
        &mut self,
        turn: &Turn<'_>,
        id: CommandId,
        position: i32,
        name: Arc<str>,
        result: Result<Arc<str>, Failure>,
    ) {
        self.end_order += 1;
        let end_order = self.end_order;
        let row = OnceResult {
            command_id: id,
            root_command_id: self.root,
            position,
            name,
            end_order,
            ended_at: turn.now,
            return_value: result.as_ref().ok().cloned(),
            failure: result.as_ref().err().map(failure_json),
        };
        self.emit(id, None, vec![Write::Once(Box::new(row))], Vec::new());
        if let Some(flow) = self.flow(id) {
            flow.ended(end_order, position, Ended { result, at: turn.now });
        }
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
        let id = parent.child(self.root, position);
        let (parameters, unstorable) = match child.parameters {
            Ok(parameters) => (parameters, None),
            Err(failure) => ("null".into(), Some(failure.of(id))),
        };
        let mut node =
            Node::new(child.spec, Some(parent), position, parameters, turn.now, child.locks);
        if let Some(failure) = unstorable {
            let end_order = self.insert_ended(turn, node.row(id, self.root), &failure);
            if let Some(flow) = self.flow(parent) {
                flow.ended(end_order, position, Ended { result: Err(failure), at: turn.now });
            }
            return;
        }
        self.node(parent).open_children += 1;
        if node.locks.is_empty() {
            node.begin();
            let row = Write::Insert(Box::new(node.row(id, self.root)));
            let run = self.run(&node, id);
            self.nodes.insert(id, node);
            self.emit(id, None, vec![row], vec![run]);
        } else {
            let row = Write::Insert(Box::new(node.row(id, self.root)));
            self.nodes.insert(id, node);
            self.emit(id, None, vec![row], Vec::new());
            self.ask_to_start(turn, id);
        }
    }

    /// The refusable step that starts a command when its locks are granted.
    pub(super) fn ask_to_start(&mut self, turn: &Turn<'_>, id: CommandId) {
        let ancestors = self.ancestors(id);
        let node = self.node(id);
        let request = node.request(id, ancestors, turn.now);
        let before = node.progress.clone();
        node.begin();
        let write = Write::Update(id, Box::new(node.progress.clone()));
        let node = &self.nodes[&id];
        let run = self.run(node, id);
        if request.is_some() {
            self.node(id).progress = before;
        }
        self.emit(id, request, vec![write], vec![run]);
    }

    fn ancestors(&self, id: CommandId) -> Vec<CommandId> {
        let parent_of = |id: &CommandId| self.nodes.get(id).and_then(|node| node.parent);
        std::iter::successors(parent_of(&id), parent_of).collect()
    }
}
