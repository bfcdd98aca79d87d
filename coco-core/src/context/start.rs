//! Children that a command starts without awaiting them.

use super::Context;
use super::flow::asked_child;
use crate::callback::{Child, StartsChildren};
use crate::command::Command;

impl<C: Command> Context<C> {
    /// Starts `child` when the method that calls this has returned: the child is stored together
    /// with what the method has changed, in one commit, and then runs, side by side with others. When
    /// the method fails, nothing is started.
    ///
    /// The callback of this command is given how it ended, in the
    /// [`Outcomes`](crate::callback::Outcomes): keep what this returns in a field, and ask with
    /// [`Outcomes::of`](crate::callback::Outcomes::of).
    #[expect(clippy::needless_pass_by_value, reason = "it is the engine's from here on")]
    pub fn start<D: Command>(&self, child: D) -> Child<D>
    where
        C::Callback: StartsChildren,
    {
        let asked = asked_child(&self.scope, &child, false, None);
        let position = self.scope.requests().start(asked);
        Child::new(self.id().child(self.scope.0.root, position))
    }
}
