//! PostgreSQL: what goes wrong between the store and the server, with the server, and among engines.

#![cfg(feature = "postgres")]

#[path = "support/asking.rs"]
mod asking;
#[allow(dead_code, reason = "nothing of it is compared")]
#[path = "support/forest.rs"]
mod forest;
#[path = "support/steps.rs"]
mod steps;
#[allow(dead_code, reason = "the places of files are for the tests of SQLite")]
mod support;

mod postgres {
    mod away;
    mod cluster;
    mod dropped;
    mod engines;
    mod every_statement;
    mod indexes;
    mod ledger;
    mod load;
    mod lost;
    mod probe;
    mod proxy;
    mod schema;
    mod server_dies;
    mod stranger;
    #[cfg(feature = "tls")]
    mod tls;
}
