//! Trees of their own that a command launches: rows that are stored with what the command says, and
//! begin when they are admitted.

use super::flow::launch_name;
use super::input::Effect;
use super::node::Node;
use super::step::Write;
use super::tree::{Tree, Turn};
use crate::context::requests::AskedChild;
use crate::entity::CommandEntity;
use crate::id::CommandId;

/// The rows of trees that are launched.
fn rows(
    turn: &Turn<'_>,
    launched: Vec<(CommandId, AskedChild)>,
) -> impl Iterator<Item = CommandEntity> {
    launched.into_iter().filter_map(|(id, root)| {
        let AskedChild { spec, locks, parameters, .. } = root;
        let node = Node::new(spec, None, 0, parameters.ok()?, turn.now, locks);
        Some(node.row(id, id))
    })
}

/// What stores these rows, and what makes the trees begin.
fn insert(rows: impl Iterator<Item = CommandEntity>) -> (Vec<Write>, Vec<Effect>) {
    let inserts = rows.map(|row| {
        let root = row.command_id;
        (Write::Insert(Box::new(row)), Effect::NoRoom { root })
    });
    inserts.unzip()
}

impl Tree {
    /// A flow launches a tree: that is stored with the answer.
    pub(super) fn flow_launches(
        &mut self,
        turn: &Turn<'_>,
        id: CommandId,
        position: i32,
        root: AskedChild,
    ) {
        let name = launch_name(root.spec.name).into();
        let (mut writes, effects) = insert(rows(turn, vec![(id.child(self.root, position), root)]));
        writes.push(self.ended_once(turn.now, id, position, name, None, Ok("null".into())));
        self.emit(id, None, writes, effects);
    }

    /// What a command launches that is no flow: to be stored with what it says. Where its step was
    /// lost, the rows of that come again.
    pub(super) fn launch(
        &mut self,
        turn: &Turn<'_>,
        id: CommandId,
        launched: Vec<(CommandId, AskedChild)>,
    ) -> (Vec<Write>, Vec<Effect>) {
        let lost = self.lost_launches.extract_if(.., |(by, _)| *by == id).map(|(_, row)| row);
        insert(lost.chain(rows(turn, launched)))
    }

    /// Keeps what a lost step had launched until what its command says is stored.
    pub(super) fn launches_again(&mut self, id: CommandId, rows: Vec<CommandEntity>) {
        self.lost_launches.extend(rows.into_iter().map(|row| (id, row)));
    }

    /// Whether a lost step of a command had launched something.
    pub(super) fn has_lost_launches(&self, id: CommandId) -> bool {
        self.lost_launches.iter().any(|(by, _)| *by == id)
    }
}

/// The rows of trees that are launched by a step of a command.
pub(super) fn launched_by(writes: &[Write]) -> Vec<CommandEntity> {
    let rows = writes.iter().filter_map(|write| match write {
        Write::Insert(row) if row.parent_command_id.is_none() => Some((**row).clone()),
        _ => None,
    });
    rows.collect()
}
