//! Two commands with one stored name: found by the registry, which names both.

mod other {
    use coco_core::prelude::*;
    use serde::{Deserialize, Serialize};

    pub(super) const LINE_BEFORE_TRANSFER: u32 = line!();
    #[derive(Command, Serialize, Deserialize)]
    #[command(name = "move_disk")]
    pub(crate) struct Transfer;

    impl Execute for Transfer {
        type Output = ();

        async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
            Ok(())
        }
    }
}

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

const LINE_BEFORE_MOVE_DISK: u32 = line!();
#[derive(Command, Serialize, Deserialize)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn both_are_named() {
    let panic = std::panic::catch_unwind(coco_core::assert_registry).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    let file = file!();
    let transfer = other::LINE_BEFORE_TRANSFER + 1;
    let move_disk = LINE_BEFORE_MOVE_DISK + 1;
    assert_eq!(
        text,
        &format!(
            "the commands of this program cannot run:\n\
             two commands are stored as `move_disk`:\n  \
             duplicate_names::other::Transfer at {file}:{transfer}\n  \
             duplicate_names::MoveDisk at {file}:{move_disk}\n  \
             give one of them `#[command(name = \"…\")]`"
        )
    );
}

#[tokio::test]
async fn the_program_does_not_start() {
    let started = Coordinator::builder(coco_core::store::MemoryStore::default()).start().await;
    let error = started.expect_err("two commands are stored as `move_disk`");
    assert!(error.downcast_ref::<coco_core::RegistryError>().is_some(), "{error}");
}
