//! The rules of what follows `execute`: who is called when, with what, and how it ends.

use coco_core::prelude::*;
use coco_core::{CommandStatus, FailureKind};
use serde::{Deserialize, Serialize};

use super::home::{Home, failure_of, on_every_store};
use super::kinds::{Fan, Kid, Line, Own, Stages, Watch, keeps};
use super::leaves::Mark;
use super::world::World;

on_every_store!(
    a_failure_waits_until_the_others_have_ended,
    an_ignored_failure_is_the_commands_own_to_judge,
    a_failure_is_asked_about_once,
    a_failure_is_asked_about_once_over_a_restart,
    it_is_handled_before_the_command_fails,
    what_handles_a_failure_may_fail,
    no_children_at_all,
    started_again_when_all_have_ended,
    ready_with_something_started_goes_on,
    true_without_anything_started_is_polled,
    executed_is_set_by_ok_alone,
    what_rounds_change_is_what_the_others_see,
    a_child_that_is_refused,
    a_grandchild_is_none_of_its_children,
    a_failed_execute_starts_nothing,
    a_failing_execute_is_tried_again,
);

/// Nothing is killed: the one that failed is acted upon when the last has ended.
async fn a_failure_waits_until_the_others_have_ended(home: Home) {
    for kind in 0..2 {
        let (home, world) = (home.another().await, World::new());
        let coordinator = home.start(&world).await;
        world.say("fail a", "a is broken");
        world.close("b");
        let waves = [keeps(&["a", "b", "c"])];
        let id = match kind {
            0 => coordinator.submit(Fan::new("it", waves)).await.unwrap().id(),
            _ => coordinator.submit(Own::new("it", waves)).await.unwrap().id(),
        };
        world.noted("a failed").await;
        world.noted("c done").await;
        world.noted("b").await;
        assert_eq!(home.entity(id).await.progress.status, CommandStatus::Active);
        assert_eq!(world.count("it ends badly"), 0);
        world.open("b");
        let output = coordinator.handle::<Fan>(id).await;
        let output = match output {
            Ok(handle) => handle.output().await,
            Err(_) => coordinator.handle::<Own>(id).await.unwrap().output().await,
        };
        assert_eq!(failure_of(output).message, "a is broken");
        assert_eq!(world.count("b done"), 1, "it was not killed");
        assert_eq!(world.count("undo done b"), 1);
        coordinator.shutdown().await.unwrap();
    }
}

/// The original went on, and failed all the same. Here the outcome is what the command says.
async fn an_ignored_failure_is_the_commands_own_to_judge(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    ["a", "b"].iter().for_each(|one| world.say(&format!("fail {one}"), &format!("{one} may fail")));
    let handle = coordinator.submit(Stages::new("it", [keeps(&["a", "b", "c"])])).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), ["0 ended", "1 ended", "2 ended", "3 ended"]);
    assert_eq!(world.count("c done"), 1);
    assert_eq!((world.count("it ends well"), world.count("it ends badly")), (1, 0));
    world.say("it 8", "fail it judges otherwise");
    let handle = coordinator.submit(Stages::new("it", [keeps(&["a", "b", "c"])])).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "it judges otherwise");
    assert_eq!(world.count("undo done c"), 1);
    coordinator.shutdown().await.unwrap();
}

fn asked(log: &str) -> usize {
    log.matches("asked about").count()
}

async fn log_of(home: &Home, id: CommandId) -> String {
    let state = home.entity(id).await.progress.state;
    state.map(|state| state.to_string()).unwrap_or_default()
}

/// Not in each later round, as the original did, where old failures stayed in the list.
async fn a_failure_is_asked_about_once(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fail a", "a may fail");
    let handle = coordinator.submit(Stages::new("it", [keeps(&["a", "b", "c"])])).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!(asked(&log_of(&home, handle.id()).await), 1);
    coordinator.shutdown().await.unwrap();
}

async fn a_failure_is_asked_about_once_over_a_restart(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fail a", "a may fail");
    world.close("b");
    let id = coordinator.submit(Stages::new("it", [keeps(&["a", "b", "c"])])).await.unwrap().id();
    world.noted("b").await;
    drop(coordinator);
    let coordinator = home.start(&world).await;
    world.noted_times("b", 2).await;
    world.open("b");
    coordinator.handle::<Stages>(id).await.unwrap().output().await.unwrap();
    assert_eq!(asked(&log_of(&home, id).await), 1);
    assert_eq!(world.count("round it"), 4, "no round came again");
    coordinator.shutdown().await.unwrap();
}

async fn it_is_handled_before_the_command_fails(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fail b", "b is broken");
    let steps = Stages::new("it", [keeps(&["a", "b", "c"])]);
    let handle = coordinator.submit(steps.clone()).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "b is broken");
    let deeds = world.deeds();
    let at = |deed: &str| deeds.iter().position(|one| one == deed).expect(deed);
    let handled = at("round it handles b is broken");
    assert!(at("b failed") < handled && handled < at("undo done a"), "{deeds:?}");
    assert!(at("undo done a") < at("it ends badly"), "{deeds:?}");
    assert_eq!((world.count("c"), world.count("round it")), (0, 2), "no operation after it");
    // An operation that fails is handled as well.
    world.unsay("fail b");
    world.say("it 4", "fail no operation");
    let handle = coordinator.submit(steps).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "no operation");
    assert_eq!(world.count("round it handles no operation"), 1);
    coordinator.shutdown().await.unwrap();
}

async fn what_handles_a_failure_may_fail(home: Home) {
    for (word, kind, message) in [
        ("fail worse", FailureKind::Failed, "worse"),
        ("panic oh", FailureKind::Panicked, "it panicked: oh"),
    ] {
        let (home, world) = (home.another().await, World::new());
        let coordinator = home.start(&world).await;
        world.say("fail a", "a is broken");
        world.say("it handles", word);
        let handle = coordinator.submit(Stages::new("it", [keeps(&["a"])])).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!((failure.kind, &*failure.message), (kind, message));
        assert_eq!(world.count("round it handles a is broken"), 1);
        coordinator.shutdown().await.unwrap();
    }
}

async fn no_children_at_all(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    let fan = coordinator.submit(Fan::new("fan", [])).await.unwrap();
    assert_eq!(fan.output().await.unwrap(), ["0 ended"]);
    let steps = coordinator.submit(Stages::new("steps", [])).await.unwrap();
    assert_eq!(steps.output().await.unwrap(), ["0 ended"]);
    let own = coordinator.submit(Own::new("own", [])).await.unwrap();
    assert_eq!(own.output().await.unwrap(), ["0 ended"]);
    let watch = coordinator.submit(Watch::new("watch", [])).await.unwrap();
    assert_eq!(watch.output().await.unwrap(), ["polled"]);
    for kind in ["fan", "steps", "own", "watch"] {
        assert_eq!(world.count(&format!("round {kind}")), 1, "{kind}");
        assert_eq!(world.count(&format!("{kind} ends well")), 1, "{kind}");
    }
    coordinator.shutdown().await.unwrap();
}

async fn started_again_when_all_have_ended(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.close("e");
    let waves = [keeps(&["a", "b"]), keeps(&["c"]), keeps(&["d", "e"])];
    let handle = coordinator.submit(Fan::new("it", waves)).await.unwrap();
    world.noted("d done").await;
    world.noted("e").await;
    assert_eq!(world.count("round it"), 2, "it waits for all of a wave");
    world.open("e");
    assert_eq!(handle.output().await.unwrap(), ["2 ended", "3 ended", "5 ended"]);
    coordinator.shutdown().await.unwrap();
}

/// Whatever a round answers: when it starts something, it is not the last.
async fn ready_with_something_started_goes_on(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("steps 1", "start a, ready");
    let steps = coordinator.submit(Stages::new("steps", [])).await.unwrap();
    assert_eq!(steps.output().await.unwrap(), ["0 ended", "1 ended"]);
    world.say("own 1", "start b, ready");
    world.say("own 2", "say last, ready");
    let own = coordinator.submit(Own::new("own", [])).await.unwrap();
    own.output().await.unwrap();
    assert_eq!((world.count("a done"), world.count("b done")), (1, 1));
    assert!(world.count("round own") >= 2);
    coordinator.shutdown().await.unwrap();
}

async fn true_without_anything_started_is_polled(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    (1..=4).for_each(|n| world.say(&format!("it {n}"), "pending"));
    let handle = coordinator.submit(Stages::new("it", [])).await.unwrap();
    handle.output().await.unwrap();
    assert_eq!(world.count("round it"), 5);
    coordinator.shutdown().await.unwrap();
}

/// What executes as the world says of it: once, and no round before that has returned `Ok`.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, needs(World), retry(attempts = 3, backoff = "1ms"))]
struct Tried {
    log: Vec<u32>,
}

impl Execute for Tried {
    type Output = Vec<u32>;

    async fn validate(&self, cx: &LeafContext<Self>) -> Result<()> {
        let is_refused = cx.get::<World>().is_said("refuse");
        if is_refused { Err(Error::other("not today")) } else { Ok(()) }
    }

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Vec<u32>> {
        let world = cx.get::<World>();
        world.note(cx.id(), "executes", cx.attempt());
        self.log.push(cx.attempt());
        cx.start(Mark::new(format!("child of {}", cx.attempt())));
        world.pass("executes").await;
        match world.word(&format!("attempt {}", cx.attempt())).as_deref() {
            Some("panic") => panic!("in an attempt"),
            Some("fatal") => Err(Error::other("for good").fatal()),
            Some(why) => Err(Error::other(why)),
            None => Ok(self.log.clone()),
        }
    }

    async fn compensate(
        &mut self,
        output: Option<&Vec<u32>>,
        cx: &LeafContext<Self>,
    ) -> Result<()> {
        cx.get::<World>().note(cx.id(), format!("undo {output:?} of {:?}", self.log), 1);
        Ok(())
    }
}

impl ConcurrentChildren for Tried {
    async fn children_ended(
        &mut self,
        output: &mut Vec<u32>,
        outcomes: &Outcomes,
        cx: &Context<Self>,
    ) -> Result<()> {
        let world = cx.get::<World>();
        world.note(cx.id(), format!("round of {:?} with {}", self.log, outcomes.len()), 1);
        match world.word("round") {
            Some(why) => Err(Error::other(why)),
            None => {
                output.push(0);
                Ok(())
            }
        }
    }
}

async fn executed_is_set_by_ok_alone(home: Home) {
    // By an error and a panic not, and neither by a death.
    for word in ["fatal", "panic"] {
        let (home, world) = (home.another().await, World::new());
        let coordinator = home.start(&world).await;
        (1..=3).for_each(|n| world.say(&format!("attempt {n}"), word));
        let handle = coordinator.submit(Tried { log: Vec::new() }).await.unwrap();
        failure_of(handle.output().await);
        assert!(!home.entity(handle.id()).await.progress.executed, "{word}");
        coordinator.shutdown().await.unwrap();
    }
    let (other, world) = (home.another().await, World::new());
    world.close("executes");
    let coordinator = other.start(&world).await;
    let id = coordinator.submit(Tried { log: Vec::new() }).await.unwrap().id();
    world.noted("executes").await;
    drop(coordinator);
    let coordinator = other.start(&world).await;
    let handle = coordinator.handle::<Tried>(id).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::Restarted);
    assert!(!other.entity(id).await.progress.executed);
    assert_eq!(world.deeds(), ["executes", "undo None of []"]);
    coordinator.shutdown().await.unwrap();
    // It stays set when a round fails.
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("round", "no");
    let handle = coordinator.submit(Tried { log: Vec::new() }).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "no");
    assert!(home.entity(handle.id()).await.progress.executed);
    coordinator.shutdown().await.unwrap();
}

async fn what_rounds_change_is_what_the_others_see(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fan", "log in execute, say from execute");
    world.say("fan 1", "log in a round, say from a round");
    let waves = [keeps(&["a"])];
    let line = Line { kids: vec![Kid::Fan(Fan::new("fan", waves))] };
    let output = coordinator.submit(line).await.unwrap().output().await.unwrap();
    let said = ["from execute", "from a round", "1 ended"];
    assert_eq!(output, said, "the parent");
    let log = "in execute,executed,in a round,round";
    let seen = format!("fan at its end: {log}; {}", said.join(","));
    assert_eq!(world.count(&seen), 1, "{:?}", world.deeds());
    coordinator.shutdown().await.unwrap();
}

/// It is stored as ended, so that its parent sees it.
#[derive(Command, Serialize, Deserialize)]
#[command(callback = NextOperation, needs(World))]
struct StartsRefused {
    asked: Vec<String>,
    child: Option<Child<Tried>>,
}

impl Execute for StartsRefused {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        self.child = Some(cx.start(Tried { log: Vec::new() }));
        Ok(String::new())
    }
}

impl NextOperation for StartsRefused {
    async fn perform_next_operation(
        &mut self,
        output: &mut String,
        completed: &Outcomes,
        _: &Context<Self>,
    ) -> Result<bool> {
        let child = self.child.ok_or("no child").map_err(Error::other)?;
        assert!(completed.has(&child));
        let failure = failure_of(completed.of(&child));
        *output = format!("{:?} {}", failure.kind, self.asked.join(","));
        Ok(false)
    }

    fn ignore_child_failure(&mut self, failure: &Failure) -> bool {
        self.asked.push(failure.message.clone());
        true
    }
}

async fn a_child_that_is_refused(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("refuse", "");
    let starts = StartsRefused { asked: Vec::new(), child: None };
    let handle = coordinator.submit(starts).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), "Refused not today");
    let rows = home.tree(handle.id()).await.commands;
    let child = rows.iter().find(|row| row.parent_command_id.is_some()).unwrap();
    assert_eq!(child.progress.status, CommandStatus::EndedWithFailure);
    assert!(world.deeds().is_empty(), "{:?}", world.deeds());
    coordinator.shutdown().await.unwrap();
}

async fn a_grandchild_is_none_of_its_children(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("fail b", "b may fail");
    let inner = Stages::new("inner", [keeps(&["a", "b"])]);
    let outer = Fan::new("outer", [vec![Kid::Stages(inner)]]);
    let output = coordinator.submit(outer).await.unwrap().output().await.unwrap();
    assert_eq!(output, ["1 ended"], "what its child has dealt with is none of its failures");
    coordinator.shutdown().await.unwrap();
}

async fn a_failed_execute_starts_nothing(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("it", "fail before it begins");
    for id in [
        coordinator.submit(Fan::new("it", [keeps(&["a"])])).await.unwrap().id(),
        coordinator.submit(Own::new("it", [keeps(&["a"])])).await.unwrap().id(),
    ] {
        super::home::until(async || home.entity(id).await.progress.status.is_terminal()).await;
        assert_eq!(home.tree(id).await.commands.len(), 1);
    }
    assert_eq!((world.count("a"), world.count("round it")), (0, 0));
    coordinator.shutdown().await.unwrap();
}

/// With the fields as they were, and what the failed attempts asked for is not started.
async fn a_failing_execute_is_tried_again(home: Home) {
    let world = World::new();
    let coordinator = home.start(&world).await;
    world.say("attempt 1", "not yet");
    world.say("attempt 2", "panic");
    let handle = coordinator.submit(Tried { log: Vec::new() }).await.unwrap();
    assert_eq!(handle.output().await.unwrap(), [3, 0]);
    assert_eq!(world.count("round of [3] with 1"), 1, "{:?}", world.deeds());
    assert_eq!((world.count("child of 1"), world.count("child of 3 done")), (0, 1));
    // A round that fails is not: `retry` is about `execute`.
    world.say("round", "no");
    let handle = coordinator.submit(Tried { log: Vec::new() }).await.unwrap();
    assert_eq!(failure_of(handle.output().await).message, "no");
    assert_eq!(world.count("undo Some([3]) of [3]"), 1, "{:?}", world.deeds());
    assert_eq!(home.entity(handle.id()).await.progress.attempt, 3);
    coordinator.shutdown().await.unwrap();
}
