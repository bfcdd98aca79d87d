//! Rounds are run by a few hands, and not each in a task of its own: where many commands are
//! polled, a task for each costs more than its round does, and so does waking the engine for what
//! each has to say.
//!
//! A hand takes one round after the other. One that waits for something keeps its hand, which is
//! its task from then on, and another hand takes its place: no round waits for one that waits. The
//! same goes for one that is found to take long, as it blocks its thread.
//!
//! What is said is put down for the engine, which is woken when a hand pauses and not before: it
//! would wait on this thread for the rounds that follow, and one of them may block it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{self, Duration};

use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::task::coop::has_budget_remaining;
use tokio::time::Instant;

use super::body::Body;
use super::engine::step_back;
use crate::caught::caught;
use crate::erased::Reply;
use crate::failure::{Failure, FailureKind};
use crate::id::CommandId;
use crate::machine::{Address, Happened};

/// Rounds after which a hand looks whether it is to step back for others.
const AT_A_STRETCH: usize = 32;

/// It does so after this time.
const LONGEST_STRETCH: Duration = Duration::from_micros(500);

/// How often the engine looks after those that work.
const LOOK_AFTER: Duration = Duration::from_millis(5);

/// What a round has said.
pub(super) type Said = (Address, Happened);

/// As many rounds are begun though the engine has not come to its next wait.
const MANY: usize = 1024;

/// Those who run the rounds of an engine.
pub(super) struct Hands {
    /// What was taken since the engine last waited.
    taken: Vec<Body>,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was said.
    heard: Notify,
    /// So many work at a time: one on each thread of the runtime.
    most: usize,
}

/// While the engine waits for anything, as many work as may where a round waits for one.
#[derive(Default)]
struct State {
    waiting: VecDeque<Body>,
    said: Vec<Said>,
    /// By their numbers. One that is not here any more ends when its round lets it.
    hands: FxHashMap<u64, Hand>,
    working: usize,
    last: u64,
    /// When the engine last looked after those that work.
    looked: Option<Instant>,
}

/// A task that takes rounds as long as it works; else it is the task of the one that it holds.
struct Hand {
    holds: Option<CommandId>,
    works: bool,
    /// It was seen at the round that it holds.
    is_seen: bool,
    join: JoinHandle<()>,
}

impl Hands {
    /// Hands on the runtime of whoever asks.
    pub(super) fn new() -> Self {
        let most = Handle::current().metrics().num_workers().max(1);
        let shared = Shared { state: Mutex::default(), heard: Notify::new(), most };
        Self { taken: Vec::new(), shared: Arc::new(shared) }
    }

    /// Takes a round, which is begun when the engine waits: while it has more of them to say, hands
    /// would read what it writes.
    pub(super) fn take(&mut self, body: Body) {
        self.taken.push(body);
        if self.taken.len() == MANY {
            self.begin();
        }
    }

    /// Begins what was taken: the engine is about to wait.
    pub(super) fn begin(&mut self) {
        let mut state = self.shared.lock();
        state.waiting.extend(self.taken.drain(..));
        for _ in 0..state.waiting.len().min(self.shared.most) {
            self.shared.one_more(&mut state);
        }
    }

    /// What was said since, for what was heard before.
    pub(super) fn take_said(&self, heard: &mut Vec<Said>) {
        heard.clear();
        std::mem::swap(heard, &mut self.shared.lock().said);
    }

    /// Waits until something is said, or was since it last waited.
    pub(super) async fn heard(&self) {
        self.shared.heard.notified().await;
    }

    /// When the engine is to look after those that work.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut state = self.shared.lock();
        if state.working == 0 {
            state.looked = None;
            return None;
        }
        Some(*state.looked.get_or_insert_with(Instant::now) + LOOK_AFTER)
    }

    /// Looks after those that work, if it is time. One that is still at the same round is left
    /// alone with it.
    pub(super) fn look_after(&self, now: Instant) {
        let mut state = self.shared.lock();
        let state = &mut *state;
        if state.looked.is_none_or(|looked| now < looked + LOOK_AFTER) {
            return;
        }
        state.looked = Some(now);
        for hand in state.hands.values_mut().filter(|hand| hand.works && hand.holds.is_some()) {
            hand.works = !hand.is_seen;
            hand.is_seen = true;
            state.working -= usize::from(!hand.works);
        }
    }

    /// Drops the round of a command. Gives what may not have ended yet.
    pub(super) fn drop_code(&mut self, command: CommandId) -> Option<JoinHandle<()>> {
        let mut state = self.shared.lock();
        state.waiting.extend(self.taken.drain(..));
        let is_it = |body: &Body| body.run.at.command == command;
        if let Some(at) = state.waiting.iter().position(is_it) {
            return state.waiting.remove(at)?.outside.before;
        }
        let holds =
            |(number, hand): (&u64, &Hand)| (hand.holds == Some(command)).then_some(*number);
        let number = state.hands.iter().find_map(holds)?;
        let hand = state.leave(number)?;
        self.shared.one_more(&mut state);
        hand.join.abort();
        Some(hand.join)
    }

    /// Drops all rounds. Gives what may not have ended yet.
    pub(super) fn clear(&mut self) -> Vec<(CommandId, JoinHandle<()>)> {
        let mut state = self.shared.lock();
        state.working = 0;
        let waiting = std::mem::take(&mut state.waiting).into_iter().chain(self.taken.drain(..));
        let before = waiting.filter_map(|body| Some((body.run.at.command, body.outside.before?)));
        let mut ending: Vec<_> = before.collect();
        for (_, Hand { holds, join, .. }) in state.hands.drain() {
            join.abort();
            ending.extend(holds.map(|command| (command, join)));
        }
        ending
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one hand more work, if there is something for it and not all that may do.
    fn one_more(self: &Arc<Self>, state: &mut State) {
        if state.waiting.is_empty() || state.working == self.most {
            return;
        }
        state.working += 1;
        state.last += 1;
        let join = tokio::spawn(work(Arc::clone(self), state.last));
        state.hands.insert(state.last, Hand { holds: None, works: true, is_seen: false, join });
    }

    /// The next round of a hand, which has said this since; none when it is to end.
    fn next(&self, number: u64, said: Option<Said>) -> Option<Body> {
        let state = &mut *self.lock();
        let hand = state.hands.get_mut(&number)?;
        state.said.extend(said);
        let body = if hand.works { state.waiting.pop_front() } else { None };
        hand.holds = body.as_ref().map(|body| body.run.at.command);
        hand.is_seen = false;
        if body.is_none() {
            state.leave(number);
            self.tell(state);
        }
        body
    }

    /// A hand steps back for others. False when it is to end.
    fn pauses(&self, number: u64, said: Said) -> bool {
        let state = &mut *self.lock();
        let Some(hand) = state.hands.get_mut(&number) else { return false };
        hand.holds = None;
        hand.is_seen = false;
        state.said.push(said);
        self.tell(state);
        true
    }

    /// The round of a hand waits for something. False when it is dropped.
    fn stays(self: &Arc<Self>, number: u64) -> bool {
        let state = &mut *self.lock();
        let Some(hand) = state.hands.get_mut(&number) else { return false };
        state.working -= usize::from(std::mem::take(&mut hand.works));
        self.one_more(state);
        self.tell(state);
        true
    }

    /// The round that had a hand for itself is over.
    fn over(&self, number: u64, said: Said) {
        let state = &mut *self.lock();
        if state.leave(number).is_some() {
            state.said.push(said);
            self.tell(state);
        }
    }

    /// Wakes the engine, unless it has heard everything.
    fn tell(&self, state: &State) {
        if !state.said.is_empty() {
            self.heard.notify_one();
        }
    }
}

impl State {
    fn leave(&mut self, number: u64) -> Option<Hand> {
        let hand = self.hands.remove(&number)?;
        self.working -= usize::from(hand.works);
        Some(hand)
    }
}

/// What a hand does.
async fn work(shared: Arc<Shared>, number: u64) {
    let (mut taken, mut began, mut said) = (0_usize, time::Instant::now(), None);
    while let Some(mut body) = shared.next(number, said.take()) {
        let at = body.run.at;
        let mut run = pin!(body.run());
        let mut poll = |cx: &mut Context<'_>| match caught(|| run.as_mut().poll(cx)) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(escaped(at, &panic)),
        };
        let over = match poll_fn(|cx| Poll::Ready(poll(cx))).await {
            Poll::Ready(over) => (at, over),
            Poll::Pending if shared.stays(number) => {
                let over = poll_fn(poll).await;
                return shared.over(number, (at, over));
            }
            Poll::Pending => return,
        };
        taken += 1;
        let is_long = taken.is_multiple_of(AT_A_STRETCH) && began.elapsed() > LONGEST_STRETCH;
        if !is_long && has_budget_remaining() {
            said = Some(over);
            continue;
        }
        if !shared.pauses(number, over) {
            return;
        }
        step_back().await;
        (taken, began) = (0, time::Instant::now());
    }
}

/// A panic that was not of the command's code.
fn escaped(at: Address, panic: &str) -> Happened {
    let message = format!("its round panicked: {panic}");
    let failure = Failure::new(FailureKind::Panicked, message).of(at.command);
    Happened::RoundOver(Reply::failed(failure))
}
