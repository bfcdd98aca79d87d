//! Cancel and time-out: a command and all below it are told to end, and fail when they have.
//!
//! Order decides. What has its outcome keeps it. A leaf that runs is told, and what it still
//! returns is kept, but it fails as cancelled; a flow is dropped at once and fails when its
//! children have ended. What had not begun ends as refused.

use std::sync::Arc;

use super::flow::Phase;
use super::input::{Effect, Output, Refusal};
use super::node::{Node, failure_json};
use super::rounds::Rounds;
use super::step::Write;
use super::tree::{Gate, Tree, Turn};
use crate::entity::Audit;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::status::CommandStatus;

impl Tree {
    pub(super) fn cancel(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        ticket: u64,
        reason: Arc<str>,
    ) -> Option<CommandId> {
        let node = self.node(id);
        if node.asked_at.is_some() {
            node.early_cancels.push((ticket, reason));
            return None;
        }
        let status = node.progress.stuck_from.unwrap_or(node.progress.status);
        if matches!(status, CommandStatus::Succeeded | CommandStatus::Failed) {
            turn.refuse(ticket, Refusal::AlreadyEnded(id));
            return None;
        }
        let message = if reason.is_empty() {
            "it was cancelled".to_owned()
        } else {
            format!("it was cancelled: {reason}")
        };
        let failure = Failure::new(FailureKind::Cancelled, message).of(id).fitting();
        let audit = self.audit(turn, id, "cancel", reason);
        if self.gate != Gate::Open {
            let node = self.node(id);
            if node.cancelled.is_none() {
                node.progress.cancelled = Some(failure_json(&failure));
                node.cancelled = Some(failure.into());
            }
            let writes = vec![Write::Update(id, Box::new(node.progress.clone())), audit];
            if self.gate == Gate::Frozen {
                self.thaw(turn, writes, ticket);
            } else {
                self.emit(id, None, writes, vec![Effect::Accept { ticket }]);
            }
            return None;
        }
        self.stop_below(turn, id, &failure, vec![audit], vec![Effect::Accept { ticket }])
    }

    /// It has taken longer than its time-out.
    pub(super) fn time_out(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        let node = &self.nodes[&id];
        let within = node.spec.timeout.unwrap_or_default();
        let message = format!("`{}` took longer than its time-out of {within:?}", node.spec.name);
        let failure = Failure::new(FailureKind::TimedOut, message).of(id);
        self.stop_below(turn, id, &failure, Vec::new(), Vec::new())
    }

    /// Stores that a command is to end for `failure`, and ends all that is open in it. Gives the
    /// command that may go on because of it.
    fn stop_below(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        failure: &Failure,
        mut writes: Vec<Write>,
        mut effects: Vec<Effect>,
    ) -> Option<CommandId> {
        // What a lost step has said of a cancel may be known, and not stored.
        let is_stored = |id: &CommandId| self.nodes[id].progress.cancelled.is_some();
        let is_stored = is_stored(&id) || self.ancestors(id).iter().any(is_stored);
        let node = self.node(id);
        if !is_stored {
            node.progress.cancelled = Some(failure_json(failure));
            if node.progress.status == CommandStatus::Stuck {
                node.unpark();
                effects.push(self.standing());
            }
            let node = &self.nodes[&id];
            writes.insert(0, Write::Update(id, Box::new(node.progress.clone())));
        }
        self.emit(id, None, writes, effects);
        let failure = Arc::new(failure.clone());
        let below: Vec<_> =
            self.children_first().into_iter().filter(|one| self.is_below(*one, id)).collect();
        for one in &below {
            self.node(*one).cancelled.get_or_insert_with(|| Arc::clone(&failure));
        }
        let ended: Vec<_> = below.into_iter().filter_map(|one| self.stop_one(turn, one)).collect();
        // Code that is told to end does not go on until some poll is over.
        self.flush(turn);
        for one in ended {
            let mut next = Some(one);
            while let Some(one) = next {
                next = self.advance(turn, one);
            }
        }
        None
    }

    pub(super) fn is_below(&self, one: CommandId, id: CommandId) -> bool {
        one == id || self.ancestors(one).contains(&id)
    }

    /// Ends one command that is cancelled, or makes it end. Gives the command that may go on
    /// because of it: itself, or its parent when it has ended.
    pub(super) fn stop_one(&mut self, turn: &mut Turn<'_>, id: CommandId) -> Option<CommandId> {
        let node = self.nodes.get_mut(&id)?;
        match node.progress.status {
            CommandStatus::NotStarted if node.asked_at.is_some() => None,
            CommandStatus::NotStarted => {
                let failure = Failure::clone(node.cancelled.as_ref()?);
                self.end_refused(turn, id, failure)
            }
            CommandStatus::Stuck if node.progress.stuck_from == Some(CommandStatus::Active) => {
                node.unpark();
                if let Some(flow) = &mut node.flow {
                    flow.phase = Phase::Gone;
                }
                let write = Write::Update(id, Box::new(node.progress.clone()));
                let standing = self.standing();
                self.emit(id, None, vec![write], vec![standing]);
                Some(id)
            }
            CommandStatus::Active => {
                self.stop_code(turn, id);
                Some(id)
            }
            status if status.is_draining() => {
                if node.rounds.as_deref().is_some_and(Rounds::runs) {
                    self.stop_code(turn, id);
                }
                Some(id)
            }
            _ => None,
        }
    }

    /// Makes the code of a cancelled command that is active end.
    pub(super) fn stop_code(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        // Behind the step that says so, and behind its start. A flow at once too, as it may run.
        match &self.nodes[&id].flow {
            Some(flow) if !matches!(flow.phase, Phase::Returned(_) | Phase::Gone) => {
                self.drop_flow(turn, id);
                self.emit(id, None, Vec::new(), vec![Effect::Drop { command: id }]);
            }
            Some(_) => {}
            None if self.nodes[&id].progress.wake_at.is_none() => {
                self.emit(id, None, Vec::new(), vec![Effect::Cancel { command: id }]);
            }
            None => {}
        }
    }

    /// True when a cancelled command is active, and no code of it runs or will.
    pub(super) fn is_stopped(node: &Node) -> bool {
        let has_no_code = match &node.flow {
            Some(flow) => matches!(flow.phase, Phase::Gone) && node.open_children == 0,
            None => match &node.rounds {
                Some(rounds) if node.progress.executed => !rounds.runs() && node.open_children == 0,
                _ => node.progress.wake_at.is_some(),
            },
        };
        node.progress.status == CommandStatus::Active && node.cancelled.is_some() && has_no_code
    }

    pub(super) fn audit(
        &self,
        turn: &Turn<'_>,
        id: CommandId,
        action: &'static str,
        reason: Arc<str>,
    ) -> Write {
        Write::Audit(Box::new(Audit {
            at: turn.now,
            action: action.into(),
            command_id: id,
            root_command_id: self.root,
            status: self.nodes[&id].progress.status,
            reason,
            linked: None,
        }))
    }
}

impl Turn<'_> {
    pub(super) fn perform(&mut self, effect: Effect) {
        self.out.push(Output::Do(effect));
    }

    pub(super) fn refuse(&mut self, ticket: u64, refusal: Refusal) {
        self.perform(Effect::Refuse { ticket, refusal: refusal.into() });
    }
}
