//! The engine: feeds the machine, runs user code, commits steps, releases effects.
//!
//! One task owns the machine. While one commit is in flight the next batch collects, so commits
//! group by themselves. **No effect happens before its step is durable**: effects wait beside
//! their steps in the queue, and `Engine::let_go` alone sets them free.

mod admission;
mod alarms;
mod body;
pub(crate) mod clock;
mod commit;
mod drive;
mod effects;
pub(crate) mod engine;
mod hands;
mod inbox;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod intercept;
pub(crate) mod outages;
mod publish;
pub(crate) mod reload;
pub(crate) mod request;
mod tasks;
mod tasks_outside;
mod undo;
pub(crate) mod watch;
pub(crate) mod why;
