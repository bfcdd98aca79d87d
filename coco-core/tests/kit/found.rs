//! What a helper has to say.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use coco_core::testing::Report;

/// The message with which a helper panics.
pub(crate) async fn found(helper: impl IntoFuture<Output = Report>) -> String {
    let mut helper = Box::pin(helper.into_future());
    let panic = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| helper.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let panic = panic.await.expect_err("the helper finds something");
    panic.downcast_ref::<String>().expect("a message").clone()
}
