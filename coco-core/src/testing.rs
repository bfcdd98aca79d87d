//! For tests: the conformance suite that every store must pass.

pub mod conformance;
