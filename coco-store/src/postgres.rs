//! A PostgreSQL server: how it is reached, which engine writes to it, and its connections under one
//! lease.

mod claim;
mod connection;
mod probe;
mod process;
mod server;

pub(crate) use self::claim::{Claim, claim};
pub(crate) use self::connection::Postgres;
pub(crate) use self::server::Server;
