//! The lock table, or the part of it that a batch is decided by.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::held::HeldLocks;
use super::line::Line;
use super::{Answer, Grant, HeldLock, Key, LockRefusal, LockRequest, WaitingRequest};
use crate::id::CommandId;

/// Who holds what, and who waits for what.
///
/// A store makes one of its rows, lets the steps of a batch change it in their order, calls
/// [`LockTable::grant`] at the end of the batch, and stores what has changed. It need not hold
/// everything. What a decision depends on:
///
/// - all that is held of the keys that the batch asks for, and of the keys of requests that wait
///   for a key that the batch may free;
/// - of each of those keys, the requests at the head of its line, up to and with the first one that
///   wants it exclusively, and all requests of trees that hold it;
/// - all that is held, and all that waits, by the commands that the batch releases or passes from;
/// - where a request of the batch waits that is not the start of a root: what the trees in its way
///   wait for, and so on. The start of a root holds nothing, so nobody waits for it.
#[derive(Debug, Default)]
pub struct LockTable {
    pub(super) held: HeldLocks,
    pub(super) line: Line,
    /// Keys of which somebody may have let go since [`LockTable::grant`].
    freed: BTreeSet<Key>,
}

impl LockTable {
    /// A table of these rows. `last_place`: the last place in line that was given, or a later one.
    pub fn new(
        held: impl IntoIterator<Item = HeldLock>,
        waiting: impl IntoIterator<Item = WaitingRequest>,
        last_place: i64,
    ) -> Self {
        let mut table = Self { line: Line::after(last_place), ..Self::default() };
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
        let answer = self.decide(request)?;
        let waiting = self.place_of(request).and_then(|place| self.line.get(place));
        let is_same = waiting.is_some_and(|waiting| waiting.request.locks == request.locks);
        if is_same && matches!(answer, Answer::Waits { .. }) {
            return Ok(answer);
        }
        self.leave_line(request.owner, Some(request.number));
        match answer {
            Answer::Granted => request.granted().for_each(|held| self.held.insert(held)),
            Answer::Waits { .. } => drop(self.line.join(request.clone())),
        }
        Ok(answer)
    }

    /// Frees all that `owner` holds, and takes its requests out of the line.
    pub fn release(&mut self, owner: CommandId) {
        self.freed.extend(self.held.release(owner));
        self.leave_line(owner, None);
    }

    /// Frees one lock of `owner`.
    pub fn release_one(&mut self, owner: CommandId, group: &str, key: &str) {
        let name = (group.to_owned().into(), key.to_owned());
        if self.held.release_one(owner, &name) {
            self.freed.insert(name);
        }
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
        for place in self.line.places_of(owner, number) {
            self.leave(place);
        }
    }

    fn leave(&mut self, place: i64) {
        let left = self.line.leave(place).into_iter().flat_map(|waiting| waiting.request.locks);
        self.freed.extend(left.map(|lock| lock.name()));
    }

    /// Grants what can be granted now that others have let go, in the order of the line.
    pub fn grant(&mut self) -> Vec<LockRequest> {
        let freed = std::mem::take(&mut self.freed);
        let mut places: BTreeSet<i64> =
            freed.iter().flat_map(|key| self.line.on(key)).map(|waiting| waiting.place).collect();
        let mut granted = Vec::new();
        while let Some(place) = places.pop_first() {
            let Some(waiting) = self.line.get(place) else { continue };
            if self.in_the_way(&waiting.request, Some(place)).is_some() {
                continue;
            }
            let Some(WaitingRequest { request, .. }) = self.line.leave(place) else { continue };
            request.granted().for_each(|held| self.held.insert(held));
            // It and what is below it may borrow now. To all others it is in the way as before.
            for lock in &request.locks {
                let key = lock.name();
                let own = self.line.on(&key).filter(|other| other.request.is_of(request.owner));
                places.extend(own.map(|waiting| waiting.place));
            }
            granted.push(request);
        }
        granted
    }

    /// The keys, as group and key, of which somebody may have let go since [`LockTable::grant`].
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

    /// The place of this request, if it is in line.
    pub fn place_of(&self, request: &LockRequest) -> Option<i64> {
        self.line.places_of(request.owner, Some(request.number)).first().copied()
    }
}

impl LockRequest {
    /// What its command hears when it is granted after it has waited.
    pub fn grant(&self) -> Grant {
        Grant { root: self.root(), command: self.owner, number: self.number }
    }
}
