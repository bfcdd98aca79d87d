use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren, event_timeout = "1m")]
struct MoveDisk {}

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

impl ConcurrentChildren for MoveDisk {}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct CopyDisk {}

impl Execute for CopyDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.subscribe("*|storage|copy_disk|7").await
    }
}

impl ConcurrentChildren for CopyDisk {}

fn main() {}
