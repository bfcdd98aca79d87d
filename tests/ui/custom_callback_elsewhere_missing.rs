use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

mod callbacks {
    pub struct AnyOf<const N: usize>;
}

#[derive(Command, Serialize, Deserialize)]
#[command(callback = crate::callbacks::AnyOf<3>)]
struct FindHost;

impl Execute for FindHost {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
