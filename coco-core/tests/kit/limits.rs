//! Cases that say nothing: they do not end, do not begin, or have nothing to go wrong.

use std::future::pending;
use std::time::Duration;

use coco_core::prelude::*;
use coco_core::store::{MemoryStore, StoreError};
use coco_core::testing::{Case, crash_sweep, fail_each_child, run_each_twice, undo_each_twice};
use serde::{Deserialize, Serialize};

use super::found::found;
use super::volumes::{Copy, Storage};

/// Waits for what never comes.
#[derive(Command, Serialize, Deserialize)]
struct Waits {}

impl Execute for Waits {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        pending().await
    }
}

/// Does nothing that could go wrong.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Idles {}

impl Execute for Idles {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.once("idle", |_| async { Ok("idle".to_owned()) }).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_case_that_hangs_is_found_at_once() {
    let message = found(crash_sweep(|| Case::new(Waits {}))).await;
    assert_eq!(message, "`waits`: without a fault: it hangs: `waits` is active");
}

#[tokio::test]
async fn a_case_that_hangs_is_found_in_its_time() {
    let case = || Case::new(Waits {}).within(Duration::from_millis(20));
    let message = found(crash_sweep(case)).await;
    assert_eq!(message, "`waits`: without a fault: it hangs: `waits` is active");
}

#[tokio::test(start_paused = true)]
async fn a_helper_without_a_case_says_so() {
    let idle = || Case::new(Idles {}).check(|end| assert_eq!(end.output(), Ok(&"idle".to_owned())));
    assert_eq!(crash_sweep(idle).await.cases.len(), 4);
    assert_eq!(found(fail_each_child(idle)).await, "`idles`: no leaf ran that could fail");
    let nothing = "`idles`: no idempotent leaf and no end hook ran";
    assert_eq!(found(run_each_twice(idle)).await, nothing);
    let nothing = "`idles`: nothing was undone in any case";
    assert_eq!(found(undo_each_twice(idle)).await, nothing);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_provides_is_named() {
    let case = || {
        let case = Case::new(Copy { name: "a".to_owned() });
        case.check(|end| assert!(end.output().is_ok()))
    };
    let message = found(crash_sweep(case)).await;
    let expected = "`copy`: without a fault: `copy` is stuck: it panicked: nobody provides a \
                    `kit::volumes::Storage`";
    assert_eq!(message, expected);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_opened_for_each_engine() {
    let report = crash_sweep(|| {
        let storage = Storage::default();
        let (store, opened) = (MemoryStore::default(), std::rc::Rc::new(std::cell::Cell::new(0)));
        let count = std::rc::Rc::clone(&opened);
        let open = async move || {
            count.set(count.get() + 1);
            Ok::<_, StoreError>(store.clone())
        };
        Case::new(Copy { name: "a".to_owned() }).provide(storage).store(open).check(move |end| {
            assert_eq!(opened.get(), 1 + usize::from(end.fault().is_some()));
        })
    });
    assert_eq!(report.await.cases.len(), 4);

    let case = || {
        let refuse = async || Err::<MemoryStore, _>(StoreError::Unavailable("it is full".into()));
        Case::new(Waits {}).store(refuse)
    };
    let message = found(crash_sweep(case)).await;
    assert_eq!(message, "`waits`: without a fault: the store is unavailable: it is full");
}
