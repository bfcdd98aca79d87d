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
        self.ran(turn, id);
        let node = self.node(id);
        node.fail(CommandStatus::ExecutionFailed, failure);
        if node.is_drained() {
            return self.failed(turn, id);
        }
        let write = Write::Update(id, Box::new(node.progress.clone()));
        self.emit(id, None, vec![write], Vec::new());
        self.stop_tasks(turn, id);
        None
    }
}
