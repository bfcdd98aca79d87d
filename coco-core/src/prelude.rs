//! What a program with commands needs: `use coco_core::prelude::*;`.

#[cfg(feature = "derive")]
pub use coco_macros::LockKey;

pub use crate::callback::{Child, Outcomes, Poll};
pub use crate::lock::{Exclusive, Held, LockKey, Shared};
pub use crate::{
    Command, CommandCallback, CommandHandle, CommandId, ConcurrentChildren, Context, Coordinator,
    Error, Event, Execute, Failure, LeafContext, NextOperation, Polling, Result, Retry,
};
