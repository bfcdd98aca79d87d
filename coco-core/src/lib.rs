//! Commands that survive the death of the process.
//!
//! A command is a struct with `#[derive(Command)]` and one `impl Execute`. It is stored before it
//! runs, rebuilt from the store after a restart, holds locks on the things it works on, and may
//! run children. The engine that runs commands is a [`Coordinator`] on a [`store::Store`]:
//! [`store::MemoryStore`] here, `SeaOrmStore` in the crate coco-store.
//!
//! ```standalone_crate
//! use coco_core::prelude::*;
//! use coco_core::store::MemoryStore;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Command, Serialize, Deserialize)]
//! #[command(lock = Execution, callback = SerialChildren)]
//! struct GrowDisk {
//!     #[lock(exclusive, group = "disk")]
//!     disk: String,
//!     gib: u64,
//! }
//!
//! impl Execute for GrowDisk {
//!     type Output = u64;
//!
//!     async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
//!         let free = cx.child(MeasurePool).await?;
//!         if free < self.gib {
//!             return Err(Error::other(format!("only {free} GiB are free")).with_code("pool_full"));
//!         }
//!         Ok(free - self.gib)
//!     }
//! }
//!
//! #[derive(Command, Serialize, Deserialize)]
//! #[command(idempotent, needs(Pool))]
//! struct MeasurePool;
//!
//! impl Execute for MeasurePool {
//!     type Output = u64;
//!
//!     async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
//!         Ok(cx.get::<Pool>().free)
//!     }
//! }
//!
//! struct Pool {
//!     free: u64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let store = MemoryStore::default();
//! let coordinator = Coordinator::builder(store).provide(Pool { free: 50 }).start().await?;
//! let grow = |gib| GrowDisk { disk: "a".to_owned(), gib };
//!
//! assert_eq!(coordinator.submit(grow(20)).await?.output().await?, 30);
//!
//! let error = coordinator.submit(grow(80)).await?.output().await.unwrap_err();
//! assert_eq!(error.failure().and_then(|failure| failure.code.as_deref()), Some("pool_full"));
//! coordinator.shutdown().await
//! # }
//! ```
//!
//! # Leaves
//!
//! A command without a callback is a leaf: the unit of effects on the outside. Its start is
//! stored before its code runs, its result after. When the process dies in between, the leaf ends
//! as failed with [`FailureKind::Restarted`], because what it was about may have half happened;
//! an `idempotent` one runs again, and [`Context::attempt`] counts. [`Context::id`] is the same on
//! every run, so it is a key for systems outside.
//!
//! # Flows
//!
//! With `callback = SerialChildren` a command is a flow: its `execute` awaits children with
//! [`Context::child`] and [`Context::children`], small stored steps with [`Context::once`], and
//! uses [`Context::uuid`] and [`Context::now`] for values that stay. Each child is a command of its
//! own, with its own row and locks. `join!` and other combinators work.
//!
//! After a restart a flow runs again from its parameters as submitted, and what had ended answers
//! from the store, in the order in which it ended. The code between two requests may run any
//! number of times, and ahead of the store, and must ask for the same things again:
//!
//! * decide only by the fields, by outcomes, and by `uuid` and `now`; not by the clock, by
//!   randomness or by the world;
//! * wait for nothing but the context: no timers, channels, sockets or `yield_now`, except inside
//!   a child or a `once`; `select!` needs `biased`, or it picks at random;
//! * keep no `HashSet` or `HashMap` in a child's fields whose order of entries shows in its JSON as
//!   a list: parameters are compared;
//! * ask the flow's context for nothing from inside a `once`;
//! * touch the outside only in children and in `once`.
//!
//! Most slips are found: a request that differs from the stored one in its position, name or
//! parameters, a stored request that is never made, a wait for something foreign. They park the
//! command as [`CommandStatus::Stuck`] with both sides named; nothing is lost, and
//! [`Coordinator::retry`] lets it go on with the right code.
//!
//! A flow ends after its children, also those that nobody awaits any more; a failure of a child
//! that was never given to the flow fails it.
//!
//! # Callbacks
//!
//! The word after `callback =` says what comes beyond `execute`. Which one when:
//!
//! | `callback =` | for | you write |
//! |---|---|---|
//! | – | one thing that is done here: a leaf | `execute` |
//! | `SerialChildren` | steps with code between them: a flow | `execute`, which awaits its children |
//! | `ConcurrentChildren` | many children side by side, or waves of them | `execute`, which starts them, and [`children_ended`](ConcurrentChildren::children_ended) |
//! | `NextOperation` | one operation after the other, of which the fields say what is next | [`perform_next_operation`](NextOperation::perform_next_operation) |
//! | `Polling` | work outside that takes a while | `execute`, which begins it, and [`poll`](Polling::poll) |
//! | a path | what none of these does, for any number of commands | [`CommandCallback`] |
//!
//! With the last four nothing is replayed: the fields are the state. `execute` runs once, as that of
//! a leaf does, and what follows are rounds. Each gets the fields as the one before has left them;
//! what it changes, and what it starts with [`Context::start`], is stored in one commit. A round that
//! the death of the process interrupts comes again, so what it does outside may happen twice. The
//! page of [`callback`] has the rules.
//!
//! With any callback, and with none, [`Context::launch_detached`] launches a tree of its own that
//! nobody waits for.
//!
//! # Events
//!
//! Where the outside tells when something has happened, nobody has to ask. A command with `Polling`,
//! or with a callback of your own, calls [`Context::subscribe`] with a key like `storage|*|disk-7`,
//! **before** it does what makes the event happen. The program gives each event that it gets to
//! [`Coordinator::publish`], which is back when it is stored for all who have subscribed. Each of
//! them hears it once, in [`on_event`](Polling::on_event), however often it is published. Meanwhile the
//! command is polled only when no event has come for `event_timeout = "…"`, and when it comes from the
//! store, as after a restart. The page of [`event`] has the rules.
//!
//! # Tasks outside
//!
//! Where another system does the work, and can be asked for it by a name, the engine can do the
//! asking. A command with `Polling`, `NextOperation` or a callback of your own stores a
//! [`task::ExternalTask`] with [`Context::task`], **before** the work is begun. The engine asks for its
//! status, over restarts, stops it when the command fails or is cancelled, and clears it at the
//! end. The page of [`task`] has the rules.
//!
//! # Locks
//!
//! `#[lock(exclusive)]` and `#[lock(shared)]` on fields, with `lock = Execution` or
//! `lock = Command` for how long. All are taken or none, in the commit that lets the command begin.
//! A command may take what its ancestors hold. With `wait` or `wait = "30s"` it waits in line, over
//! restarts; without, a root that meets a conflict is not submitted and a child fails, and
//! [`lock::LockConflict`] names who is in the way. What may still have to be undone keeps its locks:
//! those of a child that has succeeded pass to its parent. [`Context::lock`] takes one more while
//! the command runs, and [`Context::held`] is the proof that your own functions can demand. The page
//! of [`lock`] has the rules, and a picture.
//!
//! # Failures
//!
//! `execute` fails by returning any error, and by panicking. A failure is stored as a [`Failure`],
//! and that is what a parent's `?` gives, now and after a restart. `validate` refuses before
//! anything is done.
//!
//! A command that fails is undone before it ends, once all its children have ended: newest first,
//! each that has succeeded by its own [`compensate`](Execute::compensate), or, where it has none,
//! what is inside it; then the command itself. [`Context::compensate_with`] stores a command that
//! undoes what the next lines do. Each undo is a stored step, so a restart goes on with the first
//! that is missing. Then its end hook is called, then its locks are freed.
//!
//! End hooks and undo run at least once. One that fails is called again after a growing pause
//! ([`Builder::hook_retry`]); after the last attempt its command is [`CommandStatus::Stuck`]: it
//! keeps its locks, and waits for an operator. [`Coordinator::retry`] lets it go on,
//! [`Coordinator::abandon`] ends it as it is, [`Coordinator::resubmit`] starts an ended tree anew,
//! and [`Coordinator::audit`] tells who did what.
//!
//! [`CommandHandle::cancel`] and [`Coordinator::cancel`] end a command and all below it; a leaf
//! that runs hears of it by [`Context::cancelled`].
//!
//! A tree during which the engine dies again and again is found out: after two deaths in which
//! nothing of it ended, such trees run one at a time, and one that kills the engine alone is
//! stuck.
//!
//! # Retries, times and numbers
//!
//! With `retry(attempts = 5, backoff = "1s", max_backoff = "5m")` a leaf whose `execute` fails runs
//! again; the pause before is stored, so that it goes on over a restart. An error that is
//! [`fatal`](Error::fatal) is not tried again. A flow is not retried as a whole: its children are,
//! by their own `retry(…)` or by [`cx.child(c).retry(…)`](ChildOutcome::retry). See [`Retry`].
//!
//! `timeout = "10m"` counts from the stored start of a command, leaf or flow, over restarts; what
//! takes longer fails as [`TimedOut`](FailureKind::TimedOut), with all that is below it.
//! [`Context::sleep`] waits in a flow, [`Coordinator::submit_at`] and
//! [`Coordinator::submit_after`] begin later, all of them over restarts.
//!
//! `concurrency = 4` lets four of a type run at a time, per engine.
//! [`Coordinator::submit_with_key`] may be called twice. Of the open trees 10,000 are in memory at
//! a time ([`Builder::most_trees`]); the others wait in the store, and so do those of which
//! everything waits.
//!
//! # Restart
//!
//! [`Builder::start`] finds what is open and lets it go on; [`Coordinator::report`] tells what that
//! was. Commands are found by their stored names, so a crate of commands must be named by the
//! binary: `use its_crate as _;`. A tree with a command that this program cannot read is left
//! as it is. [`assert_registry`] and [`stored_names`] are for your tests.
//!
//! # Testing your commands
//!
//! With the feature `testing`, in your `[dev-dependencies]`, each promise of a command is one test.
//! You hand over the command, a fake of its outside and a check. `testing::crash_sweep` lets the
//! process die before and after every commit, `fail_each_child` lets every leaf fail before, during
//! and after its work, `run_each_twice` and `undo_each_twice` do again what may be done again after
//! a crash. A check that does not hold is reported with its case: "crash after commit 3 of 7",
//! "run 2 of 4 (`copy_layer`) failed after it was done".
//!
//! ```
//! # #[cfg(feature = "testing")] mod example {
//! # use std::sync::{Arc, Mutex};
//! # use coco_core::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Clone, Default)]
//! # struct FakeStorage(Arc<Mutex<Vec<u32>>>);
//! # impl FakeStorage { fn is_consistent(&self) -> bool { true } }
//! # #[derive(Command, Serialize, Deserialize)]
//! # struct MoveDisk { disk: u32 }
//! # impl Execute for MoveDisk {
//! #     type Output = ();
//! #     async fn execute(&mut self, _: &Context<Self>) -> Result<()> { Ok(()) }
//! # }
//! use coco_core::testing::{Case, crash_sweep};
//!
//! #[tokio::test(start_paused = true)]
//! async fn moving_a_disk_survives_a_crash_anywhere() {
//!     crash_sweep(|| {
//!         let storage = FakeStorage::default();
//!         Case::new(MoveDisk { disk: 7 }).provide(storage.clone()).check(move |end| {
//!             assert!(end.output().is_ok());
//!             assert!(storage.is_consistent());
//!         })
//!     })
//!     .await;
//! }
//! # }
//! ```

#![warn(clippy::print_stdout)]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod callback;
mod caught;
mod command;
mod context;
mod coordinator;
pub mod entity;
mod erased;
mod error;
pub mod event;
mod execute;
mod failure;
mod id;
pub mod lock;
mod machine;
pub mod prelude;
mod recovery;
mod registry;
mod retry;
mod runtime;
mod status;
mod storable;
pub mod store;
pub mod task;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
use __private as private;

pub use callback::concurrent::ConcurrentChildren;
pub use callback::custom::CommandCallback;
pub use callback::next_operation::NextOperation;
pub use callback::polling::Polling;
#[cfg(feature = "derive")]
pub use coco_macros::{Command, LockKey};
pub use command::{Command, Declaration, Descriptor, Need, Needs, Spec, Stored};
pub use context::{ChildOutcome, Context, LeafContext, Outcome};
pub use coordinator::{Builder, CommandHandle, Coordinator, Locks, StoreState};
pub use erased::DynCommand;
pub use error::{EngineError, Error, Result};
pub use event::Event;
pub use execute::Execute;
pub use failure::{Failure, FailureKind};
pub use id::CommandId;
pub use machine::{Pause, WaitingChild, Why};
pub use recovery::{Quarantine, StartReport};
pub use registry::{RegistryError, assert_registry, stored_names};
pub use retry::Retry;
pub use status::{CommandStatus, IllegalTransition};
pub use storable::{DEEPEST_VALUE, LARGEST_VALUE, NotStorable, storable};
pub use time::Timestamp;
