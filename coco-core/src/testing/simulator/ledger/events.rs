//! Events, as they have to be heard: who has subscribed before hears each once, in their order.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::super::commands::{at_once, json};
use super::super::events;
use super::Ledger;
use crate::entity::{Delivery, Progress};
use crate::id::CommandId;
use crate::machine::step::{Step, Write};
use crate::status::CommandStatus;
use crate::store::{Delivered, MemoryStore, Store};

/// Who listens for what, and what has come.
#[derive(Debug, Default)]
pub(super) struct EventBook {
    /// What the commit that is read says of events.
    batch: Vec<Write>,
    keys: BTreeMap<CommandId, BTreeSet<Arc<str>>>,
    /// All that has come for each.
    known: HashSet<(CommandId, String)>,
    /// Of that, what is not handled.
    inboxes: BTreeMap<CommandId, Vec<String>>,
    published: HashSet<String>,
}

impl Ledger {
    /// Keeps a write until the commit is read.
    pub(super) fn about_events(&mut self, write: &Write) {
        if let Write::Subscribe(row) = write {
            assert!(self.is_open(row.command_id), "an ended command subscribes: {row:?}");
        }
        self.events.batch.push(write.clone());
    }

    /// What a command has heard more is the oldest in its inbox, and stored with that.
    pub(super) fn check_heard(&mut self, step: &Step, id: CommandId, newer: &Progress) {
        let state_of = |progress: &Progress| {
            let state = progress.state.as_deref().map(json).unwrap_or_default();
            events::heard(&state)
        };
        let before = state_of(&self.rows[&id].progress);
        let after = if newer.state.is_some() { state_of(newer) } else { before.clone() };
        let new = after.strip_prefix(&*before);
        let new = new.unwrap_or_else(|| panic!("{id} has heard {before:?}, then {after:?}"));
        let inbox = self.events.inboxes.get(&id).map_or(&[][..], Vec::as_slice);
        assert!(inbox.starts_with(new), "{id} hears {new:?} of {inbox:?}: {step:?}");
        let is_it = |write: &Write| matches!(write, Write::Handled(of, _) if *of == id);
        let is_handled = step.writes.iter().any(is_it);
        let is_over = newer.status != CommandStatus::Active || newer.cancelled.is_some();
        assert!(is_handled || is_over || new.is_empty(), "heard, and not handled: {step:?}");
        assert!(!is_handled || !new.is_empty(), "handled, and not heard: {step:?}");
        self.heard += new.len();
    }

    /// Takes what a commit says of events: first who subscribes, then what is published, then what
    /// is handled.
    pub(in super::super) fn delivered(&mut self, delivered: &[Delivered], store: &MemoryStore) {
        let batch = std::mem::take(&mut self.events.batch);
        for write in &batch {
            if let Write::Subscribe(row) = write {
                let keys = self.events.keys.entry(row.command_id).or_default();
                keys.insert(Arc::clone(&row.key));
            }
        }
        let mut expected = Vec::new();
        for write in &batch {
            let Write::Publish(event) = write else { continue };
            let EventBook { keys, known, inboxes, published, .. } = &mut self.events;
            published.insert(event.event_id.to_string());
            for (id, _) in keys.iter().filter(|(_, keys)| keys.contains(&event.key)) {
                if known.insert((*id, event.event_id.to_string())) {
                    inboxes.entry(*id).or_default().push(event.event_id.to_string());
                    expected.push(*id);
                }
            }
        }
        let told: Vec<_> = delivered.iter().map(|delivered| delivered.command).collect();
        assert_eq!(told, expected, "who has got something of {batch:?}");
        for write in &batch {
            match write {
                Write::Handled(id, _) => {
                    let state = self.rows[id].progress.state.as_deref().map(json);
                    let heard = events::heard(&state.unwrap_or_default());
                    let inbox = self.events.inboxes.entry(*id).or_default();
                    inbox.retain(|event| !heard.contains(event));
                }
                Write::Unsubscribe(id) => {
                    assert!(!self.is_open(*id), "{id} listens no more, and is open");
                    self.events.keys.remove(id);
                    self.events.inboxes.remove(id);
                }
                _ => {}
            }
        }
        for write in &batch {
            if let Write::Handled(id, _) = write {
                let left = at_once(store.inbox(*id, usize::MAX)).expect("it reads");
                self.check_inbox(*id, &left);
            }
        }
    }

    /// What was read of an inbox is what is in it.
    pub(in super::super) fn check_inbox(&self, id: CommandId, read: &[Delivery]) {
        let inbox = self.events.inboxes.get(&id).map_or(&[][..], Vec::as_slice);
        let read: Vec<_> = read.iter().map(|read| read.event.event_id.to_string()).collect();
        let is_cut = read.len() == super::super::runtime::MOST_EVENTS;
        assert!(inbox.starts_with(&read), "the inbox of {id} is {inbox:?}, and not {read:?}");
        assert!(is_cut || read.len() == inbox.len(), "of the inbox of {id} is missing: {inbox:?}");
    }

    pub(in super::super) fn check_listens(&self, id: CommandId, key: &Arc<str>) {
        let keys = self.events.keys.get(&id);
        let is_there = keys.is_some_and(|keys| keys.contains(key)) || !self.is_open(id);
        assert!(is_there, "{id} is told that it listens for {key}");
    }

    pub(in super::super) fn listens(&self, id: CommandId) -> bool {
        self.events.keys.contains_key(&id)
    }

    pub(in super::super) fn check_published(&self, event: &str) {
        assert!(self.events.published.contains(event), "{event} is accepted, not stored");
    }

    /// Who has something in its inbox.
    pub(in super::super) fn have_events(&self) -> impl Iterator<Item = CommandId> {
        self.events.inboxes.iter().filter(|(_, inbox)| !inbox.is_empty()).map(|(id, _)| *id)
    }

    /// Nobody listens who has ended.
    pub(in super::super) fn check_nobody_listens(&self) {
        let left: Vec<_> = self.events.keys.keys().collect();
        assert!(left.is_empty(), "ended, and they listen: {left:?}");
    }
}
