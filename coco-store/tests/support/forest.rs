//! Commands in a few trees, and random steps of theirs that ask for locks and let go of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coco_core::lock::{HeldLock, Lock, LockMode, LockRequest};
use coco_core::store::{LockRows, Step, Write};
use coco_core::{CommandId, Timestamp};
use uuid::Uuid;

/// Random numbers that a seed gives again: splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % end
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        (!all.is_empty()).then(|| all[self.below(all.len() as u64) as usize].clone())
    }

    pub(crate) fn at(&mut self) -> Timestamp {
        Timestamp::from_micros(self.below(1000).cast_signed())
    }

    pub(crate) fn command(&mut self) -> u128 {
        self.pick(&COMMANDS).expect("there are commands")
    }
}

/// The roots 1 to 3 have two children and four grandchildren each, the roots 4 to 7 have none.
/// Without its last digit, a number is that of the parent. Roots from 1000 on may be added.
pub(crate) const COMMANDS: [u128; 25] = [
    1, 2, 3, 4, 5, 6, 7, 11, 12, 21, 22, 31, 32, 111, 112, 121, 122, 211, 212, 221, 222, 311, 312,
    321, 322,
];

/// Nobody has stored it.
const ABSENT: u128 = 9;

pub(crate) fn id(n: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n))
}

/// The parent first.
pub(crate) fn ancestors(n: u128) -> Vec<CommandId> {
    let parent = |n: u128| (9 < n && n < 1000).then_some(n / 10);
    std::iter::successors(parent(n), |n| parent(*n)).map(id).collect()
}

pub(crate) fn root(n: u128) -> CommandId {
    ancestors(n).last().copied().unwrap_or(id(n))
}

fn type_of(n: u128) -> String {
    format!("type {n}")
}

/// Steps as an engine makes them, by what is held and waits before their batch.
pub(crate) struct Forest<'r> {
    pub(crate) dice: &'r mut Dice,
    pub(crate) rows: &'r LockRows,
    /// Whose request of this batch is for its start.
    pub(crate) asked: BTreeMap<CommandId, bool>,
}

impl<'r> Forest<'r> {
    pub(crate) fn new(dice: &'r mut Dice, rows: &'r LockRows) -> Self {
        Self { dice, rows, asked: BTreeMap::new() }
    }
}

impl Forest<'_> {
    /// Asks, lets go, or both.
    pub(crate) fn step(&mut self) -> Step {
        if self.dice.one_in(40) {
            let (owner, number, ancestors) = (id(ABSENT), 0, Vec::new());
            let request = LockRequest { owner, number, ancestors, ..self.request() };
            return Step {
                root: owner,
                command: owner,
                request: Some(Arc::new(request)),
                writes: Vec::new(),
            };
        }
        if self.dice.one_in(2) {
            let request = self.request();
            let lets_go = self.dice.one_in(6);
            return Step {
                root: request.root(),
                command: request.owner,
                request: Some(Arc::new(request)),
                writes: lets_go.then(|| self.lets_go()).into_iter().collect(),
            };
        }
        let n = self.dice.command();
        let writes = (0..=self.dice.below(2)).map(|_| self.lets_go()).collect();
        Step { root: root(n), command: id(n), request: None, writes }
    }

    fn locks(&mut self) -> Vec<Lock> {
        let mut keys = vec!["a", "b", "c", "d"];
        let count = [1, 1, 1, 2, 2, 3][self.dice.below(6) as usize];
        let lock = |_| {
            let key = keys.swap_remove(self.dice.below(keys.len() as u64) as usize).to_owned();
            let is_shared = self.dice.one_in(3);
            let mode = if is_shared { LockMode::Shared } else { LockMode::Exclusive };
            Lock { group: "disk".into(), key, mode }
        };
        (0..count).map(lock).collect()
    }

    pub(crate) fn request(&mut self) -> LockRequest {
        let waiting = self.dice.pick(&self.rows.waiting);
        if let Some(waiting) = waiting.filter(|_| self.dice.one_in(4)) {
            // As after a start: what waits asks again, and at times for something else.
            let again = waiting.request;
            let locks = if self.dice.one_in(4) { self.locks() } else { again.locks.clone() };
            return LockRequest { locks, waits: !self.dice.one_in(9), ..again };
        }
        let n = self.dice.command();
        let owner = id(n);
        // What a command asks for to begin, it asks for before all else, and nothing is below it.
        let is_leaf = n > 99 || (4..=7).contains(&n);
        let waiting = self.rows.waiting.iter().map(|waiting| &waiting.request);
        let own: Vec<_> = waiting.filter(|request| request.owner == owner).collect();
        let starts = own.iter().any(|request| request.number == 0);
        let has_begun = !own.is_empty() || self.rows.held.iter().any(|held| held.owner == owner);
        let begins = is_leaf && !has_begun && !self.dice.one_in(4);
        let is_start = *self.asked.entry(owner).or_insert(starts || begins);
        let waits = !self.dice.one_in(3);
        LockRequest {
            owner,
            number: if is_start { 0 } else { 1 + self.dice.below(3) as i32 },
            command_type: type_of(n).into(),
            ancestors: ancestors(n),
            locks: self.locks(),
            at: self.dice.at(),
            waits,
            until: (waits && self.dice.one_in(2)).then(|| self.dice.at()),
        }
    }

    pub(crate) fn lets_go(&mut self) -> Write {
        let held = self.dice.pick(&self.rows.held);
        let waiting = self.dice.pick(&self.rows.waiting).map(|waiting| waiting.request);
        let who = match (&held, &waiting) {
            (_, Some(waiting)) if self.dice.one_in(4) => waiting.owner,
            (Some(held), _) => held.owner,
            _ => id(self.dice.command()),
        };
        let n = who.as_uuid().as_u128();
        match (self.dice.below(8), held, waiting) {
            (0 | 1, _, Some(waiting)) => {
                let one = (!self.dice.one_in(3)).then_some(waiting.number);
                Write::LeaveLine(waiting.owner, one)
            }
            (2, Some(HeldLock { owner, lock, since, .. }), _) => {
                let since = if self.dice.one_in(4) { self.dice.at() } else { since };
                Write::ReleaseOne { owner, lock, since }
            }
            (3..6, _, _) => match self.dice.pick(&ancestors(n)) {
                Some(to) => {
                    let command_type = type_of(to.as_uuid().as_u128()).into();
                    Write::Pass { from: who, to, command_type }
                }
                None => Write::Release(who),
            },
            _ => Write::Release(who),
        }
    }
}

/// In an order of their own, and the ranks counted from 1.
pub(crate) fn sorted_locks(mut rows: LockRows) -> LockRows {
    rows.held.sort_by(|a, b| (a.owner, &a.lock.key).cmp(&(b.owner, &b.lock.key)));
    rows.waiting.sort_by_key(|waiting| waiting.rank);
    for (rank, waiting) in (1..).zip(&mut rows.waiting) {
        waiting.rank = rank;
    }
    rows
}

/// A few words for each lock, and each request in line.
pub(crate) fn brief(rows: &LockRows) -> String {
    let held = rows.held.iter().map(|held| {
        let HeldLock { owner, lock, .. } = held;
        format!("{} has {} {}", short(*owner), lock.key, lock.mode.as_str())
    });
    let waiting = rows.waiting.iter().map(|it| format!("#{} {}", it.rank, asked(&it.request)));
    held.chain(waiting).collect::<Vec<_>>().join("\n")
}

/// A few words for each step.
pub(crate) fn brief_steps(steps: &[Step]) -> String {
    let of = |step: &Step| {
        let request = step.request.iter().map(|request| asked(request));
        let writes = step.writes.iter().map(|write| match write {
            Write::Release(owner) => format!("{} releases", short(*owner)),
            Write::Pass { from, to, .. } => format!("{} passes to {}", short(*from), short(*to)),
            Write::LeaveLine(owner, number) => format!("{}/{number:?} leaves", short(*owner)),
            Write::ReleaseOne { owner, lock, .. } => {
                format!("{} releases {}", short(*owner), lock.key)
            }
            Write::Subscribe(row) => format!("{} listens to {}", short(row.command_id), row.key),
            Write::Publish(event) => format!("publish {} {}", event.event_id, event.key),
            Write::Handled(id, last) => format!("{} has handled {last}", short(*id)),
            Write::Unsubscribe(id) => format!("{} unsubscribes", short(*id)),
            Write::Insert(row) => format!("insert {} {:?}", short(row.command_id), row.submit_key),
            other => format!("{other:?}").chars().take_while(|c| c.is_alphabetic()).collect(),
        });
        format!("({}) {}", short(step.root), request.chain(writes).collect::<Vec<_>>().join(", "))
    };
    steps.iter().map(of).collect::<Vec<_>>().join("\n")
}

fn short(id: CommandId) -> u128 {
    id.as_uuid().as_u128()
}

fn asked(request: &LockRequest) -> String {
    let locks = request.locks.iter().map(|lock| format!("{} {}", lock.key, lock.mode.as_str()));
    let locks = locks.collect::<Vec<_>>().join(" and ");
    let wait = if request.waits { "waits" } else { "asks" };
    format!("{}/{} {wait} for {locks}", short(request.owner), request.number)
}
