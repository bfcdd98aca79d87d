//! Trees of their own that a command launches: rows that are stored with what the command says, and
//! begin when they are admitted.

use super::flow::launch_name;
use super::input::Effect;
use super::node::Node;
use super::step::{Step, Write};
use super::tree::{Tree, Turn};
use crate::context::requests::AskedChild;
use crate::id::CommandId;

/// The rows of trees that are launched, and what makes them begin.
pub(super) fn launch(
    turn: &Turn<'_>,
    launched: Vec<(CommandId, AskedChild)>,
) -> (Vec<Write>, Vec<Effect>) {
    let rows = launched.into_iter().filter_map(|(id, root)| {
        let AskedChild { spec, locks, parameters, .. } = root;
        let node = Node::new(spec, None, 0, parameters.ok()?, turn.now, locks);
        Some((Write::Insert(Box::new(node.row(id, id))), Effect::NoRoom { root: id }))
    });
    rows.unzip()
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
        let (mut writes, effects) = launch(turn, vec![(id.child(self.root, position), root)]);
        writes.push(self.ended_once(turn.now, id, position, name, None, Ok("null".into())));
        self.emit(id, None, writes, effects);
    }

    /// What other commands than flows had launched in a step that was lost.
    pub(super) fn launch_again(&mut self, step: &Step) {
        if self.nodes.get(&step.command).is_none_or(|node| node.flow.is_some()) {
            return;
        }
        let is_launched =
            |write: &&Write| matches!(write, Write::Insert(row) if row.parent_command_id.is_none());
        let writes: Vec<_> = step.writes.iter().filter(is_launched).cloned().collect();
        let effects = writes.iter().filter_map(|write| match write {
            Write::Insert(row) => Some(Effect::NoRoom { root: row.command_id }),
            _ => None,
        });
        let effects: Vec<_> = effects.collect();
        if !writes.is_empty() {
            self.emit(step.command, None, writes, effects);
        }
    }
}
