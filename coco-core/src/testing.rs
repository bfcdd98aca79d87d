//! For tests: the conformance suite that every store must pass, and a store that fails where a
//! test says so.

pub mod conformance;
mod faults;

pub use self::faults::{Crash, FaultyStore};
