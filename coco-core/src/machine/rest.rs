//! Admission: a tree of which no code runs rests in the store, and gives its room to others.
//!
//! A tree that is submitted when the machine is full is stored as it is, and begins when it is
//! read. One in which everything waits, for a time or for an operator, leaves when all that it
//! said is durable; an alarm or an operator brings it back. That costs a read, and each flow in it
//! a commit and a replay, so a short wait is waited for here, and one for a lock as long as half of
//! the room is free.

use super::flow::Phase;
use super::input::{Effect, Output, Submit};
use super::node::Node;
use super::tree::{Gate, Tree, Turn};
use crate::status::CommandStatus;
use crate::time::Timestamp;

impl Tree {
    /// Stores a root that finds no room: it begins when it is admitted.
    pub(super) fn submit_unadmitted(turn: &mut Turn<'_>, submit: Submit) {
        let mut tree = Self::unstarted(turn, submit);
        tree.flush(turn);
    }

    /// Says that it may rest, when nothing in it runs, or is about to.
    pub(super) fn ask_to_rest(&mut self, turn: &mut Turn<'_>) {
        if self.rest.is_none() && !self.nodes.is_empty() && self.is_at_rest(turn) {
            *turn.rests += 1;
            let (root, rest) = (self.root, *turn.rests);
            self.rest = Some(rest);
            self.emit(root, None, Vec::new(), vec![Effect::Rest { root, rest }]);
            self.flush(turn);
        }
    }

    /// Leaves: its flows are dropped, and run again when it is back.
    pub(super) fn rest(self, turn: &mut Turn<'_>) {
        let mut flows: Vec<_> =
            self.nodes.iter().filter(|(_, node)| node.flow.is_some()).map(|(id, _)| *id).collect();
        flows.sort_unstable();
        let dropped = flows.into_iter().map(|command| Effect::Drop { command });
        turn.out.extend(dropped.map(Output::Do));
        turn.left.push(self.root);
        turn.perform(Effect::Rested { root: self.root });
    }

    fn is_at_rest(&self, turn: &Turn<'_>) -> bool {
        let soon = turn.now.after(turn.settings.short_wait);
        let waits_long = |node: &Node| node.progress.wake_at.is_some_and(|when| when > soon);
        // How long others keep a lock is not known: who waits for one makes room when it is needed.
        let makes_room = |in_line: Option<Option<Timestamp>>| {
            in_line
                .is_some_and(|until| turn.is_crowded && until.is_none_or(|until| until > turn.now))
        };
        match self.gate {
            Gate::Frozen => return true,
            Gate::Trial => return false,
            Gate::Open => {}
        }
        self.nodes.values().all(|node| match node.progress.status {
            CommandStatus::Stuck => !node.is_read,
            CommandStatus::NotStarted => {
                node.asked_at.is_none() && (waits_long(node) || makes_room(node.in_line))
            }
            CommandStatus::Active => match &node.flow {
                None => waits_long(node),
                Some(flow) => {
                    let pending = matches!(flow.phase, Phase::Waiting | Phase::Gone);
                    let naps = flow.sleeps.values().any(|when| *when <= soon);
                    let in_line = node.late.values().all(|late| makes_room(late.in_line));
                    pending && !flow.runs_code() && !naps && !node.has_place && in_line
                }
            },
            CommandStatus::Succeeded | CommandStatus::Failed => {
                node.ending.is_none() && waits_long(node)
            }
            _ => node.open_children > 0,
        })
    }
}
