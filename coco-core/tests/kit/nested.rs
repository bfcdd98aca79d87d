//! A tree with all that can be in one, under every fault.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::store::{MemoryStore, StoreError};
use coco_core::testing::{Case, crash_sweep, fail_each_child, run_each_twice, undo_each_twice};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use super::volumes::Storage;

/// Makes a volume, at its second attempt, and so for the rest.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage), lock = Execution, concurrency = 1, retry(attempts = 9), timeout = "10m")]
struct Make {
    #[lock(exclusive, group = "volume")]
    name: String,
    fails: bool,
}

impl Execute for Make {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let storage = cx.get::<Storage>();
        yield_now().await;
        storage.state().volumes.insert(self.name.clone(), 1);
        if cx.attempt() == 1 {
            return Err(Error::other("flaky"));
        }
        yield_now().await;
        if self.fails {
            return Err(Error::other("broken").fatal());
        }
        Ok(self.name.clone())
    }

    async fn compensate(&mut self, _: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        if cx.hook_attempt() == 1 {
            return Err(Error::other("flaky undo"));
        }
        yield_now().await;
        cx.get::<Storage>().state().volumes.remove(&self.name);
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        if cx.hook_attempt() == 1 {
            return Err(Error::other("flaky hook"));
        }
        Ok(())
    }
}

/// A flow that undoes itself.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, needs(Storage), lock = Command)]
struct Own {
    #[lock(exclusive, group = "own")]
    name: String,
}

impl Execute for Own {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let name = self.name.clone();
        cx.once("own", |cx| async move {
            cx.get::<Storage>().state().volumes.insert(name, 1);
            Ok(())
        })
        .await?;
        cx.child(Make { name: format!("{} part", self.name), fails: false }).await
    }

    async fn compensate(&mut self, _: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        let mut state = cx.get::<Storage>().state();
        state.volumes.remove(&self.name);
        state.volumes.remove(&format!("{} part", self.name));
        Ok(())
    }

    async fn end_successfully(&mut self, _: &String, cx: &LeafContext<Self>) -> Result<()> {
        if cx.hook_attempt() == 1 {
            return Err(Error::other("flaky hook"));
        }
        Ok(())
    }
}

/// Undoes one step of [`Inner`].
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Storage))]
struct Forget {
    name: String,
}

impl Execute for Forget {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        yield_now().await;
        cx.get::<Storage>().state().volumes.remove(&self.name);
        Ok(())
    }
}

/// A flow that is undone child by child.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Inner {
    name: String,
}

impl Execute for Inner {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let name = format!("{} once", self.name);
        cx.compensate_with(Forget { name: name.clone() }).await?;
        cx.once("nothing", |_| async { Ok(()) }).await?;
        cx.child(Own { name: format!("{} own", self.name) }).await?;
        cx.child(Make { name: format!("{} last", self.name), fails: false }).await?;
        Ok(())
    }
}

/// One after the other, then side by side, then one that fails and is handled.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution, timeout = "10d")]
struct Outer {
    #[lock(exclusive, group = "outer")]
    name: String,
    fails: bool,
}

impl Execute for Outer {
    type Output = u32;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u32> {
        cx.child(Inner { name: "first".into() }).await?;
        cx.sleep(Duration::from_secs(3600)).await?;
        let pair = ["left", "right"].map(|side| Make { name: side.into(), fails: false });
        let (both, own) = tokio::join!(cx.children(pair), cx.child(Own { name: "side".into() }));
        both?;
        own?;
        let trial = cx.child(Make { name: "trial".into(), fails: true }).await.unwrap_err();
        let is_injected = trial.failure().is_some_and(|failure| failure.code.is_some());
        if self.fails || is_injected { Err(trial) } else { Ok(7) }
    }
}

fn case(fails: bool, is_injected: bool) -> impl FnMut() -> Case<Outer> {
    move || {
        let (storage, store) = (Storage::default(), MemoryStore::default());
        let opened = store.clone();
        let open = async move || Ok::<_, StoreError>(opened.clone());
        let case = Case::new(Outer { name: "a".into(), fails }).provide(storage.clone());
        case.store(open).check(move |end| {
            assert_eq!(store.held_locks(), []);
            assert!(end.rows().commands.iter().all(|row| row.progress.status.is_terminal()));
            if fails || (is_injected && end.fault().is_some()) {
                assert!(end.output().is_err());
                assert_eq!(storage.names(), [""; 0]);
            } else {
                assert_eq!(end.output(), Ok(&7));
                assert_eq!(storage.names().len(), 7);
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_anywhere() {
    // Siblings that are tried again at about the same time may share a commit, or not.
    for (fails, least) in [(false, 60), (true, 75)] {
        let cases = crash_sweep(case(fails, false)).await.cases;
        assert!(cases.len() > least, "{cases:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_anywhere() {
    for fails in [false, true] {
        assert_eq!(fail_each_child(case(fails, true)).await.cases.len(), 35);
        assert_eq!(undo_each_twice(case(fails, true)).await.cases.len(), 35);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_run_of_anything() {
    for fails in [false, true] {
        let cases = run_each_twice(case(fails, false)).await.cases;
        assert!(cases.len() > 30, "{cases:?}");
    }
}
