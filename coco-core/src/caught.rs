//! User code is called so that no panic in it gets out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `code` gives, or the message of its panic.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let message = message(&*panic);
        // What a panic carries may panic when it is dropped, and so may what that one carries.
        if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(next);
        }
        message
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("with no message").to_owned()
}
