//! `cargo run --example saga`: books a trip; no car is left, so what was booked is cancelled. With
//! `-- die` at the end it dies in the middle of that; run it once more, and it goes on.
use coco_core::prelude::*;
use coco_store::SeaOrmStore;
use serde::{Deserialize, Serialize};

#[derive(Command, Serialize, Deserialize)]
#[command(callback = SerialChildren)]
struct BookTrip {
    price: u32,
}

impl Execute for BookTrip {
    type Output = ();
    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let price = self.price;
        cx.compensate_with(Refund(price)).await?; // stored before the money is taken
        cx.once("charge", async move |_| {
            println!("charged {price} euros");
            Ok(())
        })
        .await?;
        cx.child(Book("flight".to_owned())).await?;
        cx.child(Book("hotel".to_owned())).await?;
        cx.child(Book("car".to_owned())).await?; // fails, and `?` fails the trip
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Dies))]
struct Book(String);

impl Execute for Book {
    type Output = String;
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<String> {
        if self.0 == "car" {
            return Err(Error::other("no car is left"));
        }
        println!("booked the {}", self.0);
        Ok(format!("{} number 7", self.0))
    }

    /// Runs at least once, so it must do no harm when it runs again.
    async fn compensate(&mut self, booked: Option<&String>, cx: &LeafContext<Self>) -> Result<()> {
        match booked {
            Some(number) => println!("cancelled {number}"),
            // It failed itself, perhaps after the request was sent: somebody has to be asked.
            None => println!("made sure that no {} is booked", self.0),
        }
        if self.0 == "hotel" && cx.get::<Dies>().0 {
            println!("died before that was stored");
            std::process::exit(9);
        }
        Ok(())
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(idempotent)]
struct Refund(u32);

impl Execute for Refund {
    type Output = ();
    async fn execute(&mut self, _cx: &Context<Self>) -> Result<()> {
        println!("gave {} euros back", self.0);
        Ok(())
    }
}

/// Whether the process dies while it cancels the hotel.
struct Dies(bool);

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::temp_dir().join("coco-saga.db");
    let store = SeaOrmStore::connect(&format!("sqlite://{}", file.display())).await?;
    let dies = Dies(std::env::args().any(|word| word == "die"));
    let coordinator = Coordinator::builder(store).provide(dies).start().await?;
    let trip = match coordinator.report().resumed.first() {
        Some(unfinished) => coordinator.handle::<BookTrip>(*unfinished).await?,
        None => coordinator.submit(BookTrip { price: 900 }).await?,
    };
    match trip.output().await {
        Ok(()) => println!("have a good trip"),
        Err(failure) => println!("no trip: {failure}"),
    }
    coordinator.shutdown().await
}
