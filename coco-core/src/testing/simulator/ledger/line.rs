//! The line for locks, as it has to be: who waits behind whom, and who may be granted.
//!
//! The rule is written down here once more, apart from the one that stores decide with: in the way
//! of a request is who holds, or came first and waits for, one of its keys in a mode that
//! conflicts; but not the command itself, what is above it, and who waits for those on any key. What
//! it has already it does not ask for.

use super::Ledger;
use super::intervals::Event;
use crate::id::CommandId;
use crate::lock::{
    ConflictReason, Grant, Lock, LockConflict, LockMode, LockRequest, WaitingRequest, WouldDeadlock,
};
use crate::machine::step::Step;
use crate::status::CommandStatus;
use crate::store::Outcome;
use crate::time::Timestamp;

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) owner: CommandId,
    pub(super) number: i32,
    pub(super) locks: Vec<Lock>,
    pub(super) until: Option<Timestamp>,
}

fn conflict(one: LockMode, other: LockMode) -> bool {
    one == LockMode::Exclusive || other == LockMode::Exclusive
}

impl Ledger {
    /// A commit begins.
    pub(in super::super) fn begins_commit(&mut self, now: Timestamp) {
        self.locks.now = now;
        self.locks.log.commit += 1;
    }

    /// Who is in the way of a request that is behind these.
    fn in_the_way(&self, owner: CommandId, locks: &[Lock], line: &[Waiting]) -> Option<CommandId> {
        locks.iter().find_map(|lock| {
            let holders = self.locks.held.iter().filter(|((held_by, key), mode)| {
                *key == lock.key && conflict(**mode, lock.mode) && !self.is_of(owner, *held_by)
            });
            let holders = holders.map(|((held_by, _), _)| *held_by);
            let others = line.iter().filter(|other| other.owner != owner);
            let (mut behind_own, mut ahead) = (Vec::new(), None);
            for other in others {
                let Some(wanted) = other.locks.iter().find(|wanted| wanted.key == lock.key) else {
                    continue;
                };
                let is_behind = behind_own.iter().any(|(first, lock): &(&Waiting, &Lock)| {
                    conflict(lock.mode, wanted.mode) && !self.waits_for_own(first, other.owner)
                });
                let this_key = Waiting { locks: vec![wanted.clone()], ..other.clone() };
                if is_behind || self.waits_for_own(&this_key, owner) {
                    behind_own.push((other, wanted));
                } else if conflict(wanted.mode, lock.mode) && !self.waits_for_own(other, owner) {
                    ahead = ahead.or(Some(other.owner));
                }
            }
            holders.chain(ahead).next()
        })
    }

    /// Whether `other` waits for anything that `owner`, or a command above it, holds.
    fn waits_for_own(&self, other: &Waiting, owner: CommandId) -> bool {
        self.locks.held.iter().any(|((held_by, key), mode)| {
            other.locks.iter().any(|wanted| *key == wanted.key && conflict(*mode, wanted.mode))
                && self.is_of(owner, *held_by)
                && !self.is_of(other.owner, *held_by)
        })
    }

    /// Takes what the store has made of the request of a step.
    pub(in super::super) fn answered(&mut self, step: &Step, outcome: &Outcome) {
        let Some(request) = &step.request else { return };
        let LockRequest { owner, number, .. } = **request;
        assert_eq!(request.ancestors, self.ancestors(owner).collect::<Vec<_>>());
        let lacks = |lock: &&Lock| !self.locks.holds(owner, lock);
        let locks: Vec<_> = request.locks.iter().filter(lacks).cloned().collect();
        let others: Vec<_> =
            self.locks.line.iter().filter(|it| it.owner != owner).cloned().collect();
        let in_the_way = self.in_the_way(owner, &locks, &others);
        let has_all = locks.is_empty();
        let line = &self.locks.line;
        let rank = line.iter().position(|it| (it.owner, it.number) == (owner, number));
        let waits = rank.map(|rank| line[rank].clone()).filter(|it| it.locks == locks);
        assert!(!has_all || *outcome == Outcome::Applied, "{request:?} holds all: {outcome:?}");
        match outcome {
            Outcome::Applied => {
                assert!(has_all || in_the_way.is_none(), "{in_the_way:?} is passed by {request:?}");
                self.leaves_line(owner, number);
                locks.iter().for_each(|lock| self.locks.take(owner, lock));
            }
            Outcome::Queued { until } => {
                let status = self.rows[&owner].progress.status;
                let expected =
                    if number == 0 { CommandStatus::NotStarted } else { CommandStatus::Active };
                let is_parked = number > 0 && status == CommandStatus::Stuck;
                assert!(status == expected || is_parked, "{owner} waits while it is {status}");
                self.queued += 1;
                self.locks.unknown.remove(&(owner, number));
                if let Some(waits) = waits {
                    return assert_eq!(*until, waits.until, "{request:?} waits anew");
                }
                assert!(request.waits, "it does not want to wait: {request:?}");
                assert_eq!(*until, request.until, "{request:?} waits otherwise");
                assert!(in_the_way.is_some(), "it waits for nobody: {request:?}");
                assert!(!self.is_vain(request), "it waits for who shares its lock: {request:?}");
                self.leaves_line(owner, number);
                let until = *until;
                for lock in &locks {
                    self.locks.log.add(owner, lock.key.clone(), Event::Queued(number));
                }
                self.locks.untils.remove(&(owner, number));
                self.locks.granted_at.remove(&(owner, number));
                self.locks.untils.extend(until.map(|until| ((owner, number), until)));
                self.locks.line.push(Waiting { owner, number, locks, until });
            }
            Outcome::Conflict(conflict) => {
                assert!(in_the_way.is_some(), "nobody is in the way of {request:?}: {conflict:?}");
                assert!(waits.is_none(), "{request:?} waits already");
                let is_vain = conflict.reason == ConflictReason::Shared;
                assert!(!request.waits || is_vain, "it would wait: {request:?}: {conflict:?}");
                self.check_conflict(owner, conflict);
            }
            Outcome::WouldDeadlock(WouldDeadlock { cycle }) => {
                assert!(request.waits && waits.is_none(), "{request:?}: {cycle:?}");
                self.check_cycle(request, cycle);
                self.deadlocks += 1;
            }
            _ => {}
        }
    }

    /// Whether it asks exclusively for what it, or a command above it, shares with others.
    fn is_vain(&self, request: &LockRequest) -> bool {
        let of_key = |lock: &Lock| {
            let holders = self.locks.held.iter().filter(|((_, key), _)| *key == lock.key);
            let (own, others): (Vec<_>, Vec<_>) =
                holders.partition(|((held_by, _), _)| self.is_of(request.owner, *held_by));
            let own = own.into_iter().map(|(_, mode)| *mode).max();
            own == Some(LockMode::Shared) && !others.is_empty()
        };
        request.locks.iter().any(|lock| lock.mode == LockMode::Exclusive && of_key(lock))
    }

    /// The trees of these commands are read anew: what they wait for they have yet to ask again.
    pub(in super::super) fn forgets(&mut self, root: Option<CommandId>) {
        let of_tree =
            |it: &&Waiting| root.is_none_or(|root| self.rows[&it.owner].root_command_id == root);
        let line = self.locks.line.iter().filter(of_tree);
        let unknown: Vec<_> = line.map(|it| (it.owner, it.number)).collect();
        self.locks.unknown.extend(unknown);
    }

    /// The code of a command is over: it waits for nothing that it knows of.
    pub(in super::super) fn check_code_is_over(&self, id: CommandId) {
        let late = self.locks.line.iter().filter(|it| it.owner == id && it.number > 0);
        let known = late.map(|it| (it.owner, it.number));
        let mut known = known.filter(|it| !self.locks.unknown.contains(it));
        assert_eq!(known.next(), None, "its code is over, and it waits");
    }

    /// A run of a leaf is over: nothing that it asked for late is in line, nor what an interrupted
    /// run before it did.
    pub(super) fn check_leaf_is_over(&self, id: CommandId) {
        let mut late = self.locks.line.iter().filter(|it| it.owner == id && it.number > 0);
        assert_eq!(late.next(), None, "its run is over, and it waits");
    }

    /// A leaf was told that it has waited too long.
    pub(in super::super) fn check_has_left(&self, id: CommandId, lock: &Lock) {
        let waits = |it: &Waiting| {
            let is_known = !self.locks.unknown.contains(&(id, it.number));
            (it.owner, it.number > 0, &*it.locks) == (id, true, std::slice::from_ref(lock))
                && is_known
        };
        assert!(!self.locks.line.iter().any(waits), "{id} times out, and waits for {lock:?}");
    }

    fn leaves_line(&mut self, owner: CommandId, number: i32) {
        self.locks.leave_line(owner, Some(number));
    }

    /// Who is said to be in the way is.
    fn check_conflict(&self, owner: CommandId, conflict: &LockConflict) {
        let LockConflict { holder, key, reason, .. } = conflict;
        let holds = |id: CommandId| self.locks.held.contains_key(&(id, key.clone()));
        let is_there = match reason {
            ConflictReason::Held => holds(*holder) && !self.is_of(owner, *holder),
            ConflictReason::Shared => {
                let own = std::iter::once(owner).chain(self.ancestors(owner));
                holds(*holder) && own.into_iter().any(holds)
            }
            ConflictReason::Ahead => self.locks.line.iter().any(|ahead| {
                ahead.owner == *holder && ahead.locks.iter().any(|lock| lock.key == *key)
            }),
        };
        assert!(is_there, "{owner} is refused for {conflict:?}");
    }

    /// Each of a cycle waits, and the one that it waits for can let go only after the next one.
    fn check_cycle(&self, asked: &LockRequest, cycle: &[crate::lock::WaitsFor]) {
        assert_eq!(cycle.first().map(|first| first.command), Some(asked.owner));
        for (index, link) in cycle.iter().enumerate() {
            let wants = |locks: &[Lock]| locks.iter().any(|lock| lock.key == link.key);
            let mut line = self.locks.line.iter().filter(|it| it.owner == link.command);
            let waits = (index == 0 && wants(&asked.locks)) || line.any(|it| wants(&it.locks));
            assert!(waits, "it waits for something else: {link:?}");
            let holds = self.locks.held.contains_key(&(link.holder, link.key.clone()));
            let mut line = self.locks.line.iter().filter(|it| it.owner == link.holder);
            assert!(holds || line.any(|it| wants(&it.locks)), "not in the way: {link:?}");
            let next = cycle[(index + 1) % cycle.len()].command;
            let chain = std::iter::once(link.holder).chain(self.ancestors(link.holder));
            let own = chain.take_while(|id| !self.is_of(link.command, *id));
            // What is above it lets it borrow, once it has the lock itself.
            let keeps_on = own.last().map_or(next == link.holder, |top| self.is_of(next, top));
            assert!(keeps_on, "{link:?} goes on without {next}");
        }
    }

    /// Takes what was granted at the end of a commit, in its order: after it, everybody in line
    /// has somebody in the way.
    pub(in super::super) fn granted(&mut self, granted: &[Grant]) {
        for Grant { root, command, number } in granted {
            let line = &self.locks.line;
            let is_it = |it: &Waiting| (it.owner, it.number) == (*command, *number);
            let rank = line.iter().position(is_it).expect("it is in line");
            let Waiting { owner, locks, .. } = line[rank].clone();
            let in_the_way = self.in_the_way(owner, &locks, &line[..rank]);
            assert_eq!(in_the_way, None, "{command} is granted {locks:?}");
            assert_eq!(*root, self.rows[command].root_command_id);
            assert!(self.is_open(owner), "{owner} has ended, and is granted {locks:?}");
            self.leaves_line(owner, *number);
            locks.iter().for_each(|lock| self.locks.take(owner, lock));
            self.locks.granted_at.insert((owner, *number), self.locks.now);
            self.grants += 1;
        }
        for (rank, waiting) in self.locks.line.iter().enumerate() {
            let Waiting { owner, locks, .. } = waiting;
            let in_the_way = self.in_the_way(*owner, locks, &self.locks.line[..rank]);
            assert!(in_the_way.is_some(), "nothing keeps it from its locks: {waiting:?}");
        }
    }

    /// The stored line is this one, and nobody in it has ended.
    pub(super) fn check_line(&self, stored: &[WaitingRequest]) {
        let mut stored: Vec<_> = stored.iter().collect();
        stored.sort_by_key(|waiting| waiting.rank);
        let stored = stored.into_iter().map(|WaitingRequest { request, .. }| {
            let LockRequest { owner, number, until, .. } = *request;
            Waiting { owner, number, locks: request.locks.clone(), until }
        });
        assert_eq!(stored.collect::<Vec<_>>(), self.locks.line, "another line than was asked for");
        for waiting in &self.locks.line {
            assert!(self.is_open(waiting.owner), "an ended command waits: {waiting:?}");
        }
    }

    /// All that is open, and who waits behind whom.
    pub(in super::super) fn standstill(&self) -> String {
        use std::fmt::Write as _;
        let mut told = String::new();
        let open = self.rows.values().filter(|row| !row.progress.status.is_terminal());
        for row in open {
            let (id, parent) = (row.command_id, row.parent_command_id);
            let (name, status, wake_at) =
                (&row.command_type, row.progress.status, row.progress.wake_at);
            let _ = writeln!(told, "{name} {id} of {parent:?} is {status}, {wake_at:?}");
        }
        for ((owner, key), mode) in &self.locks.held {
            let _ = writeln!(told, "{owner} holds {key} {}", mode.as_str());
        }
        let line = &self.locks.line;
        for (rank, Waiting { owner, number, locks, until }) in line.iter().enumerate() {
            let in_the_way = self.in_the_way(*owner, locks, &line[..rank]);
            let locks: Vec<_> = locks.iter().map(|it| (&it.key, it.mode.as_str())).collect();
            let _ = writeln!(
                told,
                "{owner} ({number}) waits for {locks:?} until {until:?} behind {in_the_way:?}"
            );
        }
        told
    }

    /// A request has waited too long: its time was out, and it was not granted before.
    pub(super) fn check_timed_out(&mut self, owner: CommandId, number: i32) {
        let until = self.locks.untils.get(&(owner, number)).copied();
        let until = until.unwrap_or_else(|| panic!("{owner} waited for ever"));
        assert!(until <= self.locks.now, "{owner} waits until {until:?}");
        let granted = self.locks.granted_at.get(&(owner, number));
        assert!(granted.is_none_or(|at| *at >= until), "{owner} was granted, and times out");
        let is_start = number == 0;
        assert!(is_start || !self.is_in_line(owner, number), "{owner} times out, and waits on");
        self.lock_timeouts += 1;
    }

    /// Whether this request waits in line.
    pub(in super::super) fn is_in_line(&self, owner: CommandId, number: i32) -> bool {
        self.locks.line.iter().any(|it| (it.owner, it.number) == (owner, number))
    }

    /// The trees of all that wait.
    pub(in super::super) fn roots_in_line(&self) -> impl Iterator<Item = CommandId> {
        self.locks.line.iter().map(|it| self.rows[&it.owner].root_command_id)
    }
}
