//! A command for each bug that users make, and the helper that finds it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coco_core::FailureKind;
use coco_core::prelude::*;
use coco_core::testing::{
    Case, End, crash_sweep, fail_each_child, run_each_twice, undo_each_twice,
};
use serde::{Deserialize, Serialize};

use super::found::found;
use super::volumes::{Copy, Storage};

fn case<C: Command>(
    command: impl Fn() -> C,
    check: impl Fn(&End<C>, &Storage) + Clone + 'static,
) -> impl FnMut() -> Case<C> {
    move || {
        let (storage, check) = (Storage::default(), check.clone());
        Case::new(command()).provide(storage.clone()).check(move |end| check(end, &storage))
    }
}

/// The storage has the volume if, and only if, the command has succeeded.
fn all_or_nothing<C: Command>(end: &End<C>, storage: &Storage) {
    let expected: &[&str] = if end.output().is_ok() { &["a*1"] } else { &[] };
    assert_eq!(storage.names(), expected);
}

/// It may run again, it says; but then it makes the volume again.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage))]
struct MakesAnother {}

impl Execute for MakesAnother {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Storage>().add("a").await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_is_not_idempotent_is_found() {
    let message = found(run_each_twice(case(|| MakesAnother {}, all_or_nothing))).await;
    assert_eq!(
        message,
        "`makes_another`: run 1 of 1 (`makes_another`) was cut off at its await 2 and ran again: \
         assertion `left == right` failed\n  left: [\"a*2\"]\n right: [\"a*1\"]\n(it has succeeded)"
    );
    let message = found(crash_sweep(case(|| MakesAnother {}, all_or_nothing))).await;
    assert!(message.starts_with("`makes_another`: crash before commit 2 of 2: "), "{message}");
}

/// Marks the volume as made before it makes it.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage))]
struct MarksFirst {}

impl Execute for MarksFirst {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let storage = cx.get::<Storage>();
        let is_new = storage.state().marks.insert("a".to_owned());
        if is_new {
            storage.add("a").await;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_leaf_that_marks_before_it_acts_is_found() {
    let message = found(run_each_twice(case(|| MarksFirst {}, all_or_nothing))).await;
    let expected = "`marks_first`: run 1 of 1 (`marks_first`) was cut off at its await 1 and ran \
                    again: assertion `left == right` failed\n  left: []";
    assert!(message.starts_with(expected), "{message}");
}

/// Says twice that it is done.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage))]
struct SaysSo {}

impl Execute for SaysSo {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }

    async fn end_successfully(&mut self, (): &(), cx: &LeafContext<Self>) -> Result<()> {
        cx.get::<Storage>().state().log.push("done".to_owned());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_hook_that_may_not_be_called_again_is_found() {
    let said_once = |_: &End<_>, storage: &Storage| assert_eq!(storage.state().log, ["done"]);
    let message = found(run_each_twice(case(|| SaysSo {}, said_once))).await;
    let expected = "`says_so`: run 2 of 2 (`end_successfully` of `says_so`) ran twice: ";
    assert!(message.starts_with(expected), "{message}");
    let message = found(crash_sweep(case(|| SaysSo {}, said_once))).await;
    assert!(message.starts_with("`says_so`: crash before commit 3 of 3: "), "{message}");
}

/// Undoes only what it is told of.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(Storage))]
struct ForgetsNone {}

impl Execute for ForgetsNone {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        cx.get::<Storage>().add("a").await;
        Ok("a".to_owned())
    }

    async fn compensate(&mut self, made: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        match made {
            Some(name) => cx.get::<Storage>().remove(name).await,
            None => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_compensate_that_forgets_none_is_found() {
    let message = found(fail_each_child(case(|| ForgetsNone {}, all_or_nothing))).await;
    let expected = "`forgets_none`: run 1 of 1 (`forgets_none`) failed at its await 2: assertion \
                    `left == right` failed\n  left: [\"a*1\"]\n right: []\n(it has failed: a test \
                    made it fail at its await 2)";
    assert_eq!(message, expected);
    let message = found(crash_sweep(case(|| ForgetsNone {}, all_or_nothing))).await;
    assert!(message.starts_with("`forgets_none`: crash before commit 2 of 2: "), "{message}");
}

/// Two leaves, the first of which is undone when the second fails.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct RefundsTwice {}

impl Execute for RefundsTwice {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Pay {}).await?;
        cx.child(Copy { name: "a".to_owned() }).await
    }
}

/// Pays back again whenever it is undone.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(Storage))]
struct Pay {}

impl Execute for Pay {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Storage>().state().marks.insert("paid".to_owned());
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        let mut state = cx.get::<Storage>().state();
        if state.marks.contains("paid") {
            state.log.push("paid back".to_owned());
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_compensate_that_is_not_idempotent_is_found() {
    let paid_back_once = |_: &End<_>, storage: &Storage| {
        assert!(storage.state().log.len() < 2, "{:?}", storage.state().log.len());
    };
    let command = || RefundsTwice {};
    assert_eq!(fail_each_child(case(command, paid_back_once)).await.cases.len(), 6);
    let message = found(undo_each_twice(case(command, paid_back_once))).await;
    let expected = "`refunds_twice`: run 1 of 2 (`pay`) failed after it was done, and all undo ran \
                    twice: 2\n(it has failed: a test made it fail after it was done)";
    assert_eq!(message, expected);
}

/// Says how it is undone when it is done.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(Storage))]
struct RegistersLate {}

impl Execute for RegistersLate {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Storage>().add("a").await;
        cx.compensate_with(RemoveOne {}).await
    }
}

/// Fails when there is nothing to remove.
#[derive(Command, Serialize, Deserialize)]
#[command(needs(Storage))]
struct RemoveOne {}

impl Execute for RemoveOne {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Storage>().remove("a").await
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_registered_too_late_is_found() {
    let message = found(fail_each_child(case(|| RegistersLate {}, all_or_nothing))).await;
    let expected = "`registers_late`: run 1 of 1 (`registers_late`) failed at its await 2: \
                    assertion `left == right` failed\n  left: [\"a*1\"]";
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_undo_command_that_is_not_idempotent_is_found() {
    let message = found(undo_each_twice(case(|| RegistersLate {}, |_, _| ()))).await;
    let expected = "`registers_late`: run 1 of 1 (`registers_late`) failed at its await 3, and \
                    all undo ran twice: `registers_late` is stuck: there is no volume `a`";
    assert_eq!(message, expected);
}

/// What happened beside the storage, by the number of the case.
static OUTSIDE: Mutex<BTreeMap<u64, u32>> = Mutex::new(BTreeMap::new());
static CASES: AtomicU64 = AtomicU64::new(0);

fn did(number: u64) -> u32 {
    let mut outside = OUTSIDE.lock().unwrap();
    let did = outside.entry(number).or_default();
    *did += 1;
    *did
}

/// Does something itself, which belongs into a child or a `once`.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct DoesItItself {
    number: u64,
}

impl Execute for DoesItItself {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        did(self.number);
        cx.child(Copy { name: "a".to_owned() }).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_outside_of_once_is_found() {
    let case = || {
        let number = CASES.fetch_add(1, Ordering::Relaxed);
        let case = Case::new(DoesItItself { number }).provide(Storage::default());
        case.check(move |_| assert_eq!(did(number), 2, "with this one"))
    };
    let message = found(crash_sweep(case)).await;
    assert!(message.starts_with("`does_it_itself`: crash before commit 2 of 3: "), "{message}");
}

/// Asks for another child each time.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Wavers {
    number: u64,
}

impl Execute for Wavers {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.child(Copy { name: format!("volume {}", did(self.number)) }).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_takes_another_way_is_found() {
    let case = || {
        let number = CASES.fetch_add(1, Ordering::Relaxed);
        Case::new(Wavers { number }).provide(Storage::default())
    };
    let message = found(crash_sweep(case)).await;
    let expected = "`wavers`: crash after commit 2 of 3: `wavers` is stuck: ";
    assert!(message.starts_with(expected), "{message}");
    let report = crash_sweep(|| {
        case().may_be_stuck().check(|end| {
            let is_stuck = end.stuck().is_some_and(|why| why.kind == FailureKind::Diverged);
            assert!(is_stuck || end.output().is_ok());
        })
    });
    assert_eq!(report.await.cases.len(), 6);
}
