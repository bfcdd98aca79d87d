use std::future::ready;
use std::rc::Rc;

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct MoveDisk;

impl Execute for MoveDisk {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        let shared = Rc::new(7);
        ready(()).await;
        drop(shared);
        Ok(())
    }
}

fn main() {}
