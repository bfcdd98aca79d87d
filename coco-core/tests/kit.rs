//! The kit for tests of commands passes the right ones and finds what is wrong with the others.

#[path = "kit/bugs.rs"]
mod bugs;
#[path = "kit/found.rs"]
mod found;
#[path = "kit/limits.rs"]
mod limits;
#[path = "kit/nested.rs"]
mod nested;
#[path = "kit/volumes.rs"]
mod volumes;
