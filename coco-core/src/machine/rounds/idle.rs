//! The polls of an idle tree.
//!
//! Most polls change nothing, and where many commands are polled, reading them from memory is what
//! a poll costs. So of a tree of one command that only waits for its next poll, what a poll goes by
//! is kept in one place beside it, and the tree lies still while polls say nothing new. Before
//! anything else happens to it, it is told how far they have come.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{Rounds, State};
use crate::callback::{EndedChildren, Outcomes};
use crate::command::Spec;
use crate::erased::{Call, Hooks, Next, Reply, Round};
use crate::lock::LockProperties;
use crate::machine::input::{Address, Effect, Happened, Output, Run, RunKind};
use crate::machine::step::Step;
use crate::machine::tree::{Tree, Turn};
use crate::time::Timestamp;

/// What most of them have returned: one for all, as one of its own is one more to read.
static NULL: LazyLock<Arc<str>> = LazyLock::new(|| "null".into());

/// What the polls of an idle tree go by, and how far they have come.
#[derive(Debug)]
pub(in crate::machine) struct Idle {
    spec: &'static Spec,
    fields: Arc<str>,
    output: Arc<str>,
    ended: EndedChildren,
    locks: Arc<LockProperties>,
    attempt: i32,
    next_position: i32,
    hooks: Hooks,
    is_polled: bool,
    pause: Duration,
    next: Timestamp,
    deadline: Option<Timestamp>,
}

impl Idle {
    /// That of a tree in which nothing else can happen by itself.
    pub(in crate::machine) fn of(tree: &Tree) -> Option<Self> {
        if !tree.is_idle || tree.nodes.len() != 1 || !tree.lost_launches.is_empty() {
            return None;
        }
        let node = tree.nodes.get(&tree.root)?;
        let rounds = node.rounds.as_deref().filter(|rounds| rounds.only_polls())?;
        let is_for_polls = node.in_line.is_none()
            && node.late.is_empty()
            && !node.asked_before
            && node.failure.is_none()
            && node.cancelled.is_none()
            && node.progress.executed
            && node.progress.wake_at.is_none()
            && node.progress.hook_attempt == 0;
        is_for_polls.then_some(())?;
        let output = node.output();
        Some(Self {
            spec: node.spec,
            fields: Arc::clone(node.progress.state.as_ref().unwrap_or(&node.parameters)),
            output: if output == *NULL { Arc::clone(&NULL) } else { output },
            ended: rounds.ended.clone(),
            locks: Arc::clone(&node.locks),
            attempt: node.progress.attempt,
            next_position: rounds.next_position,
            hooks: node.hooks,
            is_polled: false,
            pause: rounds.pause,
            next: rounds.next?,
            deadline: node.deadline(),
        })
    }

    /// Takes what happens, where that is a poll or one that says nothing new. False where the tree
    /// has to see it.
    pub(in crate::machine) fn takes(
        &mut self,
        turn: &mut Turn<'_>,
        at: Address,
        what: &Happened,
    ) -> bool {
        match what {
            _ if at.command != at.root => false,
            Happened::Due(when) => self.polls(turn, at, (*when).max(turn.now)),
            Happened::RoundOver(reply) => self.was_polled(turn, at, reply),
            _ => false,
        }
    }

    fn polls(&mut self, turn: &mut Turn<'_>, at: Address, when: Timestamp) -> bool {
        if self.is_polled || when < self.next || self.deadline.is_some_and(|until| until <= when) {
            return false;
        }
        self.is_polled = true;
        *turn.idle -= 1;
        let executed = Ok(Arc::clone(&self.output));
        let outcomes = Outcomes::new(self.ended.clone(), self.ended.len());
        let run = Run {
            at,
            name: self.spec.name,
            fields: Arc::clone(&self.fields),
            attempt: self.attempt,
            hook_attempt: 0,
            parent: None,
            locks: Arc::clone(&self.locks),
            next_position: self.next_position,
            kind: RunKind::Round(Call::Round(Round::of(executed, outcomes))),
        };
        let step = Step { root: at.root, command: at.command, request: None, writes: Vec::new() };
        turn.out.push(Output::Store(step, vec![Effect::Run(Box::new(run))]));
        true
    }

    fn was_polled(&mut self, turn: &mut Turn<'_>, at: Address, reply: &Reply) -> bool {
        let Reply { result, state, hooks, next, refused: _, again: _ } = reply;
        let pause = self.spec.poll.after(self.pause);
        let when = turn.now.after(pause);
        let says_nothing_new = result.as_ref().is_ok_and(|output| *output == self.output)
            && state.is_none()
            && *hooks == self.hooks
            && next.as_deref().is_none_or(|next| *next == Next::default());
        let is_soon = when <= turn.now.after(turn.settings.short_wait);
        if !self.is_polled || !says_nothing_new || !is_soon {
            return false;
        }
        (self.is_polled, self.pause, self.next) = (false, pause, when);
        *turn.idle += 1;
        turn.perform(Effect::WakeAt { at, when });
        true
    }

    /// Tells the tree how far its polls have come.
    pub(in crate::machine) fn tell(self, tree: &mut Tree) {
        tree.is_idle = !self.is_polled;
        let root = tree.root;
        let rounds = tree.node(root).rounds();
        rounds.pause = self.pause;
        rounds.next = (!self.is_polled).then_some(self.next);
        rounds.state = match self.is_polled {
            true => State::Running(rounds.ended.len()),
            false => State::Waiting,
        };
    }
}

impl Rounds {
    /// Whether they wait for the next poll, and for nothing else.
    fn only_polls(&self) -> bool {
        let Self {
            state,
            is_due,
            next,
            ended,
            seen,
            has_events,
            patience,
            heard_at,
            has_rested,
            tasks,
            last,
            pause: _,
            next_position: _,
            listens: _,
            started: _,
            outlives_failure: _,
        } = self;
        let has_events = *has_events || patience.is_some() || heard_at.is_some();
        *state == State::Waiting
            && !*is_due
            && next.is_some()
            && *seen == ended.len()
            && !has_events
            && !*has_rested
            && tasks.is_empty()
            && last.is_none()
    }
}
