//! For tests of commands, and of stores.
//!
//! **Commands** make promises: to survive the death of the process, to be run again, to leave
//! nothing behind when they fail. Each promise is a test of a few lines: the command and a fake of
//! its outside, in a [`Case`], and what must hold in the end. A helper runs every case of it.
//!
//! | helper | what goes wrong, in turn | what must hold |
//! |---|---|---|
//! | [`crash_sweep`] | the process dies before and after every commit | whatever the command promises |
//! | [`fail_each_child`] | every leaf fails: before it begins, at each of its awaits, after all is done | what was done is undone |
//! | [`run_each_twice`] | every idempotent leaf and every end hook is cut off at each of its awaits or after all is done, and runs again | as if it had run once |
//! | [`undo_each_twice`] | the same as in [`fail_each_child`], and whatever undoes something runs twice | as if it had run once |
//!
//! They follow tokio's clock. With `#[tokio::test(start_paused = true)]` (tokio's feature
//! `test-util`) a pause costs no time, of a retry as well as of a flow that sleeps for a month, and
//! what hangs is found at once. That is right for the [`MemoryStore`](crate::store::MemoryStore)
//! and fakes in memory, `spawn_blocking` included. A store that works in threads of its own, as
//! the one on SQLite does, and fakes that do, need a clock that runs: while everything waits for
//! such a thread, a paused clock jumps, and what has a time-out times out. Make pauses short there,
//! with [`Builder::hook_retry`](crate::Builder::hook_retry) in [`Case::setup`].
//!
//! A case needs no more than the commands that run in it: a resource that only other commands of
//! the program need may be missing.
//!
//! What they do not reach:
//!
//! * The steps of [`Context::once`](crate::Context::once) run inside their flow; none of them is
//!   failed, cut off or repeated by itself. A crash sweep repeats each of them.
//! * A fake that never waits has no await at which a leaf could be cut off. Let it
//!   `tokio::task::yield_now().await` where the real one would wait for the network.
//! * Threads and `spawn_blocking` that a command began go on after a crash here; a process that
//!   dies takes them along.
//!
//! **Stores** have [`conformance`], the suite that each of them must pass, and [`FaultyStore`], a
//! store that fails where a test says so. **The engine** has a [`simulator`].

mod case;
pub mod conformance;
mod crashes;
mod each;
mod end;
mod faults;
mod life;
mod report;
mod script;
pub mod simulator;

pub use self::case::Case;
pub use self::crashes::{CrashSweep, crash_sweep};
pub use self::each::{fail_each_child, run_each_twice, undo_each_twice};
pub use self::end::End;
pub use self::faults::{Crash, FaultyStore};
pub use self::report::Report;
