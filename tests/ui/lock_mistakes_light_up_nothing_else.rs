use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(lok = Execution)]
struct MoveDisk {
    #[lock(exclusive, group = "disk")]
    disk: String,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct CopyDisk {
    #[lock(exclusive, grup = "disk")]
    disk: String,
    #[lock(shared)]
    #[lock(group = "disk")]
    target: String,
    #[lock(shared, group = 5)]
    source: Vec<String>,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
struct GrowDisk<K> {
    #[lock(exclusive)]
    disk: K,
    #[lock(shared, group = "disk")]
    others: Vec<K>,
}

#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution)]
enum ShrinkDisk {
    Named(#[lock(exclusive)] String),
}

macro_rules! does_nothing {
    ($($command:ty),*) => {$(
        impl Execute for $command {
            type Output = ();

            async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

does_nothing!(MoveDisk, CopyDisk, ShrinkDisk);

impl<K: Send + Sync + 'static> Execute for GrowDisk<K> {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
