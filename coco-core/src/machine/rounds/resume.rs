//! Rounds of a command that comes from the store.

use super::State;
use crate::id::CommandId;
use crate::machine::input::{Address, Effect};
use crate::machine::reject::Lost;
use crate::machine::tree::{Tree, Turn};
use crate::status::CommandStatus;

impl Tree {
    /// A command that comes from the store goes on with its rounds. Gives the command that may go
    /// on because of it.
    pub(in crate::machine) fn resume_rounds(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        lost: &mut Lost,
    ) -> Option<CommandId> {
        // Where its code runs, no round was lost, but an order for it.
        let runs = lost.running.contains(&id);
        // Nor does what has failed, and waits until its tasks are over.
        let stops_tasks = self.nodes[&id].stops_tasks();
        let finished = lost.finished.remove(&id).filter(|_| !runs && !stops_tasks);
        if runs || finished.is_some() {
            // What has failed has given its place back.
            if self.nodes[&id].progress.status == CommandStatus::Active {
                self.take_place(turn, id);
            }
            let waits = self.nodes[&id].spec.callback.waits_for_children();
            let rounds = self.node(id).rounds();
            // Where all children had ended when it began, it was given them all.
            rounds.state = State::Running(if waits { rounds.ended.len() } else { rounds.seen });
            rounds.is_due &= !waits;
        }
        if let Some(reply) = finished {
            return self.round_over(turn, id, reply);
        }
        if runs {
            if self.nodes[&id].cancelled.is_some() {
                self.stop_code(turn, id);
            }
            return None;
        }
        self.node(id).rounds().tasks.was_interrupted = !lost.engine_lives;
        if let Some(leave) = self.leave_lines_of_before(id) {
            self.emit(id, None, vec![leave], Vec::new());
        }
        if self.nodes[&id].stops_tasks() {
            self.stop_tasks(turn, id);
            return None;
        }
        if self.nodes[&id].cancelled.is_some() {
            return Some(id);
        }
        if self.nodes[&id].progress.status == CommandStatus::Active {
            if let Some(when) = self.nodes[&id].deadline() {
                if when <= turn.now {
                    self.time_out(turn, id);
                    return Some(id);
                }
                let at = Address { root: self.root, command: id };
                turn.perform(Effect::WakeAt { at, when });
            }
            if !self.has_place(turn, id) {
                self.node(id).rounds().state = State::WithoutPlace;
                return None;
            }
        }
        let node = self.node(id);
        node.rounds().is_due |= node.spec.callback.waits_for_children() || node.has_open_tasks();
        if lost.has_rested {
            let (pace, patience) = (node.spec.poll, turn.now.after(node.spec.event_timeout));
            let rounds = node.rounds();
            (rounds.has_rested, rounds.pause) = (true, pace.longest());
            rounds.patience = rounds.listens.then_some(patience);
        }
        self.arm(turn, id);
        Some(id)
    }

    /// There may be a place for a command whose rounds wait for one.
    pub(in crate::machine) fn place_for_rounds(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        if self.nodes[&id].rounds.as_deref().is_some_and(|r| r.state == State::WithoutPlace)
            && self.has_place(turn, id)
        {
            let node = self.node(id);
            node.rounds().state = State::Waiting;
            node.rounds().is_due |=
                node.spec.callback.waits_for_children() || node.has_open_tasks();
            self.arm(turn, id);
            self.next_round(turn, id);
        }
    }
}
