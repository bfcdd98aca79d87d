//! What happens with a command beyond its `execute`: the word after `callback =`.

use serde::{Deserialize, Serialize};

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
}

/// Which callback a command has, as a type.
pub trait Callback: sealed::Sealed + Send + Sync + 'static {
    /// The same as a value.
    const KIND: CallbackKind;
}

/// Callbacks whose `execute` runs to its end in one go: a leaf.
#[diagnostic::on_unimplemented(
    message = "the code of a flow may run any number of times, so it cannot reach this",
    label = "only inside `cx.once(\"…\", |cx| …)`",
    note = "do it in a child command, or in a `once` step: its closure gets a context that has it"
)]
pub trait RunsOnce: Callback {}

/// Callbacks whose `execute` is a flow that awaits children.
#[diagnostic::on_unimplemented(
    message = "this command has no callback that awaits children",
    label = "needs `callback = SerialChildren`",
    note = "add `callback = SerialChildren` to the `#[command(…)]` of the command whose context this is"
)]
pub trait AwaitsChildren: Callback {}

/// No callback: a leaf.
#[derive(Debug)]
pub enum NoCallback {}

/// The callback of flows: `execute` awaits children, one after the other or side by side, and
/// after a restart runs again from its parameters while what had ended answers from the store.
#[derive(Debug)]
pub enum SerialChildren {}

impl sealed::Sealed for NoCallback {}
impl Callback for NoCallback {
    const KIND: CallbackKind = CallbackKind::None;
}
impl RunsOnce for NoCallback {}

impl sealed::Sealed for SerialChildren {}
impl Callback for SerialChildren {
    const KIND: CallbackKind = CallbackKind::SerialChildren;
}
impl AwaitsChildren for SerialChildren {}
