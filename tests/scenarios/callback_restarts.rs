//! A crash before and after every commit of commands that are called back: each child runs to its
//! end once, and what is stored in the end is the same.

use std::collections::HashMap;

use super::crash::{Life, sweep, sweep_lives, sweep_twice, waits};
use super::home::{Home, on_every_store};
use super::kinds::{Fan, Kid, Line, Own, Stages, Watch, keeps};
use super::world::World;

on_every_store!(
    a_fan_out_with_a_second_wave,
    operations_with_a_failure_that_is_ignored,
    a_polled_command,
    one_with_its_own_callback,
    four_levels,
    a_failure_four_levels_down,
    two_crashes_of_a_fan_out,
    two_crashes_of_operations,
    each_child_is_stored_once,
);

async fn a_fan_out_with_a_second_wave(home: Home) {
    let waves = [keeps(&["a", "b", "c"]), keeps(&["d", "e"])];
    let commits = sweep(&home, false, |_| Fan::new("fan", waves.clone())).await;
    assert!(commits >= 5, "{commits}");
}

async fn operations_with_a_failure_that_is_ignored(home: Home) {
    let steps = |world: &World| {
        world.say("fail b", "b may fail");
        Stages::new("steps", [keeps(&["a", "b", "c"])])
    };
    sweep(&home, true, steps).await;
}

async fn a_polled_command(home: Home) {
    sweep(&home, true, |_| Watch::new("watch", [vec![], vec![], vec![]])).await;
}

async fn one_with_its_own_callback(home: Home) {
    let waves = [keeps(&["a", "b"]), keeps(&["c"])];
    sweep(&home, false, |_| Own::new("own", waves.clone())).await;
}

/// A flow inside a fan-out inside operations inside a flow.
fn levels() -> Line {
    let inner = Line { kids: keeps(&["a", "b"]) };
    let beside = Watch::new("watch", [vec![]]);
    let fan = Fan::new("fan", [vec![Kid::Line(inner), Kid::Watch(beside)], keeps(&["c"])]);
    let own = Own::new("own", [keeps(&["d"])]);
    let steps = Stages::new("steps", [vec![Kid::Fan(fan), Kid::Own(own)], keeps(&["e"])]);
    Line { kids: vec![Kid::Keep("first".into()), Kid::Stages(steps), Kid::Keep("last".into())] }
}

async fn four_levels(home: Home) {
    sweep(&home, false, |_| levels()).await;
}

async fn a_failure_four_levels_down(home: Home) {
    let levels = |world: &World| {
        world.say("fail b", "b is broken");
        levels()
    };
    sweep(&home, false, levels).await;
}

async fn two_crashes_of_a_fan_out(home: Home) {
    sweep_twice(&home, false, |_| Fan::new("fan", [keeps(&["a", "b"])])).await;
}

async fn two_crashes_of_operations(home: Home) {
    sweep_twice(&home, true, |_| Stages::new("steps", [keeps(&["a"])])).await;
}

/// Whenever it died: no child is missing, none is there twice, and each was done to its end once.
async fn each_child_is_stored_once(home: Home) {
    let check = |life: &Life| {
        let labels = ["a", "b", "c", "d", "e", "first", "last"];
        let mut stored: HashMap<String, usize> = HashMap::new();
        let keeps = life.rows.commands.iter().filter(|row| row.command_type == "keep");
        for row in keeps {
            let keep: serde_json::Value = serde_json::from_str(&row.command_parameters).unwrap();
            *stored.entry(keep["label"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(stored.len(), labels.len(), "{:?}", life.crashes);
        for label in labels {
            assert_eq!(stored[label], 1, "{label}, {:?}", life.crashes);
            let done = life.world.count(&format!("{label} done"));
            assert!((1..=1 + life.deaths).contains(&done), "{label}, {:?}", life.crashes);
        }
    };
    sweep_lives(&home, |_| levels(), waits, check).await;
}
