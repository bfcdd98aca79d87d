//! All trees that run.

use rustc_hash::FxHashMap;

use super::input::{Address, Happened};
use super::rounds::Idle;
use super::tree::{Tree, Turn};
use crate::id::CommandId;

/// All trees that run, by their roots.
#[derive(Debug, Default)]
pub(super) struct Trees {
    all: FxHashMap<CommandId, Kept>,
    /// Whether idle trees are touched by every poll.
    #[cfg(any(test, feature = "testing"))]
    pub(super) are_touched: bool,
}

/// A tree, and what its polls go by, where it is idle.
#[derive(Debug)]
struct Kept {
    idle: Option<Idle>,
    tree: Box<Tree>,
}

impl Kept {
    /// The tree, with all that has happened to it.
    fn tree(&mut self) -> &mut Tree {
        if let Some(idle) = self.idle.take() {
            idle.tell(&mut self.tree);
        }
        &mut self.tree
    }
}

impl Trees {
    pub(super) fn insert(&mut self, root: CommandId, tree: Tree) {
        self.all.insert(root, Kept { idle: None, tree: Box::new(tree) });
    }

    pub(super) fn remove(&mut self, root: CommandId) -> Option<Box<Tree>> {
        let mut kept = self.all.remove(&root)?;
        kept.tree();
        Some(kept.tree)
    }

    pub(super) fn get_mut(&mut self, root: CommandId) -> Option<&mut Tree> {
        self.all.get_mut(&root).map(Kept::tree)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (CommandId, &mut Tree)> {
        self.all.iter_mut().map(|(root, kept)| (*root, kept.tree()))
    }

    /// The trees, of which those that are idle may not know how far their polls have come.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tree> {
        self.all.values().map(|kept| &*kept.tree)
    }

    #[cfg(test)]
    pub(super) fn lies_still(&self, root: CommandId) -> bool {
        self.all.get(&root).is_some_and(|kept| kept.idle.is_some())
    }

    pub(super) fn contains(&self, root: CommandId) -> bool {
        self.all.contains_key(&root)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Something happens to a command of a tree.
    pub(super) fn happened(&mut self, turn: &mut Turn<'_>, at: Address, what: Happened) {
        let Some(kept) = self.all.get_mut(&at.root) else { return what.refuse_absent(at, turn) };
        if kept.idle.as_mut().is_some_and(|idle| idle.takes(turn, at, &what)) {
            return;
        }
        kept.tree().handle(turn, at.command, what);
        self.settle(turn, at.root);
    }

    /// Lets go of what a tree has to say, and of the tree when nothing is left of it.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>, root: CommandId) {
        let Some(kept) = self.all.get_mut(&root) else { return };
        if kept.tree().settle(turn) {
            self.all.remove(&root);
            return turn.left.push(root);
        }
        #[cfg(any(test, feature = "testing"))]
        if self.are_touched {
            return;
        }
        kept.idle = Idle::of(&kept.tree);
    }
}
