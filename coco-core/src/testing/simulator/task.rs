//! User code of the model: leaves and hooks that end when it is their turn, flows that follow
//! their script.

mod round;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use self::round::{launching, said};
use super::commands::{failure, json, spec_of, text};
use super::dice::Dice;
use super::events;
use super::launches;
use super::outside;
use super::rounds;
use super::script::{self, Script};
use crate::context::requests::{Ask, Ended};
use crate::entity::Delivery;
use crate::erased::{Call, Hooks, Reply, Round};
use crate::event::Event;
use crate::failure::{Failure, FailureKind};
use crate::lock::Lock;
use crate::machine::{Address, Entry, FlowEnd, Happened, Polled, Run, RunKind, UndoRun};
use crate::retry::Again;
use crate::time::Timestamp;

/// Code that runs.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) at: Address,
    pub(super) attempt: i32,
    /// The stored name of the command.
    pub(super) name: &'static str,
    /// It is over, and the runtime has not heard of it.
    pub(super) is_over: bool,
    /// It takes until then.
    pub(super) until: Timestamp,
    /// The position of the next child that it starts.
    next_position: i32,
    parameters: Value,
    code: Code,
}

#[derive(Debug)]
pub(super) enum Code {
    Leaf(Leaf),
    Hook(Call),
    Undo(Box<UndoRun>),
    Flow(Box<Flow>),
    /// Tasks outside are asked, after they were told to stop or not.
    Ask(Vec<(i32, Arc<str>)>, bool),
    Clear,
}

/// The code of a leaf, or a round of a callback.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// What it goes by, where it is a round.
    round: Option<Box<Round>>,
    /// It has yet to read the inbox.
    is_inbox: bool,
    /// What it has yet to register.
    entries: VecDeque<Value>,
    /// What it has yet to lock.
    locks: VecDeque<Lock>,
    /// What it has yet to subscribe to.
    keys: VecDeque<Arc<str>>,
    /// The tasks outside that it has yet to begin.
    tasks: VecDeque<Arc<str>>,
    /// It waits for the answer to this ticket.
    waits_for: Option<u64>,
    /// It has subscribed, or has tasks, so it is past its `validate`.
    has_begun: bool,
    /// What it registers was refused.
    is_refused: bool,
    is_cancelled: bool,
}

/// What a leaf asks for.
#[derive(Debug)]
pub(super) enum Wish {
    Register(Entry),
    Lock(Lock),
    Subscribe(Arc<str>),
    Task(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Flow {
    script: Script,
    has_begun: bool,
    is_replaying: bool,
    mail: VecDeque<Mail>,
    /// The `once` steps that run.
    onces: BTreeSet<i32>,
    /// The positions of what it was given.
    given: Vec<i32>,
}

/// What a flow is told.
#[derive(Debug)]
pub(super) enum Mail {
    Give { outcomes: Vec<(i32, Ended)>, replay_is_over: bool },
    LetRun { position: i32 },
}

const NO_HOOKS: Hooks = Hooks::NONE;

impl Task {
    pub(super) fn new(run: &Run, until: Timestamp) -> Self {
        let parameters = json(&run.fields);
        let code = match &run.kind {
            RunKind::Leaf => {
                let entries = script::entries(&parameters).into();
                let locks = script::late_locks(&parameters, run.attempt).into();
                let keys = VecDeque::from(events::subscriptions(run.name, &parameters, None));
                let tasks = VecDeque::from(outside::tasks(run.name, &parameters, None));
                let has_begun = !keys.is_empty() || !tasks.is_empty();
                Code::Leaf(Leaf { entries, locks, keys, tasks, has_begun, ..Leaf::default() })
            }
            RunKind::Tasks { open, stop } => Code::Ask(open.clone(), *stop),
            RunKind::Clear(_) => Code::Clear,
            RunKind::Inbox(round) | RunKind::Round(Call::Round(round)) => {
                let logged = rounds::log(&parameters).len();
                let runs = i32::try_from(logged).expect("a few");
                let keys = events::subscriptions(run.name, &parameters, Some(logged)).into();
                let tasks = outside::tasks(run.name, &parameters, Some(logged)).into();
                let is_inbox = matches!(run.kind, RunKind::Inbox(_));
                let locks = script::late_locks(&parameters, 1000 + runs).into();
                let mut entries = VecDeque::from(script::entries(&parameters));
                entries.truncate(usize::from(runs == 1));
                let may_ask = round.executed.is_ok();
                let round = Some(round.clone());
                let leaf = if may_ask {
                    Leaf { entries, locks, keys, tasks, is_inbox, ..Leaf::default() }
                } else {
                    Leaf::default()
                };
                Code::Leaf(Leaf { round, ..leaf })
            }
            RunKind::Hook(call) | RunKind::Round(call) => Code::Hook(call.clone()),
            RunKind::Flow { replaying, .. } => Code::Flow(Box::new(Flow {
                script: Script::new(&parameters),
                has_begun: false,
                is_replaying: *replaying,
                mail: VecDeque::new(),
                onces: BTreeSet::new(),
                given: Vec::new(),
            })),
        };
        let (at, attempt, name, next_position) = (run.at, run.attempt, run.name, run.next_position);
        Self { at, attempt, name, is_over: false, until, next_position, parameters, code }
    }

    pub(super) fn undo(run: UndoRun) -> Self {
        let (at, until, parameters) = (run.at, Timestamp::default(), json!({}));
        let code = Code::Undo(Box::new(run));
        let (attempt, name, is_over, next_position) = (0, "", false, 0);
        Self { at, attempt, name, is_over, until, next_position, parameters, code }
    }

    pub(super) fn is_flow(&self) -> bool {
        matches!(self.code, Code::Flow(_))
    }

    pub(super) fn is_leaf(&self) -> bool {
        matches!(&self.code, Code::Leaf(leaf) if leaf.round.is_none())
    }

    pub(super) fn is_round(&self) -> bool {
        self.is_ask() || matches!(&self.code, Code::Leaf(leaf) if leaf.round.is_some())
    }

    /// Whether it asks tasks outside.
    pub(super) fn is_ask(&self) -> bool {
        matches!(self.code, Code::Ask(..))
    }

    /// Which tasks it asks, and whether it has told them to stop.
    pub(super) fn asks_outside(&mut self) -> (Vec<(i32, Arc<str>)>, bool) {
        let Code::Ask(open, stop) = &mut self.code else { panic!("it asks no tasks") };
        self.is_over = true;
        (std::mem::take(open), *stop)
    }

    pub(super) fn code(&self) -> &Code {
        &self.code
    }

    /// True when it can go on.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        !self.is_over
            && self.until <= now
            && match &self.code {
                // A wait is dropped with what waits.
                Code::Leaf(leaf) => {
                    leaf.waits_for.is_none_or(|ticket| ticket.is_multiple_of(7))
                        || leaf.is_cancelled
                }
                Code::Hook(_) | Code::Undo(_) | Code::Ask(..) | Code::Clear => true,
                Code::Flow(flow) => {
                    !flow.has_begun || !flow.mail.is_empty() || !flow.onces.is_empty()
                }
            }
    }

    pub(super) fn tell(&mut self, mail: Mail) {
        if let Code::Flow(flow) = &mut self.code {
            flow.mail.push_back(mail);
        }
    }

    /// It is cancelled, and ends soon.
    pub(super) fn cancel(&mut self) {
        if let Code::Leaf(leaf) = &mut self.code {
            leaf.is_cancelled = true;
            self.until = Timestamp::default();
        }
    }

    /// Whether it has yet to read the inbox of its command.
    pub(super) fn is_inbox(&self) -> bool {
        matches!(&self.code, Code::Leaf(leaf) if leaf.is_inbox)
    }

    /// It has read the inbox. Gives the round that it is now; none where nothing was there.
    pub(super) fn reads(&mut self, inbox: Vec<Delivery>) -> Option<Round> {
        let Code::Leaf(Leaf { round: Some(round), is_inbox, .. }) = &mut self.code else {
            panic!("no round reads an inbox");
        };
        *is_inbox = false;
        round.last_event = inbox.last().map(|last| last.number);
        let events = inbox.into_iter().map(|Delivery { event, number }| {
            let (id, key) = (event.event_id.as_ref().into(), event.key.as_ref().into());
            (number, Event { id, key, payload: json(&event.payload) })
        });
        round.events = events.collect();
        self.is_over = round.last_event.is_none();
        round.last_event.map(|_| (**round).clone())
    }

    /// What it wants next has this ticket now.
    pub(super) fn asks(&mut self, ticket: u64) -> Option<Wish> {
        let Code::Leaf(leaf) = &mut self.code else { return None };
        leaf.waits_for = Some(ticket);
        if let Some(lock) = leaf.locks.pop_front() {
            return Some(Wish::Lock(lock));
        }
        if let Some(key) = leaf.keys.pop_front() {
            return Some(Wish::Subscribe(key));
        }
        if let Some(task) = leaf.tasks.pop_front() {
            return Some(Wish::Task(task));
        }
        let parameters = leaf.entries.pop_front()?;
        Some(Wish::Register(Entry { name: script::UNDO.into(), parameters: text(&parameters) }))
    }

    /// Whether it wants to register or to lock something.
    pub(super) fn has_asks(&self) -> bool {
        let Code::Leaf(leaf) = &self.code else { return false };
        let has_wishes = !leaf.entries.is_empty()
            || !leaf.locks.is_empty()
            || !leaf.keys.is_empty()
            || !leaf.tasks.is_empty();
        has_wishes && !leaf.is_refused && leaf.waits_for.is_none()
    }

    /// What it waited for is its own, or was refused. It may go on without a lock. False where it
    /// does not wait any more.
    pub(super) fn answered(&mut self, ticket: u64, is_accepted: bool, is_lock: bool) -> bool {
        if let Code::Leaf(leaf) = &mut self.code
            && leaf.waits_for == Some(ticket)
        {
            leaf.waits_for = None;
            leaf.is_refused |= !is_accepted && (!is_lock || ticket.is_multiple_of(2));
            return true;
        }
        false
    }

    /// The positions of all that a flow was given, also what it has not taken yet.
    pub(super) fn given(&self) -> Vec<i32> {
        let Code::Flow(flow) = &self.code else { return Vec::new() };
        let waits = flow.mail.iter().flat_map(|mail| match mail {
            Mail::Give { outcomes, .. } => outcomes.as_slice(),
            Mail::LetRun { .. } => &[],
        });
        flow.given.iter().copied().chain(waits.map(|(position, _)| *position)).collect()
    }

    /// Goes on, and says what the runtime hears of it.
    pub(super) fn go_on(&mut self, dice: &mut Dice, divergence: usize) -> Option<Happened> {
        let (attempt, at, name, position) = (self.attempt, self.at, self.name, self.next_position);
        let hooks = script::hooks(&self.parameters);
        match &mut self.code {
            Code::Leaf(leaf) => {
                self.is_over = true;
                if let Some(round) = &leaf.round {
                    let reply = leaf.round(dice, name, at, &self.parameters, round, position);
                    let reply = Reply { hooks, ..reply };
                    return Some(Happened::RoundOver(reply));
                }
                let mut reply = leaf.end(dice, at, hooks, &self.parameters);
                if !spec_of(name).callback.has_rounds() {
                    let launched = launches::of_leaf(&self.parameters, attempt);
                    reply.next = launching(&launched, dice);
                }
                if spec_of(name).callback.has_rounds() && reply.result.is_ok() {
                    reply = said(
                        dice,
                        rounds::begin(name, &self.parameters),
                        &self.parameters,
                        position,
                    );
                    reply.hooks = hooks;
                }
                Some(Happened::Ran { attempt, reply })
            }
            Code::Hook(call) => {
                self.is_over = true;
                let (is_own, hooks) = match call {
                    Call::Compensate(_) => {
                        (hooks.compensate, Hooks { compensate: hooks.compensate, ..NO_HOOKS })
                    }
                    Call::EndSuccessfully(_) => (hooks.success, NO_HOOKS),
                    _ => (hooks.failure, NO_HOOKS),
                };
                let fails = is_own && dice.one_in(10);
                Some(Happened::Hooked(hook(dice, at, fails, hooks)))
            }
            Code::Ask(..) => unreachable!("the runtime asks"),
            Code::Undo(_) | Code::Clear => {
                self.is_over = true;
                let fails = dice.one_in(10);
                Some(Happened::Hooked(hook(dice, at, fails, NO_HOOKS)))
            }
            Code::Flow(flow) => {
                let polled = if dice.one_in(divergence) {
                    let end = Some(FlowEnd::Diverged("of its own will".to_owned()));
                    Polled { end, ..Polled::default() }
                } else if !flow.has_begun && !flow.is_replaying && dice.one_in(25) {
                    let reply = Box::new(refused(dice, at));
                    let end = Some(FlowEnd::Returned { reply, unseen: None });
                    Polled { end, ..Polled::default() }
                } else {
                    flow.go_on(dice, at, hooks)?
                };
                self.is_over = polled.end.is_some();
                Some(Happened::Polled { attempt, polled })
            }
        }
    }
}

impl Leaf {
    fn end(&self, dice: &mut Dice, at: Address, hooks: Hooks, parameters: &Value) -> Reply {
        if self.is_cancelled && dice.one_in(3) {
            let message = "it did not end, and was dropped";
            return Reply::failed(Failure::new(FailureKind::Cancelled, message).of(at.command));
        }
        let message = format!("leaf {}", dice.roll());
        let failed = |kind| Err(Failure::new(kind, message.clone()).of(at.command));
        let result = match dice.below(24) {
            _ if self.is_refused => failed(FailureKind::Failed),
            0..4 => failed(FailureKind::Failed),
            4 => return Reply::failed(Failure::new(FailureKind::Panicked, message).of(at.command)),
            5 if self.entries.is_empty() && !self.has_begun => return refused(dice, at),
            _ => Ok(text(&json!(dice.roll()))),
        };
        let again = match dice.below(8) {
            0 => Again::Never,
            1 => Again::After(std::time::Duration::from_secs(2)),
            _ => Again::AsDeclared,
        };
        let state = dice.one_in(4).then(|| text(parameters));
        Reply { result, state, refused: false, hooks, again, next: None }
    }
}

fn hook(dice: &mut Dice, at: Address, fails: bool, hooks: Hooks) -> Reply {
    let result = if fails { Err(failure("the hook").of(at.command)) } else { Ok("null".into()) };
    let again = if dice.one_in(6) { Again::Never } else { Again::AsDeclared };
    Reply { result, state: None, refused: false, hooks, again, next: None }
}

fn refused(dice: &mut Dice, at: Address) -> Reply {
    let failure = Failure::new(FailureKind::Refused, format!("no {}", dice.roll()));
    Reply { refused: true, ..Reply::failed(failure.of(at.command)) }
}

impl Flow {
    fn go_on(&mut self, dice: &mut Dice, at: Address, hooks: Hooks) -> Option<Polled> {
        if !self.has_begun {
            self.has_begun = true;
            return Some(self.poll(false, hooks));
        }
        if !self.onces.is_empty() && (self.mail.is_empty() || dice.one_in(2)) {
            let position = self.onces.pop_first()?;
            let result = match dice.below(12) {
                0 => Err(failure(format!("once {}", dice.roll())).of(at.command)),
                _ => Ok(text(&json!(dice.roll()))),
            };
            let ask = Ask::OnceEnded { position, result };
            return self
                .script
                .waits_for(position)
                .then(|| Polled { asks: vec![ask], ..Polled::default() });
        }
        match self.mail.pop_front()? {
            Mail::LetRun { position } => {
                if self.script.waits_for(position) {
                    self.onces.insert(position);
                }
                None
            }
            Mail::Give { outcomes, replay_is_over } => {
                self.is_replaying &= !replay_is_over;
                let mut all = Polled { given: true, ..Polled::default() };
                for (position, ended) in outcomes {
                    if let Some(FlowEnd::Returned { unseen, .. }) = &mut all.end {
                        *unseen = unseen.take().or(ended.result.err());
                        continue;
                    }
                    self.given.push(position);
                    self.script.answer(position, ended);
                    let polled = self.poll(true, hooks);
                    all.asks.extend(polled.asks);
                    all.end = polled.end;
                }
                Some(all)
            }
        }
    }

    fn poll(&mut self, given: bool, hooks: Hooks) -> Polled {
        let mut asks = Vec::new();
        let returned = self.script.poll(self.is_replaying, &mut asks);
        let end = returned.map(|result| {
            let again = Again::AsDeclared;
            let reply =
                Box::new(Reply { result, state: None, refused: false, hooks, again, next: None });
            FlowEnd::Returned { reply, unseen: self.script.unseen.take() }
        });
        Polled { given, asks, end }
    }
}
