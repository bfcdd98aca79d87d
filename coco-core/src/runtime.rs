//! The engine: feeds the machine, runs user code, commits steps, releases effects.
//!
//! One task owns the machine. While one commit is in flight the next batch collects, so commits
//! group by themselves. **No effect happens before its step is durable**: effects wait beside
//! their steps in the queue, and `Engine::let_go` alone sets them free.

mod body;
mod commit;
mod drive;
pub(crate) mod engine;
mod reload;
mod tasks;
pub(crate) mod watch;
