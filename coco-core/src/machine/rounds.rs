//! Rounds: what follows `execute` where a callback does.
//!
//! A command that was executed stays `Active` while its callback goes on. What a round changes and
//! starts is one step, and what comes next hangs on that: so a restart goes on with the fields as
//! the last round has left them, and finds each child that was started and each task that was kept.
//! How far in the order of ends the rounds have come is stored with them.
//!
//! ```text
//!             ┌──────────── a child ends, or it is time ───────────┐
//!             ▼                                                    │
//! executed ─► Waiting ──► Running ──► [changes, children, tasks] ──┤
//!                            │                                     │
//!                            └─ ready ─► Over ──► succeeded, when all children have ended
//! ```

mod failed;
mod idle;
mod last;
mod resume;

use std::sync::Arc;
use std::time::Duration;

pub(super) use self::idle::Idle;
use self::last::LastSaid;
use super::input::{Address, Effect, RunKind, Stored};
use super::node::Node;
use super::rest::Quiet;
use super::step::Write;
use super::tasks::Tasks;
use super::tree::{Tree, Turn};
use crate::callback::{CallbackKind, EndedChild, EndedChildren, Outcomes, Pace};
use crate::context::requests::AskedChild;
use crate::erased::{Call, Next, Reply, Round};
use crate::id::CommandId;
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// The rounds of one command.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    state: State,
    /// Something has happened that a round is to see.
    is_due: bool,
    /// When there is one though nothing has happened.
    next: Option<Timestamp>,
    /// The pause before that.
    pause: Duration,
    /// The children that have ended, in their order.
    ended: EndedChildren,
    /// How many of these were there when the last round began that is over.
    seen: usize,
    /// The position of the next child.
    pub(super) next_position: i32,
    /// Whether the command listens for events.
    listens: bool,
    /// There may be events in its inbox.
    has_events: bool,
    /// It is not polled before, since it waits for an event.
    patience: Option<Timestamp>,
    /// When it last heard one.
    heard_at: Option<Timestamp>,
    /// It rested, and comes back for an alarm that is about its next poll, or for something else.
    has_rested: bool,
    pub(super) tasks: Tasks,
    /// What was started last, and may not be stored: all of it, as a child that waits may have
    /// ended before.
    pub(super) started: Vec<(CommandId, AskedChild)>,
    /// `execute` has failed, and the callback says when the command does.
    outlives_failure: bool,
    /// What the last round has said, where that is stored with the end.
    last: Option<Box<LastSaid>>,
}

/// Where the rounds of a command stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// None runs.
    #[default]
    Waiting,
    /// One runs, which began when so many children had ended.
    Running(usize),
    /// None runs before the command has a place among its type again.
    WithoutPlace,
    /// There is no other.
    Over,
}

/// What of a command is called next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextCall {
    /// Its callback, for what is in its inbox.
    Inbox,
    /// Its tasks.
    Tasks,
    /// Its callback.
    Round,
}

impl Rounds {
    /// The rounds of a command `id` as they are stored.
    pub(super) fn stored(root: CommandId, id: CommandId, stored: Stored, node: &Node) -> Self {
        let last = stored.requests.iter().map(|(position, _)| *position).max();
        let mut ended: Vec<_> = stored
            .outcomes
            .into_iter()
            .map(|(end_order, position, ended)| EndedChild {
                id: id.child(root, position),
                end_order,
                result: ended.result,
            })
            .collect();
        ended.sort_unstable_by_key(|child| child.end_order);
        let told = node.progress.seen.unwrap_or(0);
        let seen = ended.iter().take_while(|child| child.end_order <= told).count();
        Self {
            is_due: seen < ended.len(),
            pause: node.spec.first_pause(),
            ended: ended.into(),
            seen,
            next_position: last.map_or(0, |last| last + 1),
            outlives_failure: node.spec.callback == CallbackKind::Custom,
            ..Self::default()
        }
    }

    /// Whether one runs.
    pub(super) fn runs(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Until when it waits for an event, and is not polled.
    pub(super) fn patience(&self) -> Option<Timestamp> {
        self.patience.filter(|until| self.next == Some(*until))
    }

    /// Whether none runs before there is a place.
    pub(super) fn waits_for_place(&self) -> bool {
        self.state == State::WithoutPlace
    }

    /// Nothing of them runs before this time.
    pub(super) fn rest_until(&mut self, next: Option<Timestamp>) {
        (self.is_due, self.has_events, self.next) = (false, false, next);
        self.patience = next.filter(|_| self.listens);
    }

    /// How long nothing of them runs, if nothing does now.
    pub(super) fn quiet(&self, node: &Node, turn: &Turn<'_>, soon: Timestamp) -> Option<Quiet> {
        let lately = |at: Timestamp| at.after(turn.settings.short_wait) > turn.now;
        if node.is_in_round() || self.waits_for_place() {
            return None;
        }
        match self.next {
            Some(next) if next <= soon => Some(Quiet::Idle),
            // Where one has come, others may: each would read its tree.
            Some(_) if self.heard_at.is_some_and(lately) => Some(Quiet::Idle),
            Some(_) => Some(Quiet::Rests),
            None => (node.open_children > 0).then_some(Quiet::Rests),
        }
    }

    /// When there is one though nothing has happened.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.next
    }

    /// `begun`: its position, where it has begun, so that it is stored with all beside it.
    pub(super) fn child_ended(&mut self, child: EndedChild, begun: Option<i32>) {
        self.ended.push(child);
        self.is_due = true;
        let last = i32::try_from(self.started.len()).unwrap_or(0);
        if begun.is_some_and(|position| position >= self.next_position - last) {
            self.started = Vec::new();
        }
    }

    /// The command listens for events, and is not polled until then.
    pub(super) fn listen(&mut self, until: Timestamp) {
        (self.listens, self.patience) = (true, Some(until));
    }

    pub(super) fn listened(&mut self) {
        (self.listens, self.has_events) = (true, true);
    }

    pub(super) fn listens(&self) -> bool {
        self.listens
    }

    pub(super) fn has_events(&mut self) {
        self.has_events |= self.listens;
    }

    /// What ran is over, and was no round.
    pub(super) fn was_no_round(&mut self) {
        if self.runs() {
            self.state = State::Waiting;
        }
    }

    /// Its tasks were asked. `all_over`: a round is to see that.
    pub(super) fn tasks_were_asked(&mut self, some_are_over: bool, all_over: bool, pace: Pace) {
        self.pause = if some_are_over { pace.first() } else { pace.after(self.pause) };
        self.is_due |= all_over;
    }

    /// It has failed: what comes now takes up no place.
    pub(super) fn is_due_now(&mut self) {
        self.is_due = true;
        if self.waits_for_place() {
            self.state = State::Waiting;
        }
    }

    /// It is `when`.
    pub(super) fn due(&mut self, when: Timestamp) {
        if self.next.is_some_and(|next| next <= when) {
            self.next = None;
            self.is_due = true;
        }
        if std::mem::take(&mut self.has_rested) {
            // It has waited for an event as long as it does.
            (self.is_due, self.patience) = (true, None);
        }
    }
}

impl Node {
    /// Whether rounds follow its `execute`, and that is over.
    pub(super) fn is_in_rounds(&self) -> bool {
        let Some(rounds) = &self.rounds else { return false };
        match self.progress.status {
            CommandStatus::Active => self.progress.executed,
            _ => self.waits_though_failed() || self.stops_tasks() || rounds.runs(),
        }
    }

    /// Whether a round of it runs, or is about to.
    pub(super) fn is_in_round(&self) -> bool {
        let Some(rounds) = &self.rounds else { return false };
        rounds.runs() || self.next_call().is_some()
    }

    /// What is to be called now; none while something runs, or nothing is due.
    fn next_call(&self) -> Option<NextCall> {
        let rounds = self.rounds.as_deref()?;
        let may_run = match rounds.state {
            State::Running(_) | State::WithoutPlace => false,
            State::Over => self.stops_tasks(),
            State::Waiting => true,
        };
        if !may_run || !self.is_in_rounds() {
            return None;
        }
        if self.stops_tasks() {
            return rounds.is_due.then_some(NextCall::Tasks);
        }
        let waits = self.spec.callback.waits_for_children() && self.open_children > 0;
        if self.cancelled.is_some() {
            return None;
        }
        if rounds.has_events && self.progress.executed {
            return Some(NextCall::Inbox);
        }
        match rounds.is_due {
            true if rounds.tasks.has_open() && (waits || !rounds.tasks.wait_for_round()) => {
                Some(NextCall::Tasks)
            }
            true if !waits => Some(NextCall::Round),
            _ => None,
        }
    }

    /// Whether it has failed, and its callback has yet to say that it may end.
    pub(super) fn waits_though_failed(&self) -> bool {
        let is_draining = self.progress.status.is_draining();
        let rounds = self.rounds.as_deref().filter(|rounds| rounds.outlives_failure);
        let goes_on = rounds.is_some_and(|rounds| {
            rounds.runs() || (rounds.state != State::Over && self.cancelled.is_none())
        });
        is_draining && !self.progress.executed && goes_on
    }

    pub(super) fn rounds(&mut self) -> &mut Rounds {
        self.rounds.get_or_insert_default()
    }
}

impl Tree {
    /// `execute` has returned: that and what it starts is stored, and the rounds begin.
    pub(super) fn begin_rounds(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        reply: Reply,
    ) -> Option<CommandId> {
        let Reply { result, state, hooks, next, .. } = reply;
        self.leave_lines(turn, id);
        let node = self.node(id);
        node.hooks = hooks;
        node.progress.executed = true;
        node.progress.return_value = result.ok();
        node.progress.state = state;
        node.rounds().is_due = node.spec.callback.waits_for_children();
        node.rounds().pause = node.spec.first_pause();
        self.store_round(turn, id, next.map(|next| *next).unwrap_or_default());
        self.arm(turn, id);
        Some(id)
    }

    /// A round is over. Gives the command that may go on because of it.
    pub(super) fn round_over(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
        reply: Reply,
    ) -> Option<CommandId> {
        let launches_again = self.has_lost_launches(id);
        let node = self.node(id);
        let State::Running(seen) = node.rounds.as_deref()?.state else { return None };
        node.rounds().state = State::Waiting;
        self.leave_lines(turn, id);
        let node = self.node(id);
        let Reply { result, state, hooks, next, .. } = reply;
        let has_executed = node.progress.executed;
        let mut before = LastSaid::of(&node.progress);
        let output = match result {
            Ok(output) => output,
            Err(_) if !has_executed => {
                node.rounds().state = State::Over;
                return Some(id);
            }
            Err(_) if node.cancelled.is_some() => return Some(id),
            Err(failure) => return self.round_failed(turn, id, failure),
        };
        node.hooks = hooks;
        // A round that was lost says all that it had left, whether it had changed that or not.
        let mut is_changed = state.is_some() && state != node.progress.state;
        node.progress.state = state.or(node.progress.state.take());
        if has_executed && node.progress.return_value.as_ref() != Some(&output) {
            node.progress.return_value = Some(output);
            is_changed = true;
        }
        if node.cancelled.is_some() {
            return Some(id);
        }
        let rounds = node.rounds.as_deref_mut()?;
        if seen > rounds.seen {
            rounds.seen = seen;
            node.progress.seen = rounds.ended.get(seen - 1).map(|child| child.end_order);
            is_changed = true;
        }
        let mut next = next.map(|next| *next).unwrap_or_default();
        if next.handled.is_some() {
            // There may be more than one round takes.
            rounds.has_events = true;
            (rounds.heard_at, rounds.has_rested) = (Some(turn.now), false);
            rounds.patience = Some(turn.now.after(node.spec.event_timeout));
        }
        if !has_executed {
            next = Next { is_ready: next.is_ready, ..Next::default() };
        }
        if next.is_ready && next.started.is_empty() && !rounds.tasks.has_open() {
            rounds.state = State::Over;
            let launches = launches_again || !next.launched.is_empty();
            if node.open_children == 0 && !launches {
                return Some(id);
            }
            // Stored with the end: after a restart before that it is heard again. What a lost end
            // says may be of events too.
            let may_be_of_events = next.handled.is_some() || rounds.listens;
            if may_be_of_events && !launches {
                before.exchange(&mut node.progress);
                rounds.last = Some(Box::new(before));
                return Some(id);
            }
        }
        let pace = node.spec.poll;
        let rounds = node.rounds();
        let has_tasks = rounds.tasks.has_added();
        if is_changed || launches_again || has_tasks || next.has_orders() {
            rounds.pause = pace.first();
            self.store_round(turn, id, next);
        } else {
            rounds.pause = pace.after(rounds.pause);
        }
        self.arm(turn, id);
        Some(id)
    }

    /// A command whose rounds go on moves, if it can. Gives its parent, if it has ended.
    pub(super) fn advance_rounds(
        &mut self,
        turn: &mut Turn<'_>,
        id: CommandId,
    ) -> Option<CommandId> {
        let node = &self.nodes[&id];
        let is_over = node.rounds.as_deref()?.state == State::Over;
        if !is_over {
            self.next_round(turn, id);
            return None;
        }
        if node.open_children > 0 {
            return None;
        }
        self.ran(turn, id);
        self.node(id).become_status(CommandStatus::Succeeded);
        self.conclude(turn, id)
    }

    /// Calls what is due, when nothing runs.
    pub(super) fn next_round(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let Some(call) = self.nodes[&id].next_call().filter(|_| !turn.is_stopping) else { return };
        let node = self.node(id);
        let stops = node.stops_tasks();
        let executed = node.failure.clone().map_or_else(|| Ok(node.output()), Err);
        let rounds = node.rounds();
        let next = rounds.next.take();
        rounds.state = State::Running(rounds.ended.len());
        match call {
            NextCall::Inbox => rounds.has_events = false,
            NextCall::Tasks => (rounds.is_due, rounds.tasks.was_interrupted) = (false, false),
            NextCall::Round => {
                (rounds.is_due, rounds.has_rested) = (false, false);
                rounds.tasks.was_interrupted = false;
            }
        }
        let outcomes = Outcomes::new(rounds.ended.clone(), rounds.seen);
        let round = Round::of(executed, outcomes);
        let kind = match call {
            NextCall::Inbox => RunKind::Inbox(round),
            NextCall::Tasks => rounds.tasks.ask(stops),
            NextCall::Round => RunKind::Round(Call::Round(round)),
        };
        self.disarm(turn, id, next);
        let node = &self.nodes[&id];
        let fields = node.progress.state.as_ref().unwrap_or(&node.parameters);
        let run = self.run_with(node, id, Arc::clone(fields), kind);
        self.emit(id, None, Vec::new(), vec![run]);
    }

    /// Stores what a command has changed, and what it starts.
    fn store_round(&mut self, turn: &mut Turn<'_>, id: CommandId, next: Next) {
        let deaths = self.forget_deaths().filter(|_| id != self.root);
        let mut writes = vec![Write::Update(id, Box::new(self.nodes[&id].progress.clone()))];
        writes.extend(deaths);
        writes.extend(next.handled.map(|last| Write::Handled(id, last)));
        let kept = self.node(id).rounds().tasks.keep();
        writes.extend(kept.into_iter().map(|position| Write::TaskKept(id, position)));
        let (launched, mut runs) = self.launch(turn, id, next.launched);
        writes.extend(launched);
        let mut waiting = Vec::new();
        let (root, started) = (self.root, next.started);
        let asked =
            started.iter().map(|(position, child)| (id.child(root, *position), child.clone()));
        self.node(id).rounds().started = asked.collect();
        for (position, child) in started {
            let (row, waits) = self.new_child(turn, id, position, child, &mut runs);
            writes.push(row);
            waiting.extend(waits);
            self.node(id).rounds().next_position = position + 1;
        }
        self.emit(id, None, writes, runs);
        for child in waiting {
            self.start(turn, child);
        }
    }

    /// Sets when there is a round though nothing has happened.
    pub(super) fn arm(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = self.node(id);
        let is_polled = match node.spec.callback {
            CallbackKind::ConcurrentChildren => false,
            CallbackKind::NextOperation => node.open_children == 0,
            _ => true,
        };
        let has_open_tasks = node.has_open_tasks();
        let waits_for_event = node.progress.executed && !has_open_tasks;
        let rounds = node.rounds();
        let waits =
            rounds.state == State::Waiting || (rounds.state == State::Over && has_open_tasks);
        if !(is_polled || has_open_tasks) || rounds.is_due || !waits {
            return;
        }
        let patience = rounds.patience.filter(|until| waits_for_event && *until > turn.now);
        let when = patience.unwrap_or_else(|| turn.now.after(rounds.pause));
        rounds.next = Some(when);
        turn.perform(Effect::WakeAt { at: Address { root: self.root, command: id }, when });
    }
}
