//! Children that were started and not awaited: how they are named, and how they ended.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::command::{Command, Stored};
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::id::CommandId;

/// A child of type `D` that was started: what `cx.start(child)` gives. Keep it in a field of the
/// command, and ask with [`Outcomes::of`] how it ended.
pub struct Child<D> {
    id: CommandId,
    child: PhantomData<fn() -> D>,
}

impl<D> Child<D> {
    pub(crate) const fn new(id: CommandId) -> Self {
        Self { id, child: PhantomData }
    }

    /// The identity of the child.
    pub const fn id(&self) -> CommandId {
        self.id
    }
}

/// How the children ended that a command has started with `cx.start(child)`: all that have ended
/// since the command began, in the order in which they did.
#[derive(Clone, Default)]
pub struct Outcomes {
    children: EndedChildren,
    /// How many of them an earlier round has seen.
    seen: usize,
}

/// One child that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EndedChild {
    pub(crate) id: CommandId,
    pub(crate) end_order: i64,
    pub(crate) result: Result<Arc<str>, Failure>,
}

/// Children that have ended, in the order in which they did. None take no room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EndedChildren(Option<Arc<Vec<EndedChild>>>);

impl EndedChildren {
    pub(crate) fn push(&mut self, child: EndedChild) {
        Arc::make_mut(self.0.get_or_insert_default()).push(child);
    }
}

impl From<Vec<EndedChild>> for EndedChildren {
    fn from(children: Vec<EndedChild>) -> Self {
        Self((!children.is_empty()).then(|| Arc::new(children)))
    }
}

impl Deref for EndedChildren {
    type Target = [EndedChild];

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl Outcomes {
    pub(crate) const fn new(children: EndedChildren, seen: usize) -> Self {
        Self { children, seen }
    }

    /// The output of a child, decoded from its stored form.
    ///
    /// # Errors
    /// The stored [`Failure`] of the child; and when it has not ended, is no child of this command,
    /// or its output cannot be read.
    pub fn of<D: Command>(&self, child: &Child<D>) -> Result<D::Output> {
        let Some(ended) = self.ended(child.id) else {
            return Err(Error::other(format!(
                "the child {} has not ended, or is none of this command; ask for it when it has: \
                 `outcomes.has(&child)`",
                child.id
            )));
        };
        let output = ended.result.as_ref().map_err(|failure| failure.clone())?;
        Ok(D::Output::decode(output)?)
    }

    /// Whether a child has ended, well or not.
    pub fn has<D>(&self, child: &Child<D>) -> bool {
        self.ended(child.id).is_some()
    }

    /// How many children have ended, well or not.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// True when none has ended.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The failures of the children, in the order in which they ended.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.children.iter().filter_map(|ended| ended.result.as_ref().err())
    }

    /// Nothing, when no child has failed.
    ///
    /// # Errors
    /// The failure of the child that failed first.
    pub fn all_succeeded(&self) -> Result<()> {
        self.failures().next().map_or(Ok(()), |failure| Err(failure.clone().into()))
    }

    /// The children that have ended, and how many of them an earlier round has seen.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn parts(&self) -> (&[EndedChild], usize) {
        (&self.children, self.seen)
    }

    /// The failures of those that have ended since the last round.
    pub(crate) fn new_failures(&self) -> impl Iterator<Item = &Failure> {
        let new = self.children.iter().skip(self.seen);
        new.filter_map(|ended| ended.result.as_ref().err())
    }

    fn ended(&self, id: CommandId) -> Option<&EndedChild> {
        self.children.iter().find(|ended| ended.id == id)
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.children.iter().map(|ended| (ended.id, ended.result.is_ok()));
        f.debug_map().entries(ended).finish()
    }
}

impl<D> fmt::Debug for Child<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Child").field(&self.id).finish()
    }
}

impl<D> Clone for Child<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Child<D> {}

impl<D> PartialEq for Child<D> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<D> Eq for Child<D> {}

impl<D> Hash for Child<D> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<D> Serialize for Child<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<'de, D> Deserialize<'de> for Child<D> {
    fn deserialize<S: Deserializer<'de>>(deserializer: S) -> Result<Self, S::Error> {
        CommandId::deserialize(deserializer).map(Self::new)
    }
}
