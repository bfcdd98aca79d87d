//! Places: how many commands of a type may run at a time, over all trees of the engine.
//!
//! A command without a place waits as `NotStarted`, in the order of asking. A command below one
//! of its own type needs none: it would wait for its own ancestor.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::input::Address;
use super::tree::{Tree, Turn};
use crate::command::Spec;
use crate::id::CommandId;

/// The places of all types that have a limit.
#[derive(Debug, Default)]
pub(super) struct Limits {
    types: FxHashMap<&'static str, Places>,
    /// Types of which a place may be free.
    freed: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Places {
    most: usize,
    taken: usize,
    waiting: VecDeque<Address>,
}

impl Limits {
    /// Takes a place if one is free, else waits for one: `Happened::Place` says when.
    fn take_or_wait(&mut self, spec: &Spec, at: Address) -> bool {
        let Some(places) = self.places(spec) else { return true };
        if places.taken < places.most {
            places.taken += 1;
            return true;
        }
        places.waiting.push_back(at);
        false
    }

    /// Takes a place for a command that runs already.
    pub(super) fn take(&mut self, spec: &Spec) {
        if let Some(places) = self.places(spec) {
            places.taken += 1;
        }
    }

    pub(super) fn free(&mut self, spec: &Spec) {
        if let Some(places) = self.places(spec) {
            places.taken -= 1;
            self.freed.push(spec.name);
        }
    }

    /// The next command that may take a place.
    pub(super) fn next_waiting(&mut self) -> Option<Address> {
        while let Some(name) = self.freed.last() {
            let places = self.types.get_mut(name).filter(|places| places.taken < places.most);
            if let Some(at) = places.and_then(|places| places.waiting.pop_front()) {
                return Some(at);
            }
            self.freed.pop();
        }
        None
    }

    fn places(&mut self, spec: &Spec) -> Option<&mut Places> {
        let most = usize::try_from(spec.concurrency?.get()).unwrap_or(usize::MAX);
        let places = self.types.entry(spec.name).or_default();
        places.most = most;
        Some(places)
    }
}

impl Tree {
    /// Whether a command has a place among its type now; if not, it waits for one.
    pub(super) fn has_place(&mut self, turn: &mut Turn<'_>, id: CommandId) -> bool {
        let node = &self.nodes[&id];
        if node.spec.concurrency.is_none() || node.has_place || self.is_below_its_type(id) {
            return true;
        }
        let at = Address { root: self.root, command: id };
        let taken = turn.limits.take_or_wait(node.spec, at);
        self.node(id).has_place = taken;
        taken
    }

    /// Takes a place for a command that runs already.
    pub(super) fn take_place(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = &self.nodes[&id];
        if node.spec.concurrency.is_some() && !node.has_place && !self.is_below_its_type(id) {
            turn.limits.take(node.spec);
            self.node(id).has_place = true;
        }
    }

    /// Gives back the place of a command that does not run any more.
    pub(super) fn free_place(&mut self, turn: &mut Turn<'_>, id: CommandId) {
        let node = self.node(id);
        if std::mem::take(&mut node.has_place) {
            turn.limits.free(node.spec);
        }
    }

    fn is_below_its_type(&self, id: CommandId) -> bool {
        let name = self.nodes[&id].spec.name;
        self.ancestors(id).iter().any(|above| self.nodes[above].spec.name == name)
    }
}
