//! Two commands with one stored name: a program that would mix them up does not start.

use coco_core::prelude::*;
use coco_core::store::MemoryStore;
use coco_core::{RegistryError, assert_registry};
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Copy {}

impl Execute for Copy {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "copy")]
struct CopyDisk {}

impl Execute for CopyDisk {
    type Output = ();

    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_program_with_two_commands_of_one_name_does_not_start() {
    let started = Coordinator::builder(MemoryStore::default()).start().await;
    let error = started.expect_err("two are stored as `copy`");
    assert!(error.downcast_ref::<RegistryError>().is_some());
    let text = error.to_string();
    for part in [
        "two commands are stored as `copy`:",
        "duplicates::Copy at ",
        "duplicates::CopyDisk at ",
        "duplicates.rs:8",
        "duplicates.rs:19",
        "give one of them `#[command(name = \"…\")]`",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
#[should_panic(expected = "two commands are stored as `copy`")]
fn a_test_of_the_registry_says_so_too() {
    assert_registry();
}
