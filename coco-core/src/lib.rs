//! Commands that survive the death of the process.

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
pub use context::{Context, LeafContext};
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
