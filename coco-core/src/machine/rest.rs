//! Admission: a tree of which no code runs rests in the store, and gives its room to others.
//!
//! A tree that is submitted when the machine is full is stored as it is, and begins when it is
//! read. One in which everything waits, for a time or for an operator, leaves when all that it
//! said is durable; an alarm or an operator brings it back. That costs a read, and each flow in it
//! a commit and a replay, so a short wait is waited for here, and one for a lock as long as half of
//! the room is free. A tree that only waits to be polled stays too, but takes up no room: else few
//! polled commands could keep all others out.

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
        if self.rest.is_some() || self.nodes.is_empty() {
            return;
        }
        let quiet = self.quiet(turn);
        // It may have been counted, where it is asked twice.
        *turn.idle -= usize::from(self.is_idle);
        self.is_idle = quiet == Some(Quiet::Idle);
        *turn.idle += usize::from(self.is_idle);
        if quiet == Some(Quiet::Rests) {
            *turn.rests += 1;
            let (root, rest) = (self.root, *turn.rests);
            self.rest = Some(rest);
            self.emit(root, None, Vec::new(), vec![Effect::Rest { root, rest }]);
            self.flush(turn);
        }
    }

    /// Something happens to it.
    pub(super) fn wake(&mut self, idle: &mut usize) {
        self.rest = None;
        *idle -= usize::from(std::mem::take(&mut self.is_idle));
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

    /// Whether nothing of it runs, or is about to, and how long that may be so.
    fn quiet(&self, turn: &Turn<'_>) -> Option<Quiet> {
        match self.gate {
            Gate::Frozen => return Some(Quiet::Rests),
            Gate::Trial => return None,
            Gate::Open => {}
        }
        let soon = turn.now.after(turn.settings.short_wait);
        let mut quiet = Quiet::Rests;
        for node in self.nodes.values() {
            quiet = quiet.min(node.quiet(turn, soon)?);
        }
        Some(quiet)
    }
}

impl Node {
    fn quiet(&self, turn: &Turn<'_>, soon: Timestamp) -> Option<Quiet> {
        let waits_long = self.progress.wake_at.is_some_and(|when| when > soon);
        // How long others keep a lock is not known: who waits for one makes room when it is needed.
        let makes_room = |in_line: Option<Option<Timestamp>>| {
            in_line
                .is_some_and(|until| turn.is_crowded && until.is_none_or(|until| until > turn.now))
        };
        let in_line = || self.late.values().all(|late| makes_room(late.in_line));
        let rests = match self.progress.status {
            _ if self.is_in_rounds() => {
                let rests = !self.has_place && in_line();
                return self.rounds.as_deref()?.quiet(self, turn, soon).filter(|_| rests);
            }
            CommandStatus::Stuck => !self.is_read,
            CommandStatus::NotStarted => {
                self.asked_at.is_none() && (waits_long || makes_room(self.in_line))
            }
            CommandStatus::Active => match &self.flow {
                None => waits_long,
                Some(flow) => {
                    let pending = matches!(flow.phase, Phase::Waiting | Phase::Gone);
                    let naps = flow.sleeps.values().any(|when| *when <= soon);
                    pending && !flow.runs_code() && !naps && !self.has_place && in_line()
                }
            },
            CommandStatus::Succeeded | CommandStatus::Failed => self.ending.is_none() && waits_long,
            _ => self.open_children > 0,
        };
        rests.then_some(Quiet::Rests)
    }
}

/// How a tree of which no code runs waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quiet {
    /// For its next poll, which comes soon: it stays, and does not count as admitted.
    Idle,
    /// For long.
    Rests,
}
