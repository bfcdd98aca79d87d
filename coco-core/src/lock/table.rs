//! The lock table, or the part of it that a batch is decided by.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::held::HeldLocks;
use super::line::Line;
use super::{Answer, Grant, HeldLock, Key, Lock, LockRefusal, LockRequest, WaitingRequest};
use crate::id::CommandId;
use crate::time::Timestamp;

/// Who holds what, and who waits for what.
///
/// A store makes one of its rows, lets the steps of a batch change it in their order, calls
/// [`LockTable::grant`] at the end of the batch, and stores what has changed. It need not hold
/// everything, but what the batch is decided by. Its *commands* are those that ask, are released,
/// lose one lock, leave the line, or pass locks on or get them. That is:
///
/// - its keys: those that are asked for, those that its commands hold, and those that any request
///   waits for which is named here, and so on;
/// - of each key: all who hold it, where it is asked for exclusively or waited for; else who holds
///   it exclusively, and which of those who ask, and of their ancestors, share it;
/// - of each key: the requests at the head of its line, up to and with the first one that wants it
///   exclusively, is of none of the commands, and wants nothing else that a tree holds which asks or
///   waits for this one (else it may be passed, and who comes behind it is in the way), and all
///   requests of trees that hold it;
/// - all requests of the trees that ask, and of the trees of commands that leave the line;
/// - all that is held by the commands that pass locks on or get them or lose one, and by roots that
///   ask for their start;
/// - where a request comes to wait for which others may wait already: all that waits for its tree,
///   and for the trees that do, and so on, with who holds what those wait for. For the start of a
///   root that is not in line and holds nothing nobody waits.
#[derive(Debug, Default)]
pub struct LockTable {
    pub(super) held: HeldLocks,
    pub(super) line: Line,
    /// Keys of which somebody may have let go since [`LockTable::grant`], or which somebody was
    /// granted that others wait for.
    freed: BTreeSet<Key>,
}

impl LockTable {
    /// A table of these rows. `last_rank`: the last rank in line that was given, or a later one.
    pub fn new(
        held: impl IntoIterator<Item = HeldLock>,
        waiting: impl IntoIterator<Item = WaitingRequest>,
        last_rank: i64,
    ) -> Self {
        let mut table = Self { line: Line::after(last_rank), ..Self::default() };
        held.into_iter().for_each(|held| table.held.insert(held));
        waiting.into_iter().for_each(|waiting| table.line.insert(waiting));
        table
    }

    /// Decides about a request, and does what that says: what is granted is held, and what has to
    /// wait is in line. A request of the same number that waits for other locks is replaced.
    ///
    /// # Errors
    /// Then nothing has changed.
    pub fn ask(&mut self, request: &LockRequest) -> Result<Answer, LockRefusal> {
        let request = self.lacking(request);
        let answer = self.decide_lacking(&request)?;
        let waits = matches!(answer, Answer::Waits { .. });
        if waits && self.in_line_lacking(&request).is_some() {
            return Ok(answer);
        }
        self.leave_line(request.owner, Some(request.number));
        if waits {
            self.line.join(request.into_owned());
            return Ok(answer);
        }
        for held in request.granted() {
            let key = held.lock.name();
            // Who waits for it waits for this command now, on all its keys.
            if self.line.on(&key).next().is_some() {
                self.freed.insert(key);
            }
            self.held.insert(held);
        }
        Ok(answer)
    }

    /// This request, where it waits already, for what its command does not have.
    pub fn in_line(&self, request: &LockRequest) -> Option<&WaitingRequest> {
        self.in_line_lacking(&self.lacking(request))
    }

    pub(super) fn in_line_lacking(&self, request: &LockRequest) -> Option<&WaitingRequest> {
        let waiting = self.rank_of(request).and_then(|rank| self.line.get(rank));
        waiting.filter(|waiting| waiting.request.locks == request.locks)
    }

    /// Whether a command holds anything.
    pub fn holds_any(&self, owner: CommandId) -> bool {
        self.held.holds_any(owner)
    }

    /// Frees all that `owner` holds, and takes its requests out of the line.
    pub fn release(&mut self, owner: CommandId) {
        self.freed.extend(self.held.release(owner));
        self.leave_line(owner, None);
    }

    /// Frees one lock of `owner`, if it holds it in this mode and since this time. False where it
    /// does not.
    pub fn release_one(&mut self, owner: CommandId, lock: &Lock, since: Timestamp) -> bool {
        let key = lock.name();
        let held = self.held.of(&key, owner);
        let is_it = held.is_some_and(|held| held.lock.mode == lock.mode && held.since == since);
        if is_it {
            self.held.release_one(owner, &key);
            self.freed.insert(key);
        }
        is_it
    }

    /// Gives all that `from` holds to `to`, and takes the requests of `from` out of the line.
    #[expect(clippy::ptr_arg, reason = "a name of the program is cloned without a copy")]
    pub fn pass(&mut self, from: CommandId, to: CommandId, command_type: &Cow<'static, str>) {
        if from != to {
            self.freed.extend(self.held.pass(from, to, command_type));
            self.leave_line(from, None);
        }
    }

    /// Takes the requests of a command, or one of them, out of the line.
    pub fn leave_line(&mut self, owner: CommandId, number: Option<i32>) {
        for rank in self.line.ranks_of(owner, number) {
            self.leave(rank);
        }
    }

    fn leave(&mut self, rank: i64) {
        let left = self.line.leave(rank).into_iter().flat_map(|waiting| waiting.request.locks);
        self.freed.extend(left.map(|lock| lock.name()));
    }

    /// Grants what can be granted now that others have let go, in the order of the line.
    pub fn grant(&mut self) -> Vec<LockRequest> {
        let freed = std::mem::take(&mut self.freed);
        let mut ranks: BTreeSet<i64> = freed.iter().flat_map(|key| self.moved_by(key)).collect();
        let mut granted = Vec::new();
        while let Some(rank) = ranks.pop_first() {
            let Some(waiting) = self.line.get(rank) else { continue };
            if self.in_the_way(&waiting.request, Some(rank)).is_some() {
                continue;
            }
            let Some(WaitingRequest { request, .. }) = self.line.leave(rank) else { continue };
            request.granted().for_each(|held| self.held.insert(held));
            // To all others it is in the way as before.
            ranks.extend(self.below(request.root(), request.owner));
            granted.push(request);
        }
        granted
    }

    /// The requests that may have come to be granted by a change of who has a key: those for it;
    /// and, where somebody waits for it and for more, those of its holders and of what is below
    /// them, which need not wait behind that one on any key.
    fn moved_by(&self, key: &Key) -> BTreeSet<i64> {
        let mut moved: BTreeSet<_> = self.line.on(key).map(|waiting| waiting.rank).collect();
        if self.line.on(key).any(|waiting| waiting.request.locks.len() > 1) {
            let holders = self.held.all_of(key);
            moved.extend(holders.flat_map(|held| self.below(held.root(), held.owner)));
        }
        moved
    }

    /// What waits in a command and below it. When that gets a lock, this may borrow it, and need
    /// not wait behind who waits for it.
    fn below(&self, root: CommandId, command: CommandId) -> impl Iterator<Item = i64> {
        let below = self.line.of_tree(root).filter(move |it| it.request.is_of(command));
        below.map(|waiting| waiting.rank)
    }

    /// The keys, as group and key, of which somebody may have let go since [`LockTable::grant`], or
    /// which somebody has that others wait for.
    pub fn freed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.freed.iter().map(|(group, key)| (&**group, &**key))
    }

    /// Says that somebody may have let go of a key before this table was made.
    pub fn free(&mut self, group: &str, key: &str) {
        self.freed.insert((group.to_owned().into(), key.to_owned()));
    }

    /// All that is held, in no order.
    pub fn held(&self) -> impl Iterator<Item = &HeldLock> {
        self.held.iter()
    }

    /// All that wait, in the order of the line.
    pub fn waiting(&self) -> impl Iterator<Item = &WaitingRequest> {
        self.line.iter()
    }

    /// The rank of this request, if it is in line.
    pub fn rank_of(&self, request: &LockRequest) -> Option<i64> {
        self.line.ranks_of(request.owner, Some(request.number)).first().copied()
    }
}

impl LockRequest {
    /// What its command hears when it is granted after it has waited.
    pub fn grant(&self) -> Grant {
        Grant { root: self.root(), command: self.owner, number: self.number }
    }
}
