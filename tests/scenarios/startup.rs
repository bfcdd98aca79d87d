//! What is wrong with the commands of a program is said before anything runs, and all of it.

use coco_core::prelude::*;
use coco_core::{RegistryError, assert_registry, stored_names};

use super::home::{Home, on_every_store};
use super::leaves::Nothing;
use super::world::World;

on_every_store!(a_resource_that_nobody_provides, a_command_registered_twice);

async fn a_resource_that_nobody_provides(home: Home) {
    let started = Coordinator::builder(home.open().await).provide("not a world").start().await;
    let error = started.expect_err("something is missing");
    assert!(error.downcast_ref::<RegistryError>().is_some());
    let text = error.to_string();
    let problems: Vec<_> = text.lines().skip(1).collect();
    let needs = |file: &str| {
        let text =
            std::fs::read_to_string(format!("{}/scenarios/{file}", env!("CARGO_MANIFEST_DIR")));
        let text = text.expect("the source is here");
        text.lines()
            .filter(|line| line.starts_with("#[command(") && line.contains("needs(World)"))
            .count()
    };
    for file in ["leaves.rs", "crash_sweep.rs", "panics.rs"] {
        let listed =
            problems.iter().filter(|problem| problem.contains(&format!("{file}:"))).count();
        assert_eq!(listed, needs(file), "in {file}: {text}");
    }
    for problem in problems {
        assert!(problem.contains("World`, which nobody provides"), "{problem}");
    }
    // The store was not taken.
    home.start(&World::new()).await.shutdown().await.unwrap();
}

async fn a_command_registered_twice(home: Home) {
    let builder = Coordinator::builder(home.open().await).provide(World::new());
    let coordinator = builder.register::<Nothing>().register::<Nothing>().start().await.unwrap();
    coordinator.submit(Nothing {}).await.unwrap().output().await.unwrap();
    coordinator.shutdown().await.unwrap();
}

#[test]
fn all_names_are_known() {
    assert_registry();
    let names = stored_names();
    assert!(names.is_sorted() && names.contains(&"nothing") && names.contains(&"mark"));
}
