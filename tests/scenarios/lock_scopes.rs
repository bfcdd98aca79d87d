//! How long a lock is kept, seen by one who waits in line for it: it begins when the holder lets
//! go, and not before, whoever dies meanwhile.

use std::time::Duration;

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};

use super::home::{Home, failure_of, on_every_store, stuck_of};
use super::turns::{
    Locks, Take, alone, close, free, line, mark, nothing_is_locked, own_plan, plan, queued, shared,
    take,
};
use super::world::World;

on_every_store!(
    leaves,
    leaves_that_fail,
    refused_by_validate,
    flows,
    flows_that_fail,
    what_can_be_undone_is_kept_by_the_parent,
    what_cannot_be_undone_is_not,
    kept_until_all_is_undone,
    passed_up_from_flow_to_flow,
    the_stronger_of_two_modes,
    a_cancelled_leaf,
    a_cancelled_flow,
    while_it_is_stuck,
    between_two_attempts,
);

/// How a process ends while a lock is held.
#[derive(Clone, Copy, Debug)]
enum Restart {
    Crash,
    Shutdown,
}

/// The next process, if there is to be one.
async fn again(
    coordinator: Coordinator,
    home: &Home,
    world: &World,
    restart: Option<Restart>,
) -> Coordinator {
    match restart {
        None => return coordinator,
        Some(Restart::Crash) => drop(coordinator),
        Some(Restart::Shutdown) => coordinator.shutdown_within(Duration::ZERO).await.unwrap(),
    }
    home.start(world).await
}

/// What is expected of a lock on disk 1.
struct Kept<'a> {
    /// The gates that its holder passes while it has it.
    by: &'a [&'a str],
    /// The first gate that it comes to without it.
    free_at: Option<&'a str>,
    /// What the other one asks for.
    next: Locks,
    says: &'a [&'a str],
}

/// Kept while the holder passes these gates, and free at the next one.
fn kept<'a>(by: &'a [&'a str], free_at: Option<&'a str>) -> Kept<'a> {
    Kept { by, free_at, next: alone([1]), says: &[] }
}

impl<'a> Kept<'a> {
    /// The world says so.
    fn saying(self, says: &'a [&'a str]) -> Self {
        Self { says, ..self }
    }

    /// The other one asks for this.
    fn from(self, next: Locks) -> Self {
        Self { next, ..self }
    }

    /// Looks at each gate who is in line; with a restart at each of them as well.
    async fn when<C: Command + Clone>(self, home: &Home, command: C) {
        self.once(home, command.clone(), None).await;
        for gate in self.by {
            for restart in [Restart::Crash, Restart::Shutdown] {
                self.once(home, command.clone(), Some((gate, restart))).await;
            }
        }
    }

    async fn once<C: Command>(&self, home: &Home, command: C, restart: Option<(&str, Restart)>) {
        let (home, world) = (home.another().await, World::new());
        self.by.iter().chain(&self.free_at).for_each(|gate| world.close(gate));
        self.says.iter().for_each(|what| world.say(what, "no"));
        let mut coordinator = home.start(&world).await;
        let holder = coordinator.submit(command).await.unwrap().id();
        world.noted(self.by[0]).await;
        let next = coordinator.submit(take("next", self.next.clone())).await.unwrap().id();
        for gate in self.by {
            world.noted(gate).await;
            if let Some((at, how)) = restart
                && at == *gate
            {
                coordinator = again(coordinator, &home, &world, Some(how)).await;
                world.noted_times(gate, 2).await;
            }
            assert_eq!(line(&home).await, [next], "at {gate}, {restart:?}");
            assert_eq!(world.count("next"), 0, "at {gate}, {restart:?}");
            world.open(gate);
        }
        if let Some(gate) = self.free_at {
            world.noted(gate).await;
            world.noted("next done").await;
            world.open(gate);
        }
        let handle = coordinator.handle::<C>(holder).await.unwrap();
        let _ = handle.output().await;
        coordinator.handle::<Take>(next).await.unwrap().output().await.unwrap();
        let deeds = world.deeds();
        let at = |deed: &str| deeds.iter().rposition(|other| other == deed);
        assert!(self.by.iter().all(|gate| at(gate) < at("next")), "{deeds:?}");
        nothing_is_locked(&home).await;
        coordinator.shutdown().await.unwrap();
    }
}

async fn leaves(home: Home) {
    let command = close("a", alone([1]));
    kept(&["validate a", "a"], Some("a ends well")).when(&home, command).await;
    let command = close("a", alone([1]).until_the_end());
    kept(&["validate a", "a", "a ends well"], None).when(&home, command).await;
    kept(&["a"], None).when(&home, take("a", alone([1]))).await;
}

async fn leaves_that_fail(home: Home) {
    let gates = ["validate a", "a", "undo half a", "a ends badly"];
    for locks in [alone([1]), alone([1]).until_the_end()] {
        kept(&gates, None).saying(&["fail a"]).when(&home, close("a", locks)).await;
    }
    kept(&["a"], None).saying(&["fail a"]).when(&home, take("a", alone([1]))).await;
}

async fn refused_by_validate(home: Home) {
    for locks in [alone([1]), alone([1]).until_the_end()] {
        let refused = kept(&["validate a"], None).saying(&["refuse a"]);
        refused.when(&home, close("a", locks)).await;
    }
}

async fn flows(home: Home) {
    let parts = || [mark("one"), mark("two")];
    let command = own_plan("p", alone([1]), parts());
    kept(&["one", "two"], Some("p ends well")).when(&home, command).await;
    let command = own_plan("p", alone([1]).until_the_end(), parts());
    kept(&["one", "two", "p ends well"], None).when(&home, command).await;
    // Its child borrows, and gives back what its parent keeps.
    let parts = [take("one", alone([1])).into(), mark("two")];
    kept(&["one", "two"], None).when(&home, plan(alone([1]), parts)).await;
}

async fn flows_that_fail(home: Home) {
    let gates = ["c", "c ends well", "m", "undo done c", "p ends badly"];
    for locks in [alone([1]), alone([1]).until_the_end()] {
        let parts = [close("c", free()).into(), mark("m")];
        let command = own_plan("p", locks, parts);
        kept(&gates, None).saying(&["fail m"]).when(&home, command).await;
    }
}

async fn what_can_be_undone_is_kept_by_the_parent(home: Home) {
    let parts = || [close("c", alone([1])).into(), mark("m")];
    let gates = ["c", "c ends well", "m"];
    kept(&gates, None).when(&home, plan(free(), parts())).await;
    // It goes by the scope of the parent, then.
    let command = own_plan("p", free(), parts());
    kept(&gates, Some("p ends well")).when(&home, command).await;
    let command = own_plan("p", free().in_no_scope(), parts());
    kept(&gates, Some("p ends well")).when(&home, command).await;
    let command = own_plan("p", free().until_the_end(), parts());
    kept(&["c", "c ends well", "m", "p ends well"], None).when(&home, command).await;
    // The scope of the child says no more than this.
    let parts = [close("c", alone([1]).until_the_end()).into(), mark("m")];
    kept(&gates, None).when(&home, plan(free(), parts)).await;
}

async fn what_cannot_be_undone_is_not(home: Home) {
    let parts = || [take("c", alone([1])).into(), mark("m")];
    kept(&["c"], Some("m")).when(&home, plan(free(), parts())).await;
    let parts = [super::turns::Part::Try(take("c", alone([1]))), mark("m")];
    kept(&["c"], Some("m")).saying(&["fail c"]).when(&home, plan(free(), parts)).await;
    // A flow in which nothing can be undone.
    let inner = plan(alone([1]), [mark("i")]);
    kept(&["i"], Some("m")).when(&home, plan(free(), [inner.into(), mark("m")])).await;
}

async fn kept_until_all_is_undone(home: Home) {
    let parts = || [close("c", alone([2])).into(), close("d", alone([1])).into(), mark("m")];
    let gates = ["d", "d ends well", "m", "undo done d", "undo done c"];
    kept(&gates, None).saying(&["fail m"]).when(&home, plan(free(), parts())).await;
    let gates = ["d", "m", "undo done d", "undo done c", "p ends badly"];
    let command = own_plan("p", free(), parts());
    kept(&gates, None).saying(&["fail m"]).when(&home, command).await;
}

async fn passed_up_from_flow_to_flow(home: Home) {
    let inner = || plan(alone([1]), [close("c", free()).into(), mark("i")]);
    let middle = || plan(free(), [inner().into(), mark("j")]);
    let command = plan(free(), [middle().into(), mark("m")]);
    kept(&["c", "i", "j", "m"], None).when(&home, command).await;
    let command = plan(free(), [middle().into(), mark("m")]);
    let gates = ["c", "i", "j", "m", "undo done c"];
    kept(&gates, None).saying(&["fail m"]).when(&home, command).await;
}

async fn the_stronger_of_two_modes(home: Home) {
    // What the child took alone, its parent has alone then.
    let parts = [close("c", alone([1])).into(), mark("m")];
    let command = plan(shared([1]), parts);
    kept(&["c", "m"], None).from(shared([1])).when(&home, command).await;
    // What is given back leaves its parent with what that has.
    let parts = [take("c", alone([1])).into(), mark("m")];
    let command = plan(shared([1]), parts);
    kept(&["c"], Some("m")).from(shared([1])).when(&home, command).await;
    let parts = [close("c", shared([1])).into(), mark("m")];
    let command = plan(alone([1]), parts);
    kept(&["c", "m"], None).from(shared([1])).when(&home, command).await;
}

async fn a_cancelled_leaf(home: Home) {
    let world = World::new();
    let gates = ["a", "undo done a", "a ends badly"];
    gates.iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let holder = coordinator.submit(close("a", alone([1]))).await.unwrap();
    world.noted("a").await;
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    holder.cancel().await.unwrap();
    for gate in gates {
        world.noted(gate).await;
        assert_eq!(line(&home).await, [next.id()], "at {gate}");
        world.open(gate);
    }
    next.output().await.unwrap();
    assert_eq!(failure_of(holder.output().await).kind, FailureKind::Cancelled);
    let deeds = world.deeds();
    assert_eq!(
        deeds[deeds.len() - 3..],
        ["a ends badly: through", "next", "next done"],
        "{deeds:?}"
    );
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn a_cancelled_flow(home: Home) {
    let world = World::new();
    let gates = ["m", "undo done c", "p ends badly"];
    gates.iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let parts = [close("c", alone([2])).into(), mark("m"), mark("never")];
    let holder = coordinator.submit(own_plan("p", alone([1]), parts)).await.unwrap();
    world.noted("m").await;
    let next = coordinator.submit(take("next", alone([1, 2]))).await.unwrap();
    holder.cancel().await.unwrap();
    for gate in gates {
        world.noted(gate).await;
        assert_eq!(line(&home).await, [next.id()], "at {gate}");
        world.open(gate);
    }
    next.output().await.unwrap();
    assert_eq!(failure_of(holder.output().await).kind, FailureKind::Cancelled);
    assert_eq!(world.count("never"), 0);
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}

async fn while_it_is_stuck(home: Home) {
    for (why, gate) in [("fail a", "fail undo half a"), ("fail a", "fail a ends badly")] {
        for restart in [None, Some(Restart::Crash), Some(Restart::Shutdown)] {
            let (home, world) = (home.another().await, World::new());
            [why, gate].iter().for_each(|what| world.say(what, "no"));
            let mut coordinator = home.start(&world).await;
            let stuck = coordinator.submit(close("a", alone([1]))).await.unwrap();
            let (id, _) = stuck_of(stuck.output().await);
            let next = coordinator.submit(take("next", alone([1]))).await.unwrap().id();
            coordinator = again(coordinator, &home, &world, restart).await;
            queued(&home, 1).await;
            assert_eq!(home.entity(id).await.progress.status, CommandStatus::Stuck);
            world.unsay(gate);
            coordinator.retry(id).await.unwrap();
            coordinator.handle::<Take>(next).await.unwrap().output().await.unwrap();
            let deeds = world.deeds();
            assert_eq!(deeds[deeds.len() - 3..], ["a ends badly: through", "next", "next done"]);
            nothing_is_locked(&home).await;
            coordinator.shutdown().await.unwrap();
        }
    }
}

/// Fails twice, and has its lock all the while.
#[derive(Command, serde::Serialize, serde::Deserialize)]
#[command(lock = Execution, retry(attempts = 3, backoff = "5ms"), needs(World))]
struct TakeAgain {
    #[lock(exclusive)]
    disk: super::turns::Disk,
}

impl Execute for TakeAgain {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<World>().note(cx.id(), "again", cx.attempt());
        cx.get::<World>().pass("again").await;
        if cx.attempt() < 3 { Err(Error::other("not yet")) } else { Ok(()) }
    }
}

async fn between_two_attempts(home: Home) {
    let world = World::new();
    world.close("again");
    let coordinator = home.start(&world).await;
    let again = coordinator.submit(TakeAgain { disk: super::turns::Disk(1) }).await.unwrap();
    world.noted("again").await;
    let next = coordinator.submit(take("next", alone([1]))).await.unwrap();
    world.open("again");
    again.output().await.unwrap();
    next.output().await.unwrap();
    let deeds = world.deeds();
    assert_eq!(deeds, ["again", "again", "again", "next", "next done"]);
    nothing_is_locked(&home).await;
    coordinator.shutdown().await.unwrap();
}
