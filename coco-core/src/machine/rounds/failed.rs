//! Rounds of a command that fails.

use crate::failure::Failure;
use crate::id::CommandId;
use crate::machine::step::Write;
use crate::machine::tree::{Tree, Turn};
use crate::status::CommandStatus;

impl Tree {
    /// `execute` has failed. `outlives`: the callback is asked when the command may.
    pub(in crate::machine) fn outlive_failure(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        outlives: bool,
    ) {
        let node = self.node(id);
        let pause = node.spec.poll.first();
        let Some(rounds) = &mut node.rounds else { return };
        (rounds.outlives_failure, rounds.pause) = (outlives, pause);
        if outlives {
            self.arm(turn, id);
        }
    }

    /// A round has failed: so does the command, when all its children have ended.
    pub(in crate::machine) fn round_failed(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        failure: Failure,
    ) -> Option<CommandId> {
        self.failed_by(turn, id, failure, Vec::new())
    }

    /// The same, where this is stored with it.
    pub(in crate::machine) fn failed_by(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        failure: Failure,
        mut writes: Vec<Write>,
    ) -> Option<CommandId> {
        self.ran(turn, id);
        let node = self.node(id);
        node.fail(CommandStatus::ExecutionFailed, failure);
        if node.is_drained() {
            node.become_status(CommandStatus::Failed);
            return self.conclude_with(turn, id, writes);
        }
        writes.push(Write::Update(id, Box::new(node.progress.clone())));
        self.emit(id, None, writes, Vec::new());
        self.stop_tasks(turn, id);
        None
    }
}
