//! What a program with commands needs: `use coco_core::prelude::*;`.

#[cfg(feature = "derive")]
pub use coco_macros::LockKey;

pub use crate::lock::{Exclusive, Held, LockKey, Shared};
pub use crate::{
    Command, CommandHandle, CommandId, Context, Coordinator, Error, Execute, Failure, LeafContext,
    Result, Retry,
};
