//! Which method fails in a life, or runs again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::command::Spec;
use crate::erased::Reply;
use crate::runtime::intercept::{Answer, Intercept, Occasion, Point};

/// What happens to the methods of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// One leaf fails.
    Fail,
    /// One idempotent leaf, or one end hook, runs again.
    Again,
    /// One leaf fails, and whatever undoes something runs again.
    FailAndUndoTwice,
}

/// What goes wrong with the methods in one life.
#[derive(Debug)]
pub(super) struct Script {
    plan: Plan,
    /// Which run of the kind it is, from 1, and how far that comes.
    fault: Option<(usize, Point)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many runs of the kind there were.
    runs: usize,
    /// What it is that goes wrong.
    target: Option<String>,
    has_happened: bool,
    undone_twice: bool,
}

impl Script {
    pub(super) fn new(plan: Plan, fault: Option<(usize, Point)>) -> Self {
        Self { plan, fault, state: Mutex::default() }
    }

    /// How many runs of the kind there were.
    pub(super) fn runs(&self) -> usize {
        self.state().runs
    }

    /// True when the run came as far as it was to, and what was to follow did.
    pub(super) fn has_happened(&self) -> bool {
        let state = self.state();
        state.has_happened && (state.undone_twice || self.plan != Plan::FailAndUndoTwice)
    }

    /// True when there was such a run, and it came as far as it was to.
    pub(super) fn came_so_far(&self) -> bool {
        self.state().has_happened
    }

    /// What went wrong, in a life that has `of` runs without it.
    pub(super) fn name(&self, of: usize) -> Option<String> {
        let (nth, point) = self.fault?;
        let state = self.state();
        let target = state.target.as_ref().filter(|_| state.has_happened)?;
        let what = match (self.plan, point) {
            (Plan::Fail, point) => format!("failed {point}"),
            (Plan::FailAndUndoTwice, point) => format!("failed {point}, and all undo ran twice"),
            (Plan::Again, Point::After) => "ran twice".to_owned(),
            (Plan::Again, point) => format!("was cut off {point} and ran again"),
        };
        Some(format!("run {nth} of {of} ({target}) {what}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn is_about(self, occasion: Occasion, spec: &Spec) -> bool {
        match (self, occasion) {
            (_, Occasion::Compensate | Occasion::UndoCommand) => false,
            (Self::Again, Occasion::Execute) => spec.idempotent,
            (
                Self::Again,
                Occasion::Round | Occasion::EndSuccessfully | Occasion::EndWithFailure,
            ) => true,
            (Self::Fail | Self::FailAndUndoTwice, occasion) => occasion == Occasion::Execute,
        }
    }
}

impl Intercept for Script {
    fn asked(&self, occasion: Occasion, spec: &Spec) -> Answer {
        let is_undo = matches!(occasion, Occasion::Compensate | Occasion::UndoCommand);
        if is_undo && self.plan == Plan::FailAndUndoTwice {
            return Answer::Again(Point::After);
        }
        if !self.plan.is_about(occasion, spec) {
            return Answer::Run;
        }
        let mut state = self.state();
        state.runs += 1;
        let Some((_, point)) = self.fault.filter(|(nth, _)| *nth == state.runs) else {
            return Answer::Run;
        };
        state.target = Some(match occasion {
            Occasion::Round => format!("a round of `{}`", spec.name),
            Occasion::EndSuccessfully => format!("`end_successfully` of `{}`", spec.name),
            Occasion::EndWithFailure => format!("`end_with_failure` of `{}`", spec.name),
            _ => format!("`{}`", spec.name),
        });
        if self.plan == Plan::Again { Answer::Again(point) } else { Answer::Fail(point) }
    }

    fn happened(&self, occasion: Occasion, reply: &Reply) {
        let mut state = self.state();
        match occasion {
            // A default one undoes nothing.
            Occasion::Compensate => state.undone_twice |= reply.hooks.compensate,
            Occasion::UndoCommand => state.undone_twice = true,
            _ => state.has_happened = true,
        }
    }
}
