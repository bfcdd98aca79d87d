//! What went wrong in the system that this one is built after: each test is named after what must
//! not happen again. The numbers are those of the list of its bugs.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store, start, stuck_of, until};
use super::kinds::{Fan, Kid, Line, Own, Stages, Watch, keeps};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    outcomes_do_not_change_while_a_round_looks_at_them,
    a_parent_does_not_hear_of_a_failure_before_it_is_undone,
    what_an_end_hook_sees_is_not_stale,
    what_a_parent_sees_is_not_stale,
    a_restart_does_not_erase_an_output,
    a_failing_end_hook_does_not_look_well,
    a_round_does_not_hold_up_what_is_stored,
    a_child_that_is_not_stored_yet_has_not_ended,
    a_panic_does_not_stop_the_other_rounds,
    a_failing_callback_is_not_called_for_ever,
    what_is_out_of_attempts_is_not_forgotten,
    a_parent_does_not_wait_for_ever_for_a_child_that_fails_to_be_undone,
    a_failed_parent_does_not_end_before_its_children,
    a_child_that_is_refused_is_not_invisible,
    what_ran_when_the_engine_died_does_not_block_its_parent,
    a_parent_does_not_end_before_its_childrens_end_hooks,
    a_grandchild_is_not_gone_before_its_grandparent_looks,
    a_child_that_nobody_asks_about_does_not_outlive_its_parent,
    ready_does_not_wait_for_ever,
);

/// Looks at its outcomes while other children end.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = Looks, needs(World), poll(every = "1ms"))]
struct LooksWhileTheyEnd {
    rounds: Vec<(usize, usize)>,
}

struct Looks;

impl Execute for LooksWhileTheyEnd {
    type Output = Vec<(usize, usize)>;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Self::Output> {
        (0..3).for_each(|n| _ = cx.start(Mark::new(format!("child {n}"))));
        Ok(Vec::new())
    }
}

impl CommandCallback<LooksWhileTheyEnd> for Looks {
    async fn do_polling(
        it: &mut LooksWhileTheyEnd,
        output: &mut Vec<(usize, usize)>,
        outcomes: &Outcomes,
        cx: &Context<LooksWhileTheyEnd>,
    ) -> Result<Poll> {
        let (world, before) = (cx.get::<World>(), outcomes.len());
        if before == 0 {
            return Ok(Poll::Pending);
        }
        world.note(cx.id(), "round looks", 1);
        world.pass("round looks").await;
        it.rounds.push((before, outcomes.len()));
        output.clone_from(&it.rounds);
        Ok(if before == 3 { Poll::Ready } else { Poll::Pending })
    }
}

/// Lesson 1: the live list of children was handed to callbacks.
async fn outcomes_do_not_change_while_a_round_looks_at_them(home: Home) {
    let world = World::new();
    ["child 1", "child 2", "round looks"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(LooksWhileTheyEnd { rounds: Vec::new() }).await.unwrap();
    world.noted("round looks").await;
    ["child 1", "child 2"].iter().for_each(|gate| world.open(gate));
    let has_ended = async || {
        let rows = home.tree(handle.id()).await.commands;
        rows.iter().filter(|row| row.progress.status.is_terminal()).count() == 3
    };
    until(has_ended).await;
    world.open("round looks");
    let output = handle.output().await.unwrap();
    assert_eq!(output, [(1, 1), (3, 3)]);
    coordinator.shutdown().await.unwrap();
}

/// Lesson 3: a failure was published before it was compensated, and the parent reacted too early.
async fn a_parent_does_not_hear_of_a_failure_before_it_is_undone(home: Home) {
    let world = World::new();
    world.say("fail a", "it broke");
    ["undo half a", "a ends badly"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let fan = Fan::new("fan", [vec![Kid::Brittle("a".into())]]);
    let handle = coordinator.submit(fan).await.unwrap();
    for gate in ["undo half a", "a ends badly"] {
        world.noted(gate).await;
        coordinator.submit(Mark::new("meanwhile")).await.unwrap().output().await.unwrap();
        assert_eq!(world.count("round fan"), 0, "{gate}");
        world.open(gate);
    }
    failure_of(handle.output().await);
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|one| one == deed).unwrap();
    assert!(at("a ends badly: through") < at("round fan"), "{deeds:?}");
    coordinator.shutdown().await.unwrap();
}

/// Lesson 4: what the phases changed was not stored again, and the end saw stale values.
async fn what_an_end_hook_sees_is_not_stale(home: Home) {
    let world = World::new();
    world.close("it ends well");
    world.say("it", "log one, say one");
    world.say("it 1", "log two, say two, pending");
    world.say("it 2", "log three, say three, ready");
    let coordinator = home.start(&world).await;
    let id = coordinator.submit(Watch::new("it", [])).await.unwrap().id();
    let seen = "it at its end: one,executed,two,three; one,two,three";
    world.noted(seen).await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times(seen, 2).await;
    world.open("it ends well");
    let handle = coordinator.handle::<Watch>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["one", "two", "three"]);
    coordinator.shutdown().await.unwrap();
}

/// Lesson 4, as the parent saw it.
async fn what_a_parent_sees_is_not_stale(home: Home) {
    let world = World::new();
    world.say("it", "say one");
    world.say("it 1", "say two, pending");
    world.say("it 2", "say three, ready");
    let coordinator = home.start(&world).await;
    let line = Line { kids: vec![Kid::Watch(Watch::new("it", []))] };
    let output = coordinator.submit(line).await.unwrap().output().await.unwrap();
    assert_eq!(output, ["one", "two", "three"]);
    coordinator.shutdown().await.unwrap();
}

/// Lesson 5: a command that was built again lost its return value, and the next write erased it.
async fn a_restart_does_not_erase_an_output(home: Home) {
    let world = World::new();
    world.say("it", "say one, log one");
    world.close("b");
    let mut coordinator = home.start(&world).await;
    let waves = [keeps(&["a"]), keeps(&["b"]), keeps(&["c"])];
    let id = coordinator.submit(Fan::new("it", waves)).await.unwrap().id();
    world.noted("b").await;
    let before = home.entity(id).await.progress;
    for times in 2..=3 {
        coordinator.shutdown_within(std::time::Duration::ZERO).await.unwrap();
        coordinator = home.start(&world).await;
        world.noted_times("b", times).await;
        let now = home.entity(id).await.progress;
        assert_eq!((&now.return_value, &now.state), (&before.return_value, &before.state));
        assert!(now.executed && now.state.is_some());
    }
    world.open("b");
    let handle = coordinator.handle::<Fan>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["one", "1 ended", "2 ended", "3 ended"]);
    coordinator.shutdown().await.unwrap();
}

/// Lessons 6 and 14: the success of `execute` made an end hook that failed look well, and when its
/// attempts ran out nobody knew.
async fn a_failing_end_hook_does_not_look_well(home: Home) {
    let world = World::new();
    world.say("fail it ends well", "the hook broke");
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Fan::new("it", [keeps(&["a"])])).await.unwrap();
    let (stuck, reason) = stuck_of(handle.output().await);
    assert_eq!((stuck, &*reason.message), (handle.id(), "the hook broke"));
    assert_eq!(home.entity(stuck).await.progress.status, CommandStatus::Stuck);
    assert_eq!(world.count("it ends badly"), 0, "and not both hooks run");
    coordinator.shutdown().await.unwrap();
}

/// Lesson 10: what was stored of a command waited for a transaction of its own code.
async fn a_round_does_not_hold_up_what_is_stored(home: Home) {
    let world = World::new();
    ["round it", "b"].iter().for_each(|gate| world.close(gate));
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(Own::new("it", [keeps(&["a", "b"])])).await.unwrap();
    world.noted("round it").await;
    coordinator.submit(Mark::new("other")).await.unwrap().output().await.unwrap();
    world.open("b");
    let has_ended = async || {
        let rows = home.tree(handle.id()).await.commands;
        rows.iter().filter(|row| row.progress.status.is_terminal()).count() == 2
    };
    until(has_ended).await;
    assert_eq!(world.count("round it"), 1);
    world.open("round it");
    handle.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Lesson 11: what was not there yet was taken for finished.
async fn a_child_that_is_not_stored_yet_has_not_ended(home: Home) {
    let world = World::new();
    let store = home.faulty().await;
    world.close("own");
    world.say("own 1", "ready");
    let coordinator = start(store.clone(), &world).await;
    let handle = coordinator.submit(Own::new("own", [keeps(&["a"])])).await.unwrap();
    world.noted("own").await;
    store.hold();
    world.open("own");
    store.held().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        (world.count("a"), world.count("round own"), world.count("own ends well")),
        (0, 0, 0)
    );
    store.let_go();
    handle.output().await.unwrap();
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|one| one == deed).unwrap();
    assert!(at("a done") < at("own ends well"), "{deeds:?}");
    coordinator.shutdown().await.unwrap();
}

/// Lesson 12: an exception in one callback ended the polling of all.
async fn a_panic_does_not_stop_the_other_rounds(home: Home) {
    let world = World::new();
    world.say("well each", "pending");
    world.say("bad each", "panic oh");
    let coordinator = home.start(&world).await;
    let well = coordinator.submit(Watch::new("well", [])).await.unwrap();
    world.noted("round well").await;
    for _ in 0..5 {
        let bad = coordinator.submit(Watch::new("bad", [])).await.unwrap();
        assert_eq!(failure_of(bad.output().await).kind, FailureKind::Panicked);
    }
    let polls = world.count("round well");
    world.noted_times("round well", polls + 3).await;
    world.say("well each", "ready");
    well.output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

/// Lesson 13: a callback that threw was called for ever.
async fn a_failing_callback_is_not_called_for_ever(home: Home) {
    let world = World::new();
    world.say("it each", "fail no");
    world.say("fail it ends badly", "9 times");
    let retry = Retry::new(3).backoff(std::time::Duration::ZERO);
    let coordinator = home.start_with(&world, |builder| builder.hook_retry(retry)).await;
    let handle = coordinator.submit(Watch::new("it", [])).await.unwrap();
    let (stuck, _) = stuck_of(handle.output().await);
    assert_eq!((world.count("round it"), world.count("it ends badly")), (1, 3));
    // Lesson 14: there is a way out.
    coordinator.abandon(stuck, "").await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Abandoned);
    coordinator.shutdown().await.unwrap();
}

/// Lesson 14: after the last attempt nothing cleaned up, nor ended the job.
async fn what_is_out_of_attempts_is_not_forgotten(home: Home) {
    let world = World::new();
    world.say("fail a ends well", "the hook broke");
    let coordinator = home.start(&world).await;
    let fan = Fan::new("fan", [vec![Kid::Brittle("a".into()), Kid::Keep("b".into())]]);
    let handle = coordinator.submit(fan).await.unwrap();
    let (stuck, _) = stuck_of(handle.output().await);
    assert_eq!(world.count("round fan"), 0, "its parent waits, and says so");
    let why = coordinator.why_waiting(handle.id()).await.unwrap().to_string();
    assert!(why.contains(&stuck.to_string()) && why.contains("the hook broke"), "{why}");
    world.unsay("fail a ends well");
    coordinator.retry(stuck).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["2 ended"]);
    coordinator.shutdown().await.unwrap();
}

/// Lesson 15: an exception in compensation left a command without an end, and its parent with it.
async fn a_parent_does_not_wait_for_ever_for_a_child_that_fails_to_be_undone(home: Home) {
    let world = World::new();
    world.say("fail a", "it broke");
    world.say("fail undo half a", "panic");
    let coordinator = home.start(&world).await;
    let fan = Fan::new("fan", [vec![Kid::Brittle("a".into())]]);
    let handle = coordinator.submit(fan).await.unwrap();
    let (stuck, reason) = stuck_of(handle.output().await);
    assert_eq!(reason.kind, FailureKind::Panicked);
    coordinator.abandon(stuck, "by hand").await.unwrap();
    let failure = failure_of(handle.output().await);
    assert_eq!(failure.kind, FailureKind::Abandoned, "what its parent was told");
    assert_eq!((world.count("round fan"), world.count("fan ends badly")), (1, 1));
    coordinator.shutdown().await.unwrap();
}

/// Lesson 16: a failed execution was taken for finished while children still ran.
async fn a_failed_parent_does_not_end_before_its_children(home: Home) {
    let world = World::new();
    world.close("b");
    world.say("own each", "fail no");
    let coordinator = home.start(&world).await;
    let own = Own::new("own", [vec![Kid::Keep("b".into())]]);
    let handle = coordinator.submit(Fan::new("fan", [vec![Kid::Own(own)]])).await.unwrap();
    let has_failed = async || {
        let rows = home.tree(handle.id()).await.commands;
        rows.iter().any(|row| row.progress.status == CommandStatus::ExecutionFailed)
    };
    until(has_failed).await;
    world.noted("b").await;
    assert_eq!((world.count("own ends badly"), world.count("round fan")), (0, 0));
    world.open("b");
    assert_eq!(failure_of(handle.output().await).message, "no");
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|one| one == deed).unwrap();
    assert!(at("b done") < at("own ends badly") && at("own ends badly") < at("round fan"));
    coordinator.shutdown().await.unwrap();
}

/// Refuses to be run.
#[derive(Command, Serialize, Deserialize)]
struct RefusesToday {}

impl Execute for RefusesToday {
    type Output = ();

    async fn validate(&self, _: &LeafContext<Self>) -> Result<()> {
        Err(Error::other("not today"))
    }

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

/// Starts one that refuses, and one that does not.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct StartsOneThatRefuses {}

impl Execute for StartsOneThatRefuses {
    type Output = usize;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<usize> {
        cx.start(RefusesToday {});
        cx.start(Mark::new("beside"));
        Ok(0)
    }
}

impl ConcurrentChildren for StartsOneThatRefuses {
    async fn children_ended(
        &mut self,
        output: &mut usize,
        outcomes: &Outcomes,
        _: &Context<Self>,
    ) -> Result<()> {
        *output = outcomes.len();
        assert_eq!(outcomes.failures().count(), 1);
        Ok(())
    }
}

/// Lesson 17: a child that failed its validation was never stored, so its parent could not see it.
async fn a_child_that_is_refused_is_not_invisible(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let handle = coordinator.submit(StartsOneThatRefuses {}).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), 2);
    let rows = home.tree(handle.id()).await.commands;
    assert!(rows.iter().all(|row| row.progress.status.is_terminal()), "and no row is left open");
    assert_eq!(rows.len(), 3);
    coordinator.shutdown().await.unwrap();
}

/// Lesson 18: plain children that were active when the engine died blocked their parents for ever.
async fn what_ran_when_the_engine_died_does_not_block_its_parent(home: Home) {
    let world = World::new();
    world.close("a");
    let coordinator = home.start(&world).await;
    let fan = Fan::new("fan", [vec![Kid::Fragile("a".into()), Kid::Keep("b".into())]]);
    let id = coordinator.submit(fan).await.unwrap().id();
    world.noted("a").await;
    world.noted("b done").await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    let handle = coordinator.handle::<Fan>(id).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Restarted);
    assert_eq!((world.count("a"), world.count("round fan")), (1, 1));
    coordinator.shutdown().await.unwrap();
}

/// Lesson 15, and why there are two kinds of ended: a parent took its children for finished before
/// their end methods had run.
async fn a_parent_does_not_end_before_its_childrens_end_hooks(home: Home) {
    let world = World::new();
    world.close("end of a");
    let coordinator = home.start(&world).await;
    for kind in 0..3 {
        let (label, waves) = (format!("it {kind}"), [vec![Kid::Fragile("a".into())]]);
        let id = match kind {
            0 => coordinator.submit(Fan::new(&label, waves)).await.unwrap().id(),
            1 => coordinator.submit(Stages::new(&label, waves)).await.unwrap().id(),
            _ => {
                world.say(&format!("{label} each"), "ready");
                coordinator.submit(Own::new(&label, waves)).await.unwrap().id()
            }
        };
        world.noted_times("a ends: a!", kind + 1).await;
        coordinator.submit(Mark::new("meanwhile")).await.unwrap().output().await.unwrap();
        assert_eq!(world.count(&format!("{label} ends well")), 0);
        world.open("end of a");
        until(async || home.entity(id).await.progress.status.is_terminal()).await;
        let deeds = world.deeds();
        let at = |deed: &str| deeds.iter().rposition(|one| one == deed).unwrap();
        assert!(at("a ended") < at(&format!("{label} ends well")), "{deeds:?}");
        world.close("end of a");
    }
    coordinator.shutdown().await.unwrap();
}

/// Lesson 19: rows of grandchildren were gone before the grandparent looked, and that counted as a
/// failure.
async fn a_grandchild_is_not_gone_before_its_grandparent_looks(home: Home) {
    let world = World::new();
    world.close("last");
    let coordinator = home.start(&world).await;
    let inner = Stages::new("inner", [keeps(&["a"])]);
    let middle = Fan::new("middle", [vec![Kid::Stages(inner)]]);
    let outer = Fan::new("outer", [vec![Kid::Fan(middle)], keeps(&["last"])]);
    let id = coordinator.submit(outer).await.unwrap().id();
    world.noted("last").await;
    assert_eq!(home.tree(id).await.commands.len(), 5, "all rows live until the root has ended");
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.open("last");
    let handle = coordinator.handle::<Fan>(id).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["1 ended", "2 ended"]);
    assert_eq!((world.count("a done"), world.count("round inner")), (1, 2));
    coordinator.shutdown().await.unwrap();
}

/// Lesson 20: a child that was fired and forgotten ended after its parent was gone.
async fn a_child_that_nobody_asks_about_does_not_outlive_its_parent(home: Home) {
    let world = World::new();
    world.close("a");
    world.say("own 1", "ready");
    let coordinator = home.start(&world).await;
    let own = Own::new("own", [vec![Kid::Brittle("a".into())]]);
    let handle = coordinator.submit(own).await.unwrap();
    world.noted("round own").await;
    world.noted("a").await;
    assert_eq!(home.entity(handle.id()).await.progress.status, CommandStatus::Active);
    assert_eq!(world.count("own ends well"), 0);
    world.open("a");
    handle.output().await.unwrap();
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|one| one == deed).unwrap();
    assert!(at("a ends well: through") < at("own ends well"), "{deeds:?}");
    coordinator.shutdown().await.unwrap();
}

/// Lesson 21: a flag that said "try again" stayed set, and the command waited for ever.
async fn ready_does_not_wait_for_ever(home: Home) {
    let world = World::new();
    ["it 1", "it 2"].iter().for_each(|of| world.say(of, "pending"));
    world.say("it 3", "ready");
    let coordinator = home.start(&world).await;
    coordinator.submit(Stages::new("it", [])).await.unwrap().output().await.unwrap();
    assert_eq!(world.count("round it"), 3);
    coordinator.shutdown().await.unwrap();
}
