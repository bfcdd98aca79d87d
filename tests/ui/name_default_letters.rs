use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Größe;

impl Execute for Größe {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
