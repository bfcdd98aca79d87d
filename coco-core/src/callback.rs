//! What comes beyond `execute`: the word after `callback =`.
//!
//! A command without a callback is a leaf: it has ended when `execute` has. A flow
//! ([`SerialChildren`]) awaits its children in `execute` itself. With every other callback
//! `execute` only begins, and may start children with [`cx.start(child)`](crate::Context::start);
//! they are stored together with the fact that it was executed, in one commit. What follows are
//! **rounds**: calls of one method of the callback, one at a time, each with the fields as the one
//! before has left them.
//!
//! ```text
//! execute ──► [executed, children] ──► round ──► [fields, output, more children] ──► round ──► … ──► end
//! ```
//!
//! | `callback =` | the trait to implement | a round comes |
//! |---|---|---|
//! | `ConcurrentChildren` | [`ConcurrentChildren`](crate::ConcurrentChildren) | when all children have ended |
//! | `NextOperation` | [`NextOperation`](crate::NextOperation) | when all children have ended |
//! | `Polling` | [`Polling`](crate::Polling) | at growing intervals, and for an event |
//! | a path | [`CommandCallback`](crate::CommandCallback) | at growing intervals, when a child ends, and for an event |
//!
//! - A round is stored whole, with what it started, or not at all: no child and no
//!   [task outside](crate::task) is skipped, and none is started twice. One that the death of the process
//!   interrupts comes again, with the fields as they were before; so what it does outside has to bear a
//!   second time.
//! - A round that starts something is not the last one, whatever it answers.
//! - A round in which nothing changes writes nothing, and the next poll comes after a longer pause. After
//!   one in which something has changed the pauses begin again: see [`Pace`].
//! - When a round fails, or panics, its changes are dropped. The command fails when its children have
//!   ended and its [tasks outside](crate::task) are over, and then what had succeeded is undone.
//! - A round for events calls `on_event` for each that waits, in their order, and is one round all the
//!   same.
//! - While a [task outside](crate::task) runs there are rounds for events only, and the one again that
//!   was interrupted when it had begun it.
//! - `timeout = "…"` counts `execute` and all rounds together. Its place, of `concurrency = …`, a
//!   command has until it has succeeded or failed.

pub(crate) mod concurrent;
pub(crate) mod custom;
pub(crate) mod next_operation;
mod outcomes;
mod pace;
pub(crate) mod polling;
mod round;

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

pub use self::outcomes::{Child, Outcomes};
pub(crate) use self::outcomes::{EndedChild, EndedChildren};
pub use self::pace::{EVENT_TIMEOUT, Pace};
pub use self::round::{CallbackOf, Poll};

mod sealed {
    pub trait Sealed {}
}

/// Which callback a command has, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallbackKind {
    /// None: `execute` runs once.
    None,
    /// `execute` is a flow that awaits children.
    SerialChildren,
    /// A round comes when all children have ended.
    ConcurrentChildren,
    /// A round is the next operation.
    NextOperation,
    /// A round is a poll, or an event.
    Polling,
    /// One of the program's own.
    Custom,
}

impl CallbackKind {
    /// Whether `execute` is a flow, which may run any number of times.
    pub const fn is_flow(self) -> bool {
        matches!(self, Self::SerialChildren)
    }

    /// Whether rounds follow `execute`.
    pub const fn has_rounds(self) -> bool {
        !matches!(self, Self::None | Self::SerialChildren)
    }

    /// Whether a round waits until all children have ended.
    pub(crate) const fn waits_for_children(self) -> bool {
        matches!(self, Self::ConcurrentChildren | Self::NextOperation)
    }
}

/// Which callback a command has, as a type.
pub trait Callback: sealed::Sealed + Send + Sync + 'static {
    /// The same as a value.
    const KIND: CallbackKind;
}

/// Callbacks whose `execute` runs to its end in one go.
#[diagnostic::on_unimplemented(
    message = "the code of a flow may run any number of times, so it cannot reach this",
    label = "only inside `cx.once(\"…\", |cx| …)`",
    note = "do it in a child command, or in a `once` step: its closure gets a context that has it"
)]
pub trait RunsOnce: Callback {}

/// No callback at all.
#[diagnostic::on_unimplemented(
    message = "a command with a callback cannot undo another: only its `execute` would run",
    label = "has a `callback = …`",
    note = "give a command without a callback, which does all that it has to in `execute`"
)]
pub trait IsLeaf: Callback {}

/// Callbacks whose `execute` is a flow that awaits children.
#[diagnostic::on_unimplemented(
    message = "this command has no callback that awaits children",
    label = "needs `callback = SerialChildren`",
    note = "write `callback = SerialChildren` in the `#[command(…)]` of the command whose context this is",
    note = "any other command is not replayed: what would be in a `once` stands there as it is, and children are started with `cx.start(…)`, where a callback hears of them"
)]
pub trait AwaitsChildren: Callback {}

/// Callbacks that hear of the children that a command starts without awaiting them.
#[diagnostic::on_unimplemented(
    message = "this command has no callback that hears of the children that it starts",
    label = "needs `callback = ConcurrentChildren` or `callback = NextOperation`",
    note = "write one of them, or the path of a callback of your own, in the `#[command(…)]` of the command whose context this is",
    note = "a flow (`callback = SerialChildren`) awaits its children: `cx.child(…).await`"
)]
pub trait StartsChildren: Callback {}

/// The callback `ConcurrentChildren`.
#[diagnostic::on_unimplemented(
    message = "nothing would call this: the command does not have `callback = ConcurrentChildren`",
    label = "has no `callback = ConcurrentChildren`",
    note = "write `callback = ConcurrentChildren` in its `#[command(…)]`"
)]
pub trait IsConcurrentChildren: Callback {}

/// The callback `NextOperation`.
#[diagnostic::on_unimplemented(
    message = "nothing would call this: the command does not have `callback = NextOperation`",
    label = "has no `callback = NextOperation`",
    note = "write `callback = NextOperation` in its `#[command(…)]`"
)]
pub trait IsNextOperation: Callback {}

/// The callback `Polling`.
#[diagnostic::on_unimplemented(
    message = "nothing would call this: the command does not have `callback = Polling`",
    label = "has no `callback = Polling`",
    note = "write `callback = Polling` in its `#[command(…)]`"
)]
pub trait IsPolling: Callback {}

/// Callbacks that hear of events.
#[diagnostic::on_unimplemented(
    message = "this command has no callback that hears of events",
    label = "needs `callback = Polling`",
    note = "add `callback = Polling` to the `#[command(…)]` of the command whose context this is, and write `on_event` in its `impl Polling`"
)]
pub trait HearsEvents: Callback {}

/// Callbacks of commands that have tasks outside.
#[diagnostic::on_unimplemented(
    message = "this command has no callback that waits for tasks outside",
    label = "needs `callback = Polling` or `callback = NextOperation`",
    note = "write one of them, or the path of a callback of your own, in the `#[command(…)]` of the command whose context this is"
)]
pub trait HasTasks: Callback {}

/// No callback: a leaf.
#[derive(Debug)]
pub enum NoCallback {}

/// The callback of flows: `execute` awaits children, one after the other or side by side, and
/// after a restart runs again from its parameters while what had ended answers from the store.
#[derive(Debug)]
pub enum SerialChildren {}

/// The callback of children side by side: see
/// [`ConcurrentChildren::children_ended`](crate::ConcurrentChildren::children_ended).
#[derive(Debug)]
pub enum ConcurrentChildren {}

/// The callback of one operation after the other: see
/// [`NextOperation::perform_next_operation`](crate::NextOperation::perform_next_operation).
#[derive(Debug)]
pub enum NextOperation {}

/// The callback of work outside: see [`Polling::poll`](crate::Polling::poll).
#[derive(Debug)]
pub enum Polling {}

/// What the derive writes for a callback that it could not read, beside the message that says so:
/// it can everything, so that nothing else is reported.
#[doc(hidden)]
#[derive(Debug)]
pub enum Unread {}

/// A callback of the program's own: see [`CommandCallback`](crate::CommandCallback).
#[derive(Debug)]
pub struct Custom<T>(PhantomData<fn() -> T>);

macro_rules! callbacks {
    ($($callback:ident is $kind:ident: $($can:ident),*;)*) => {$(
        impl sealed::Sealed for $callback {}
        impl Callback for $callback {
            const KIND: CallbackKind = CallbackKind::$kind;
        }
        $(
            #[diagnostic::do_not_recommend]
            impl $can for $callback {}
        )*
    )*};
}

callbacks! {
    NoCallback is None: RunsOnce, IsLeaf;
    SerialChildren is SerialChildren: AwaitsChildren;
    ConcurrentChildren is ConcurrentChildren: RunsOnce, StartsChildren, IsConcurrentChildren;
    NextOperation is NextOperation: RunsOnce, StartsChildren, IsNextOperation, HasTasks;
    Polling is Polling: RunsOnce, IsPolling, HearsEvents, HasTasks;
    Unread is None: RunsOnce, IsLeaf, AwaitsChildren, StartsChildren, IsConcurrentChildren,
        IsNextOperation, IsPolling, HearsEvents, HasTasks;
}

impl<T> sealed::Sealed for Custom<T> {}
impl<T: 'static> Callback for Custom<T> {
    const KIND: CallbackKind = CallbackKind::Custom;
}
#[diagnostic::do_not_recommend]
impl<T: 'static> RunsOnce for Custom<T> {}
#[diagnostic::do_not_recommend]
impl<T: 'static> StartsChildren for Custom<T> {}
#[diagnostic::do_not_recommend]
impl<T: 'static> HearsEvents for Custom<T> {}
#[diagnostic::do_not_recommend]
impl<T: 'static> HasTasks for Custom<T> {}
