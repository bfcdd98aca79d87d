//! `cargo run --example crash_sweep`: two commands that pay a bill. Both work; the sweep of crashes
//! finds the one that pays twice when the process dies at the wrong moment.
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use coco_core::prelude::*;
use coco_core::testing::{Case, Report, crash_sweep};
use serde::{Deserialize, Serialize};

/// A fake of the bank: what was transferred, by the key that the bank was given.
#[derive(Clone, Default)]
struct Bank(Arc<Mutex<BTreeMap<String, u32>>>);

impl Bank {
    /// A transfer with a key that it has seen is the same transfer.
    fn transfer(&self, key: String, euros: u32) {
        self.0.lock().unwrap().insert(key, euros);
    }

    fn transfers(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Makes up a new key on each run. It is `idempotent`, but what it does is not.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Bank))]
struct PayCarelessly {
    euros: u32,
}

impl Execute for PayCarelessly {
    type Output = ();
    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let bank = cx.get::<Bank>();
        bank.transfer(format!("transfer {}", bank.transfers() + 1), self.euros);
        Ok(())
    }
}

/// Its identity is the key: the same on every run of it.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Bank))]
struct Pay {
    euros: u32,
}

impl Execute for Pay {
    type Output = ();
    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        cx.get::<Bank>().transfer(cx.id().to_string(), self.euros);
        Ok(())
    }
}

/// In your program this is the body of a `#[tokio::test(start_paused = true)]`.
async fn sweep<C: Command>(pay: fn() -> C) -> Report {
    crash_sweep(|| {
        let bank = Bank::default();
        Case::new(pay()).provide(bank.clone()).check(move |end| {
            assert!(end.output().is_ok());
            assert_eq!(bank.transfers(), 1, "transfers of one bill");
        })
    })
    .await
}

/// Runs what would be a test, and prints what becomes of it.
fn test<C: Command>(name: &str, pay: fn() -> C) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(sweep(pay)))) {
        Ok(report) => println!("{name} holds in {} crashes", report.cases.len()),
        Err(panic) => println!("{name} fails:\n{}\n", panic.downcast_ref::<String>().unwrap()),
    }
}

fn main() {
    std::panic::set_hook(Box::new(|_| ())); // they are printed above
    test("PayCarelessly", || PayCarelessly { euros: 90 });
    test("Pay", || Pay { euros: 90 });
}
