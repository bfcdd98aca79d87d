use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct MoveDisk<T> {
    disk: T,
}

impl<T> Execute for MoveDisk<T>
where
    T: Send + Sync + 'static,
{
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

#[derive(Command, Serialize)]
struct Borrowed<'a> {
    disk: &'a str,
}

#[derive(Command, Serialize, Deserialize)]
struct Sized<const N: usize>;

impl<const N: usize> Execute for Sized<N> {
    type Output = ();

    async fn execute(&mut self, _: &Context<Self>) -> Result<()> {
        Ok(())
    }
}

fn main() {}
