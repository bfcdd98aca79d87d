//! Commands that survive the death of the process.
//!
//! A command is a struct with `#[derive(Command)]` and one `impl Execute`. It is stored before it
//! runs, rebuilt from the store after a restart, holds locks on the things it works on, and may
//! run children. The engine that runs commands is a [`Coordinator`] on a [`store::Store`]:
//! [`store::MemoryStore`] here, `SeaOrmStore` in the crate coco-store.
//!
//! ```
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
//! # Locks
//!
//! `#[lock(exclusive)]` and `#[lock(shared)]` on fields, with `lock = Execution` or
//! `lock = Command` for how long. All are taken or none, in the commit that starts the command. A
//! command may take what its ancestors hold. A root that meets a conflict is not submitted, a
//! child fails; [`lock::LockConflict`] names the holder. See [`lock`].
//!
//! # Failures
//!
//! `execute` fails by returning any error, and by panicking. A failure is stored as a [`Failure`],
//! and that is what a parent's `?` gives, now and after a restart. `validate` refuses before
//! anything is done. End hooks are called at least once; one that fails parks its command as
//! stuck.
//!
//! # Restart
//!
//! [`Builder::start`] finds what is open and lets it go on; [`Coordinator::report`] tells what that
//! was. Commands are found by their stored names, so a crate of commands must be named by the
//! binary: `use its_crate as _;`. A tree with a command that this program cannot read is left
//! as it is. [`assert_registry`] and [`stored_names`] are for your tests.

#![warn(clippy::print_stdout)]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod callback;
mod command;
mod context;
mod coordinator;
pub mod entity;
mod erased;
mod error;
mod execute;
mod failure;
mod id;
pub mod lock;
mod machine;
pub mod prelude;
mod recovery;
mod registry;
mod runtime;
mod status;
mod storable;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
use __private as private;

#[cfg(feature = "derive")]
pub use coco_macros::{Command, LockKey};
pub use command::{Command, Declaration, Descriptor, Need, Needs, Spec, Stored};
pub use context::{Context, LeafContext, Outcome};
pub use coordinator::{Builder, CommandHandle, Coordinator};
pub use erased::DynCommand;
pub use error::{EngineError, Error, Result};
pub use execute::Execute;
pub use failure::{Failure, FailureKind};
pub use id::CommandId;
pub use recovery::{Quarantine, StartReport};
pub use registry::{RegistryError, assert_registry, stored_names};
pub use status::{CommandStatus, IllegalTransition};
pub use storable::{DEEPEST_VALUE, LARGEST_VALUE, NotStorable, storable};
pub use time::Timestamp;
