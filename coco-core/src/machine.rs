//! The machine: decides everything inside a tree, and does nothing itself.
//!
//! Pure: no async, no clock, no I/O, no randomness; it knows no user type and no store. The
//! runtime feeds it [`Input`]s and gets [`Output`]s: steps to store, each with the effects that
//! may happen once it is durable, and effects that hang on nothing.
//!
//! ```text
//! submit ──► [insert + locks] ──durable──► run ──► reply ──► [end, locks freed] ──► answer
//!                                           │
//!                       flow: asks ──► [child inserted] ──► run ──► … ──► [child ended]
//!                         ▲                                                   │
//!                         └──────── outcome, given at once, polled ───────────┘
//! ```
//!
//! An outcome is given to its flow at once, before it is durable. The steps of the tree are held
//! until the flow has been polled, so that the end of a child and what is asked next make one
//! batch; [`Input::Flush`] lets them go when the poll takes too long.

mod ask;
mod cancel;
mod end;
mod events;
mod flow;
mod input;
mod launch;
mod limits;
mod load;
mod locks;
mod node;
mod reject;
mod rest;
mod rounds;
mod start;
pub(crate) mod step;
mod stuck;
mod suspects;
mod tasks;
#[cfg(test)]
mod tests;
mod tree;
mod trees;
mod undo;
mod why;

use std::time::Duration;

pub(crate) use self::input::{
    Address, Effect, Entry, FlowEnd, Happened, Input, Load, Loaded, LoadedCommand,
    LoadedCompensation, Output, OverTask, Polled, Refusal, Run, RunKind, Started, Stored, Submit,
    UndoRun, Undoable, Undoing,
};
use self::limits::Limits;
use self::step::Step;
use self::suspects::Suspects;
use self::tree::{Tree, Turn};
use self::trees::Trees;
pub(crate) use self::why::why_stored;
pub use self::why::{Pause, WaitingChild, Why};
use crate::id::CommandId;
use crate::retry::Retry;
use crate::time::Timestamp;

/// All trees that run, by their roots.
#[derive(Debug)]
pub(crate) struct Machine {
    trees: Trees,
    limits: Limits,
    suspects: Suspects,
    settings: Settings,
    /// The trees that have left since [`Machine::take_left`] was asked.
    left: Vec<CommandId>,
    /// How often trees have asked to rest.
    rests: u64,
    /// How many trees only wait to be polled.
    idle: usize,
    /// Nothing that waits begins any more.
    is_stopping: bool,
}

/// What a tree leaves behind that is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    /// The steps that it still held.
    pub(crate) held: Vec<(Step, Vec<Effect>)>,
    /// What its code has started.
    pub(crate) started: Started,
}

/// What a program chose for its engine, as far as the machine goes by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How end hooks and undo are tried again.
    pub(crate) hook_retry: Retry,
    /// How many trees are admitted at a time.
    pub(crate) most_trees: usize,
    /// For a wait that is no longer than this a tree does not rest.
    pub(crate) short_wait: Duration,
}

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        let (trees, limits, suspects) = (Trees::default(), Limits::default(), Suspects::default());
        let (left, rests, idle, is_stopping) = (Vec::new(), 0, 0, false);
        Self { trees, limits, suspects, settings, left, rests, idle, is_stopping }
    }

    /// A machine with room for all.
    #[cfg(test)]
    pub(crate) fn unlimited(hook_retry: Retry) -> Self {
        let short_wait = Duration::from_secs(1);
        Self::new(Settings { hook_retry, most_trees: usize::MAX, short_wait })
    }

    /// Every poll of an idle tree touches the tree: what follows from it is the same.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn touching_all(mut self) -> Self {
        self.trees.are_touched = true;
        self
    }

    /// Whether this tree is not touched until a poll says something new.
    #[cfg(test)]
    pub(crate) fn lies_still(&self, root: CommandId) -> bool {
        self.trees.lies_still(root)
    }

    /// Takes one input and appends what follows from it. An input for something that is no
    /// longer there is ignored.
    pub(crate) fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        let admitted = self.admitted();
        let Self { trees, limits, suspects, settings, left, rests, idle, is_stopping } = self;
        let (is_crowded, is_stopping_now) = (admitted >= settings.most_trees / 2, *is_stopping);
        let mut turn = Turn {
            now,
            settings: *settings,
            limits,
            left,
            rests,
            idle,
            is_crowded,
            is_stopping: is_stopping_now,
            out,
        };
        match input {
            Input::Submit(submit) if admitted >= settings.most_trees => {
                Tree::submit_unadmitted(&mut turn, submit);
            }
            Input::Submit(submit) => {
                let root = submit.id;
                trees.insert(root, Tree::submit(&mut turn, submit));
                trees.settle(&mut turn, root);
            }
            Input::Of { at, what: Happened::Rest { rest } } => {
                if trees.get_mut(at.root).is_some_and(|tree| tree.rest == Some(rest))
                    && let Some(mut tree) = trees.remove(at.root)
                {
                    tree.wake(turn.idle);
                    tree.rest(&mut turn);
                }
            }
            Input::Load(load) => suspects.load(trees, &mut turn, *load),
            Input::Stop => {
                *is_stopping = true;
                let mut roots: Vec<_> = trees.iter_mut().collect();
                roots.sort_unstable_by_key(|(root, _)| *root);
                return roots.into_iter().for_each(|(_, tree)| tree.stop(&mut turn));
            }
            // An attempt, a start, or the end of a sleep, is for the next engine.
            Input::Of { what: Happened::Due(_) | Happened::HasLocks { number: 0 }, .. }
                if *is_stopping =>
            {
                return;
            }
            Input::Of { at, what } => trees.happened(&mut turn, at, what),
        }
        if *is_stopping {
            return;
        }
        while let Some(at) = turn.limits.next_waiting() {
            trees.happened(&mut turn, at, Happened::Place);
        }
        suspects.next_trial(trees, &mut turn);
    }

    /// Forgets a tree whose step was rejected; it is then loaded anew.
    pub(crate) fn forget(&mut self, root: CommandId) -> Forgotten {
        let Some(mut tree) = self.trees.remove(root) else { return Forgotten::default() };
        tree.wake(&mut self.idle);
        self.suspects.forgot(root);
        let with_place = tree.nodes.values().filter(|node| node.has_place);
        with_place.for_each(|node| self.limits.free(node.spec));
        let started = tree.started();
        let mut held = tree.held;
        for (command, node) in tree.nodes {
            let in_line = node.late.into_values().filter(|late| late.in_line.is_some());
            let waiting = in_line.filter_map(|late| late.ticket);
            let tickets = node.early_cancels.into_iter().map(|(ticket, _)| ticket).chain(waiting);
            let accepts: Vec<_> = tickets.map(|ticket| Effect::Accept { ticket }).collect();
            let step = Step { root, command, request: None, writes: Vec::new() };
            held.extend(accepts.into_iter().map(|accept| (step.clone(), vec![accept])));
        }
        Forgotten { held, started }
    }

    /// Whether this tree is here.
    pub(crate) fn has(&self, root: CommandId) -> bool {
        self.trees.contains(root)
    }

    /// How many trees are here.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn len(&self) -> usize {
        self.trees.len()
    }

    /// Who waits in line, as the trees know it that have nothing to say.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn lines(&self) -> impl Iterator<Item = (Address, i32, Option<Timestamp>)> {
        let quiet = self.trees.iter().filter(|tree| tree.held.is_empty());
        quiet.flat_map(|tree| {
            tree.nodes.iter().flat_map(|(id, node)| {
                let at = Address { root: tree.root, command: *id };
                let start = node.in_line.map(|until| (at, 0, until));
                let late =
                    node.late.iter().filter_map(|(number, late)| Some((*number, late.in_line?)));
                start.into_iter().chain(late.map(move |(number, until)| (at, number, until)))
            })
        })
    }

    /// How many trees take up room.
    fn admitted(&self) -> usize {
        self.trees.len() - self.idle
    }

    /// How many more are admitted now.
    pub(crate) fn room(&self) -> usize {
        self.settings.most_trees.saturating_sub(self.admitted())
    }

    /// The trees that have left since this was asked before: ended, refused or at rest.
    pub(crate) fn take_left(&mut self) -> impl Iterator<Item = CommandId> {
        self.left.drain(..)
    }
}
