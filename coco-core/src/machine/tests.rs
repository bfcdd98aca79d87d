//! The machine, driven by hand and by the simulator.

mod cancel;
mod contended;
mod flow;
mod hand;
mod idle;
mod launches;
mod leaf;
mod limits;
mod locks;
mod operators;
mod orders;
mod random;
mod recovery;
mod rejected;
mod replay;
mod retries;
mod rounds;
mod suspects;
mod tasks;
mod timers;
mod undo;
