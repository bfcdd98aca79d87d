//! The machine: decides everything inside a tree, and does nothing itself.
//!
//! Pure: no async, no clock, no I/O, no randomness; it knows no user type and no store. The
//! runtime feeds it [`Input`]s and gets [`Output`]s: steps to store, each with the effects that
//! may happen once it is durable, and effects that hang on nothing.
//!
//! ```text
//! submit ──► [insert + locks] ──durable──► run ──► reply ──► [end, locks freed] ──► answer
//!                                           │
//!                       flow: asks ──► [child inserted] ──► run ──► … ──► [child ended]
//!                         ▲                                                   │
//!                         └──────── outcome, given at once, polled ───────────┘
//! ```
//!
//! An outcome is given to its flow at once, before it is durable. The steps of the tree are held
//! until the flow has been polled, so that the end of a child and what is asked next make one
//! batch; [`Input::Flush`] lets them go when the poll takes too long.

mod ask;
mod end;
mod flow;
mod input;
mod load;
mod node;
mod reject;
pub(crate) mod step;
mod stuck;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::HashMap;

pub(crate) use self::input::{
    Address, Effect, FlowEnd, Happened, Input, Load, Loaded, LoadedCommand, Output, Polled,
    Refusal, Run, RunKind, Stored, Submit,
};
use self::step::Step;
use self::tree::{Tree, Turn};
use crate::id::CommandId;
use crate::time::Timestamp;

/// All trees that run, by their roots.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    trees: HashMap<CommandId, Tree>,
}

impl Machine {
    /// Takes one input and appends what follows from it. An input for something that is no
    /// longer there is ignored.
    pub(crate) fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        let mut turn = Turn { now, out };
        let root = match input {
            Input::Submit(submit) => {
                let root = submit.id;
                self.trees.insert(root, Tree::submit(&mut turn, submit));
                root
            }
            Input::Load(load) => {
                let root = load.root;
                self.trees.insert(root, Tree::load(&mut turn, *load));
                root
            }
            Input::Stop => {
                let mut trees: Vec<_> = self.trees.iter_mut().collect();
                trees.sort_unstable_by_key(|(root, _)| **root);
                trees.into_iter().for_each(|(_, tree)| tree.stop(&mut turn));
                return;
            }
            Input::Of { at, what } => {
                let Some(tree) = self.trees.get_mut(&at.root) else {
                    what.refuse_absent(at, &mut turn);
                    return;
                };
                tree.handle(&mut turn, at.command, what);
                at.root
            }
        };
        if self.trees.get_mut(&root).is_some_and(|tree| tree.settle(&mut turn)) {
            self.trees.remove(&root);
        }
    }

    /// Forgets a tree whose step was rejected, and gives the steps that it still held; it is
    /// then loaded anew.
    pub(crate) fn forget(&mut self, root: CommandId) -> Vec<(Step, Vec<Effect>)> {
        self.trees.remove(&root).map(|tree| tree.held).unwrap_or_default()
    }

    /// How many trees are here.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.trees.len()
    }
}
