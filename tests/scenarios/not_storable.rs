//! Values that no store takes are refused at the door, and harm their own command only.

use std::fmt;

use coco_core::prelude::*;
use coco_core::{CommandStatus, DEEPEST_VALUE, FailureKind, LARGEST_VALUE, NotStorable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::home::{Home, failure_of, on_every_store, start};
use super::leaves::Mark;
use super::world::World;

on_every_store!(at_the_door, parameters_of_a_child, outputs, results_of_once, just_fitting, fields);

/// Gives what it is asked for.
#[derive(Command, Serialize, Deserialize)]
struct Gives {
    what: String,
}

/// A value that cannot be stored, or can just be.
fn value(what: &str) -> Value {
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    match what {
        "large" => "x".repeat(LARGEST_VALUE - 1).into(),
        "deep" => nested(DEEPEST_VALUE + 1),
        "nul" => "a\0b".into(),
        "just not large" => "x".repeat(LARGEST_VALUE - 2).into(),
        "just not deep" => nested(DEEPEST_VALUE),
        _ => Value::Null,
    }
}

const BAD: [(&str, &str); 3] = [
    ("large", "the value takes 1048577 bytes of JSON, and 1048576 are allowed"),
    ("deep", "the value nests deeper than 64 levels"),
    ("nul", "the value contains a NUL character"),
];

impl Execute for Gives {
    type Output = Value;

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<Value> {
        Ok(value(&self.what))
    }
}

/// Holds any value.
#[derive(Command, Serialize, Deserialize, Clone)]
struct Holds {
    value: Held,
}

#[derive(Serialize, Deserialize, Clone)]
struct Held(Value);

impl Execute for Holds {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

/// Can be stored, but its lock cannot.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct Odd {
    #[lock(exclusive, group = "odd")]
    key: OddKey,
}

#[derive(Serialize, Deserialize)]
struct OddKey {}

impl fmt::Display for OddKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a\0b")
    }
}

impl Execute for Odd {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

async fn at_the_door(home: Home) {
    let store = home.faulty().await;
    let coordinator = start(store.clone(), &World::new()).await;
    for (what, _) in BAD {
        let error = coordinator.submit(Holds { value: Held(value(what)) }).await.unwrap_err();
        let why = error.downcast_ref::<NotStorable>().expect("a typed error");
        let expected = match what {
            "large" => matches!(why, NotStorable::TooLarge { size } if *size > LARGEST_VALUE),
            "deep" => *why == NotStorable::TooDeep,
            _ => *why == NotStorable::Nul,
        };
        assert!(expected, "{what}: {why:?}");
    }
    let error = coordinator.submit(Odd { key: OddKey {} }).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&NotStorable::Nul), "in a lock key");
    assert_eq!(store.commits(), 0, "nothing is stored");
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct Asks {
    what: String,
}

impl Execute for Asks {
    type Output = Failure;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Failure> {
        let child = Holds { value: Held(value(&self.what)) };
        let Err(error) = cx.child(child).await else { return Err(Error::other("it was stored")) };
        cx.child(Mark::new("afterwards")).await?;
        error.failure().cloned().ok_or_else(|| Error::other("no failure"))
    }
}

async fn parameters_of_a_child(home: Home) {
    for (what, _) in BAD {
        let world = World::new();
        world.close("afterwards");
        let coordinator = home.start(&world).await;
        let id = coordinator.submit(Asks { what: what.to_owned() }).await.unwrap().id();
        world.noted("afterwards").await;
        let rows = home.tree(id).await.commands;
        let row = rows.iter().find(|row| row.command_type == "holds").unwrap();
        assert_eq!(row.progress.status, CommandStatus::EndedWithFailure);
        assert_eq!(&*row.command_parameters, "null", "it is stored as failed, without them");
        drop(coordinator);
        world.open("afterwards");
        let coordinator = home.start(&world).await;
        let handle = coordinator.handle::<Asks>(id).await.unwrap();
        let replayed = handle.output().await.unwrap();
        assert_eq!(replayed.kind, FailureKind::NotStorable);
        let stored: Failure =
            serde_json::from_str(row.progress.failure.as_deref().unwrap()).unwrap();
        assert_eq!(replayed, stored, "{what}");
        coordinator.shutdown().await.unwrap();
    }
}

async fn outputs(home: Home) {
    let coordinator = home.start(&World::new()).await;
    for (what, message) in BAD {
        let handle = coordinator.submit(Gives { what: what.to_owned() }).await.unwrap();
        let failure = failure_of(handle.output().await);
        assert_eq!((failure.kind, &*failure.message), (FailureKind::NotStorable, message));
        assert_eq!(failure.command, Some(handle.id()));
    }
    coordinator.shutdown().await.unwrap();
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct GivesOnce {
    what: String,
}

impl Execute for GivesOnce {
    type Output = (String, String);

    async fn execute(&mut self, cx: &Context<Self>) -> Result<(String, String)> {
        let step = |_| async { Ok(value(&self.what)) };
        let message = match cx.once("step", step).await {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        cx.child(Mark::new("afterwards")).await?;
        let name = format!("step{}", if self.what == "nul" { "\0" } else { "" });
        let named = match cx.once(name, |_| async { Ok(()) }).await {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        Ok((message, named))
    }
}

async fn results_of_once(home: Home) {
    for (what, message) in BAD.into_iter().chain([("nothing", "fine")]) {
        let world = World::new();
        world.close("afterwards");
        let coordinator = home.start(&world).await;
        let id = coordinator.submit(GivesOnce { what: what.to_owned() }).await.unwrap().id();
        world.noted("afterwards").await;
        drop(coordinator);
        world.open("afterwards");
        let coordinator = home.start(&world).await;
        let handle = coordinator.handle::<GivesOnce>(id).await.unwrap();
        let named = match what {
            "nul" => format!("the name of a `once` cannot be stored: {message}"),
            _ => "fine".to_owned(),
        };
        assert_eq!(handle.output().await.unwrap(), (message.to_owned(), named));
        coordinator.shutdown().await.unwrap();
    }
}

async fn just_fitting(home: Home) {
    let coordinator = home.start(&World::new()).await;
    for what in ["just not large", "just not deep"] {
        let handle = coordinator.submit(Gives { what: what.to_owned() }).await.unwrap();
        assert_eq!(handle.output().await.unwrap(), value(what));
    }
    coordinator.shutdown().await.unwrap();
}

/// Its own field becomes what no store takes.
#[derive(Command, Serialize, Deserialize)]
struct Swells {
    field: String,
}

impl Execute for Swells {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        self.field.push('\0');
        Ok(())
    }
}

async fn fields(home: Home) {
    let coordinator = home.start(&World::new()).await;
    let handle = coordinator.submit(Swells { field: "fine".into() }).await.unwrap();
    assert_eq!(failure_of(handle.output().await).kind, FailureKind::NotStorable);
    let row = home.entity(handle.id()).await;
    assert_eq!(&*row.command_parameters, r#"{"field":"fine"}"#);
    coordinator.shutdown().await.unwrap();
}
