//! Steps that ask for locks.

use std::sync::Arc;

use coco_core::Timestamp;
use coco_core::lock::{Lock, LockMode, LockRequest};
use coco_core::store::Step;

use crate::support::id;

pub(crate) fn lock(key: &str, mode: LockMode) -> Lock {
    Lock { group: "disk".into(), key: key.to_owned(), mode }
}

/// The step, if the command `n` below `ancestors` gets the locks.
pub(crate) fn asking(step: Step, n: u128, ancestors: &[u128], locks: Vec<Lock>) -> Step {
    let request = LockRequest {
        owner: id(n),
        number: 0,
        command_type: "move_disk".into(),
        ancestors: ancestors.iter().copied().map(id).collect(),
        locks,
        at: Timestamp::from_micros(1),
        waits: false,
        until: None,
    };
    Step { request: Some(Arc::new(request)), ..step }
}

/// The same, but that it waits in line for what it does not get at once.
#[allow(dead_code, reason = "nobody waits in some of the tests")]
pub(crate) fn waiting(step: Step, n: u128, ancestors: &[u128], locks: Vec<Lock>) -> Step {
    let mut step = asking(step, n, ancestors, locks);
    if let Some(request) = step.request.as_mut().and_then(Arc::get_mut) {
        request.waits = true;
    }
    step
}
