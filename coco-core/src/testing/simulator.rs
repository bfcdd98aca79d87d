//! A simulator of the engine: random trees over the real decisions, in virtual time.
//!
//! Trees of random commands run side by side: flows that follow a script derived from their
//! parameters, leaves that register undo commands, fail, take long or are tried again, callbacks that
//! listen for events and have tasks outside, and trees that any of them launch. What happens next is
//! rolled from one seed: some code goes on, the engine hears of it, a part of the queue is committed,
//! time passes, events are published, an operator cancels, retries or abandons something, a step is
//! rejected, the engine stops or dies, while the outside goes on. The machine and the store in memory are the real ones; everything
//! around them is a model with one thread and no clock, so the same seed gives the same report.
//!
//! ```text
//! dice ──► runtime (model): tasks, alarms, queue ──► machine (real) ──► store (real, in memory)
//!                                                                          │ each applied step
//!                                    oracle, at the end ◄── ledger: checks each step
//! ```
//!
//! The ledger checks each step when it is stored, and the oracle checks what is left when all has
//! ended: each outcome against what its script makes of the stored outcomes of its children. When a
//! check fails, the run panics, and the seed, the faults and the last inputs are printed.

pub(crate) mod commands;
mod dice;
mod events;
mod launches;
mod ledger;
mod oracle;
mod outside;
mod report;
mod rounds;
mod runtime;
mod script;
mod task;

pub use self::report::Report;
use self::runtime::Runtime;
use self::script::Locking;

/// How often something is done to the engine from outside: one time in so many, never for
/// [`usize::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The engine dies: before or after a commit, or in between.
    pub death: usize,
    /// The engine is stopped, and another one starts.
    pub stop: usize,
    /// The store refuses the data of a step, of so many batches.
    pub rejection: usize,
    /// Somebody cancels, retries or abandons some command.
    pub order: usize,
    /// A flow takes another way than before, or waits for something foreign, of so many polls.
    pub divergence: usize,
}

impl Faults {
    /// Everything, in a mix that lets most trees get somewhere.
    pub const ALL: Self =
        Self { death: 1000, stop: 2000, rejection: 50, order: 150, divergence: 200 };
    /// Nothing.
    pub const NONE: Self = Self {
        death: usize::MAX,
        stop: usize::MAX,
        rejection: usize::MAX,
        order: usize::MAX,
        divergence: usize::MAX,
    };
}

/// One run of the simulator.
///
/// ```
/// use coco_core::testing::simulator::{Faults, Simulation};
///
/// let report = Simulation::new(7).faults(Faults::ALL).run(500);
/// assert_eq!(report, Simulation::new(7).faults(Faults::ALL).run(500));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    seed: u64,
    faults: Faults,
    trees: usize,
    keys: usize,
    touches_all: bool,
}

impl Simulation {
    /// A run with this seed, without faults, of eight trees side by side.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (faults, keys) = (Faults::NONE, Locking::CALM.keys);
        Self { seed, faults, trees: 8, keys, touches_all: false }
    }

    /// With a machine whose polls touch their trees, whether they say anything new or not.
    #[cfg(test)]
    pub(crate) fn touching_all(self) -> Self {
        Self { touches_all: true, ..self }
    }

    /// With these faults.
    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// With so many trees side by side.
    #[must_use]
    pub fn trees(self, trees: usize) -> Self {
        Self { trees, ..self }
    }

    /// With so many keys that commands lock: of few, nearly all lock some, and wait for them.
    #[must_use]
    pub fn keys(self, keys: usize) -> Self {
        Self { keys, ..self }
    }

    /// Runs until the engine has had so many inputs, then lets everything end without faults.
    ///
    /// # Panics
    /// When a promise is broken; the seed and the last inputs are printed.
    pub fn run(self, inputs: usize) -> Report {
        let mut runtime = Runtime::new(self);
        while runtime.inputs() < inputs {
            runtime.next();
        }
        runtime.drain()
    }
}
