use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

struct AnyOf;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = AnyOf)]
struct FindHost;

impl Execute for FindHost {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
