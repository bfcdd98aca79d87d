//! What a batch says about events: done when all of its steps are decided and their rows are
//! written, so that an event finds the subscriptions of every step. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coco_core::CommandId;
use coco_core::entity::Published;
use coco_core::store::{Delivered, Write};

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

/// Events of a batch by their keys, of which it mostly has few, and who listens for these.
#[derive(Debug)]
pub(crate) struct Audience<'e, 'a> {
    events: &'e [(usize, &'a Published)],
    /// For each event the place of its key.
    places: Vec<usize>,
    keys: Vec<&'a str>,
    /// For each key who listens, with its root.
    listening: Vec<BTreeSet<(CommandId, CommandId)>>,
}

impl<'e, 'a> Audience<'e, 'a> {
    pub(crate) fn new(events: &'e [(usize, &'a Published)]) -> Self {
        let (mut keys, mut known) = (Vec::new(), HashMap::new());
        let place = |(_, event): &(usize, &'a Published)| {
            *known.entry(&*event.key).or_insert_with(|| {
                keys.push(&*event.key);
                keys.len() - 1
            })
        };
        let places = events.iter().map(place).collect();
        let listening = vec![BTreeSet::new(); keys.len()];
        Self { events, places, keys, listening }
    }

    /// The keys, each once.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.keys.iter().copied()
    }

    /// The events, each with the place of its key.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&'a Published, usize)> {
        self.events.iter().map(|(_, event)| *event).zip(self.places.iter().copied())
    }

    /// A command listens for the key at this place.
    pub(crate) fn listens(&mut self, place: usize, command: CommandId, root: CommandId) {
        if let Some(listening) = self.listening.get_mut(place) {
            listening.insert((command, root));
        }
    }

    /// Who listens for the key at each place, with the root.
    #[cfg(feature = "postgres")]
    pub(crate) fn listening(&self) -> impl Iterator<Item = (usize, CommandId, CommandId)> {
        let all = self.listening.iter().enumerate();
        all.flat_map(|(place, of_key)| of_key.iter().map(move |(id, root)| (place, *id, *root)))
    }

    /// What is delivered where none of the events was before.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = Delivered> {
        self.events.iter().zip(&self.places).flat_map(|((step, _), place)| {
            let listening = self.listening[*place].iter();
            listening.map(|(command, root)| Delivered {
                step: *step,
                root: *root,
                command: *command,
            })
        })
    }

    /// The first step of each event: where some are the same, that one is delivered.
    pub(crate) fn steps(&self) -> HashMap<(&'a str, &'a str), usize> {
        let mut steps = HashMap::with_capacity(self.events.len());
        for (step, event) in self.events {
            steps.entry((&*event.event_id, &*event.key)).or_insert(*step);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coco_core::Timestamp;

    use super::*;

    fn event(id: &str, key: &str) -> Published {
        let (event_id, key, payload): (Arc<str>, Arc<str>, _) = (id.into(), key.into(), "1".into());
        Published { event_id, key, payload, published_at: Timestamp::from_micros(1) }
    }

    #[test]
    fn who_listens_is_asked_once_for_a_key_and_told_of_each_event() {
        let published = [event("1", "a"), event("2", "b"), event("3", "a"), event("1", "a")];
        let events: Vec<_> = (10..).zip(&published).collect();
        let id = |n| CommandId::from_uuid(uuid::Uuid::from_u128(n));
        let mut audience = Audience::new(&events);
        assert_eq!(audience.keys().collect::<Vec<_>>(), ["a", "b"]);
        let places: Vec<_> = audience.events().map(|(_, place)| place).collect();
        assert_eq!(places, [0, 1, 0, 0]);
        assert_eq!(audience.deliveries().count(), 0);
        // A command may listen twice for what matches a key.
        for command in [1, 2, 1] {
            audience.listens(0, id(command), id(7));
        }
        let told: Vec<_> =
            audience.deliveries().map(|delivered| (delivered.step, delivered.command)).collect();
        let (first, second) = (id(1), id(2));
        assert_eq!(
            told,
            [(10, first), (10, second), (12, first), (12, second), (13, first), (13, second)]
        );
        assert_eq!(audience.steps()[&("1", "a")], 10);
    }
}
