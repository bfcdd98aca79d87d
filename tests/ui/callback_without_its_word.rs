use coco_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
struct Reboot;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct UpgradeAll;

#[derive(Command, Serialize, Deserialize)]
#[command(callback = ConcurrentChildren)]
struct MergeAll;

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

does_nothing!(Reboot, UpgradeAll, MergeAll);

impl Polling for Reboot {
    async fn poll(&mut self, _: &mut (), _: &Context<Self>) -> Result<Poll> {
        Ok(Poll::Ready)
    }
}

impl ConcurrentChildren for UpgradeAll {}
impl ConcurrentChildren for MergeAll {}

impl NextOperation for MergeAll {
    async fn perform_next_operation(
        &mut self,
        _: &mut (),
        _: &Outcomes,
        _: &Context<Self>,
    ) -> Result<bool> {
        Ok(false)
    }
}

fn main() {}
