//! Wakes that come from the engine, told apart from all others.
//!
//! A flow may wait for nothing but its context, or a replay could not give the same answers in
//! the same order. Every wake by the engine happens inside [`engine_wake`], so the runtime knows
//! a foreign one when the flow's waker is called outside of it.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static INSIDE_ONCE: Cell<bool> = const { Cell::new(false) };
}

/// Wakes, marked as the engine's.
pub(super) fn engine_wake(waker: &Waker) {
    let before = INSIDE.replace(true);
    waker.wake_by_ref();
    INSIDE.set(before);
}

/// True while [`engine_wake`] wakes on this thread.
pub(crate) fn inside_engine_wake() -> bool {
    INSIDE.get()
}

/// Calls the code of a `once`: what it asks of its flow's context would not be asked on a replay.
pub(super) fn inside_once<T>(call: impl FnOnce() -> T) -> T {
    /// Restores the mark also when the code panics.
    struct Mark(bool);
    impl Drop for Mark {
        fn drop(&mut self) {
            INSIDE_ONCE.set(self.0);
        }
    }
    let _mark = Mark(INSIDE_ONCE.replace(true));
    call()
}

/// True while [`inside_once`] calls on this thread.
pub(super) fn is_inside_once() -> bool {
    INSIDE_ONCE.get()
}

/// Wakes the flow for a `once`, whose own code may wait for anything.
struct OnceWaker(Waker);

impl Wake for OnceWaker {
    fn wake(self: Arc<Self>) {
        engine_wake(&self.0);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        engine_wake(&self.0);
    }
}

/// The waker to poll the code of a `once` with.
pub(super) fn once_waker(flow: &Waker) -> Waker {
    Arc::new(OnceWaker(flow.clone())).into()
}
