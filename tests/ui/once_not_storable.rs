use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

struct Handle;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let _: Handle = cx.once("open", async |_| Ok(Handle)).await?;
        Ok(())
    }
}

fn main() {}
