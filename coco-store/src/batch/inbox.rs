//! What a batch says about events: done when all of its steps are decided and their rows are
//! written, so that an event finds the subscriptions of every step. Pure.

use std::collections::{BTreeMap, BTreeSet};

use coco_core::CommandId;
use coco_core::entity::Published;
use coco_core::store::Write;

/// What is published, and what is handled or over.
#[derive(Debug, Default)]
pub(crate) struct InboxChanges<'a> {
    /// The events in their order, each with the place of its step in the batch.
    pub(crate) events: Vec<(usize, &'a Published)>,
    /// Up to which number commands have handled what is in their inboxes.
    pub(crate) handled: BTreeMap<CommandId, i64>,
    /// Who listens no more.
    pub(crate) unsubscribed: BTreeSet<CommandId>,
}

impl<'a> InboxChanges<'a> {
    /// Does what a write of the step at this place says about events, if it does.
    pub(crate) fn apply(&mut self, step: usize, write: &'a Write) {
        match write {
            Write::Publish(event) => self.events.push((step, event)),
            Write::Handled(command, last) => self.handle(*command, *last),
            Write::Unsubscribe(command) => {
                self.unsubscribed.insert(*command);
            }
            _ => {}
        }
    }

    /// Adds those of a later part of a batch, of which `places` says where its steps stand in it.
    pub(crate) fn append(&mut self, part: Self, places: &[usize]) {
        let events = part.events.into_iter();
        self.events.extend(events.filter_map(|(at, event)| Some((*places.get(at)?, event))));
        for (command, last) in part.handled {
            self.handle(command, last);
        }
        self.unsubscribed.extend(part.unsubscribed);
    }

    fn handle(&mut self, command: CommandId, last: i64) {
        self.handled.entry(command).and_modify(|known| *known = last.max(*known)).or_insert(last);
    }
}
