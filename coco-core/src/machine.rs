//! The machine.
pub mod step;
