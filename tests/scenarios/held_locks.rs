//! Where code of a command can show that it holds a lock.

use coco_core::lock::{LockProperties, LockScope};
use coco_core::prelude::*;
use coco_core::{EngineError, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, engine_error_of, failure_of, on_every_store};
use super::world::World;

on_every_store!(
    in_a_leaf,
    after_its_end,
    when_it_is_undone,
    in_an_undo_command,
    in_a_flow_and_its_steps,
    what_is_not_held,
);

#[derive(LockKey, Serialize, Deserialize, Clone, Copy, Debug)]
#[lock_key(group = "shown disk")]
struct Shown(u32);

/// Which of the disks 1 to 3 are held, as far as `cx` says: `1x` exclusive, `1s` at least shared.
macro_rules! held_by {
    ($cx:expr) => {{
        let mut said = String::new();
        for disk in 1..=3 {
            if $cx.held::<Shared, Shown>(Shown(disk)).is_ok() {
                let exclusive = $cx.held::<Exclusive, Shown>(Shown(disk)).is_ok();
                said.push_str(&format!(" {disk}{}", if exclusive { "x" } else { "s" }));
            }
        }
        said
    }};
}

/// Declares disk 1 exclusive and disk 2 shared, takes disk 3, and says everywhere what it holds.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, lock = Execution, needs(World))]
struct Shows {
    #[lock(exclusive)]
    one: Shown,
    #[lock(shared)]
    two: Shown,
    scope: LockScope,
    fails: bool,
}

impl Shows {
    const fn new(scope: LockScope, fails: bool) -> Self {
        Self { one: Shown(1), two: Shown(2), scope, fails }
    }

    fn say(cx: &LeafContext<Self>, place: &str) {
        cx.get::<World>().note(cx.id(), format!("{place}:{}", held_by!(cx)), 1);
    }
}

impl Execute for Shows {
    type Output = ();

    fn apply_lock_properties(&self, properties: LockProperties) -> LockProperties {
        properties.with_scope(self.scope)
    }

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        Self::say(cx, "validate");
        Ok(())
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("execute:{}", held_by!(cx)), 1);
        if self.scope != LockScope::None {
            let late: Held<'_, Shared, Shown> = cx.lock(Shown(3), Shared).await?;
            world.note(cx.id(), format!("with {}:{}", late.0, held_by!(cx)), 1);
            let exclusive = cx.lock(Shown(3), Exclusive).await?.shared();
            world.note(cx.id(), format!("with {}:{}", exclusive.0, held_by!(cx)), 1);
        }
        // What it changes of itself does not change what it holds.
        (self.one, self.two) = (Shown(2), Shown(3));
        if self.fails { Err(Error::other("no")) } else { Ok(()) }
    }

    async fn end_successfully(&mut self, _: &(), cx: &LeafContext<Self>) -> Result<()> {
        Self::say(cx, "end");
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        Self::say(cx, "undo");
        Ok(())
    }

    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        Self::say(cx, "bad end");
        Ok(())
    }
}

const WORK: [&str; 4] =
    ["validate: 1x 2s", "execute: 1x 2s", "with 3: 1x 2s 3s", "with 3: 1x 2s 3x"];

/// Runs it alone.
async fn shown(home: &Home, scope: LockScope, fails: bool) -> Vec<String> {
    let (home, world) = (home.another().await, World::new());
    let coordinator = home.start(&world).await;
    let output = coordinator.submit(Shows::new(scope, fails)).await.unwrap().output().await;
    assert_eq!(output.is_err(), fails);
    assert!(coordinator.locks().await.unwrap().held.is_empty());
    coordinator.shutdown().await.unwrap();
    world.deeds()
}

async fn in_a_leaf(home: Home) {
    assert_eq!(shown(&home, LockScope::None, false).await, ["validate:", "execute:", "end:"]);
    assert_eq!(shown(&home, LockScope::Execution, false).await[..4], WORK);
}

async fn after_its_end(home: Home) {
    let end = |mut deeds: Vec<String>| deeds.split_off(4);
    assert_eq!(end(shown(&home, LockScope::Execution, false).await), ["end:"], "it has let go");
    assert_eq!(end(shown(&home, LockScope::Command, false).await), ["end: 1x 2s"]);
    for scope in [LockScope::Execution, LockScope::Command] {
        assert_eq!(end(shown(&home, scope, true).await), ["undo: 1x 2s", "bad end: 1x 2s"]);
    }
}

/// Fails after its child has succeeded.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct FailsAfterShown {
    registers: bool,
}

impl Execute for FailsAfterShown {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        if self.registers {
            cx.child(RegistersShown { one: Shown(1) }).await?;
        } else {
            cx.child(Shows::new(LockScope::Execution, false)).await?;
        }
        Err(Error::other("it failed later"))
    }
}

async fn when_it_is_undone(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(FailsAfterShown { registers: false }).await.unwrap();
    failure_of(handle.output().await);
    assert_eq!(world.deeds()[4..], ["end:", "undo: 1x 2s"], "its parent holds them then");
    assert!(coordinator.locks().await.unwrap().held.is_empty());
    coordinator.shutdown().await.unwrap();
}

/// Registers an undo command.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct RegistersShown {
    #[lock(exclusive)]
    one: Shown,
}

impl Execute for RegistersShown {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.compensate_with(UndoesShown { two: Shown(2) }).await
    }
}

/// What it declares itself, it does not take.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, needs(World))]
struct UndoesShown {
    #[lock(exclusive)]
    two: Shown,
}

impl Execute for UndoesShown {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("undo command:{}", held_by!(cx)), 1);
        let refused = engine_error_of(cx.lock(Shown(3), Shared).await);
        assert_eq!(refused, EngineError::LockInUndo(cx.id()));
        Ok(())
    }
}

async fn in_an_undo_command(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(FailsAfterShown { registers: true }).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(failure.message, "it failed later");
    assert_eq!(world.deeds(), ["undo command: 1x"]);
    coordinator.shutdown().await.unwrap();
}

/// A flow that says what it holds, and lets its steps say it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren, lock = Execution, needs(World))]
struct ShowsFlow {
    #[lock(shared)]
    one: Shown,
}

impl Execute for ShowsFlow {
    type Output = Vec<String>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<String>> {
        let step = |cx: LeafContext<Self>| async move { Ok(held_by!(cx)) };
        let mut said = vec![held_by!(cx), cx.once("before", step).await?];
        let held = cx.lock(Shown(2), Exclusive).await?;
        said.extend([held_by!(cx), cx.once("after", step).await?]);
        let wait = |cx: LeafContext<Self>| async move {
            cx.get::<World>().note(cx.id(), "waits", 1);
            cx.get::<World>().pass("waits").await;
            Ok(())
        };
        cx.once("wait", wait).await?;
        assert_eq!(held.0, 2);
        said.push(held_by!(cx));
        Ok(said)
    }
}

async fn in_a_flow_and_its_steps(home: Home) {
    let world = World::new();
    world.close("waits");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(ShowsFlow { one: Shown(1) }).await.unwrap().id();
    world.noted("waits").await;
    drop(coordinator);
    world.open("waits");
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<ShowsFlow>(id).await.unwrap();
    let expected = [" 1s", " 1s", " 1s 2x", " 1s 2x", " 1s 2x"];
    assert_eq!(handle.output().await.unwrap(), expected, "the same on every run");
    coordinator.shutdown().await.unwrap();
}

/// Demands what it does not hold.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct Demands {
    #[lock(shared)]
    one: Shown,
}

impl Execute for Demands {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let error = cx.held::<Exclusive, Shown>(self.one).expect_err("it is shared");
        match error.downcast_ref() {
            Some(EngineError::NotHeld { command, lock }) => {
                assert_eq!((*command, &*lock.group, &*lock.key), (cx.id(), "shown disk", "1"));
            }
            _ => panic!("{error}"),
        }
        Err(error)
    }
}

async fn what_is_not_held(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Demands { one: Shown(1) }).await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(failure.kind, FailureKind::Failed);
    let text = "does not hold shown disk `1` exclusive: declare it with `#[lock(exclusive)]`";
    assert!(failure.message.contains(text), "{failure}");
    coordinator.shutdown().await.unwrap();
}
