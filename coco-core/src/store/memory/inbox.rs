//! Subscriptions and the inboxes of commands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::entity::{Delivery, Published, Subscription};
use crate::event::subscriptions_for;
use crate::id::CommandId;
use crate::store::{Delivered, Step, Write};

/// Who listens for what, and what has come.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    subscriptions: BTreeMap<(CommandId, Arc<str>), Subscription>,
    by_key: HashMap<Arc<str>, BTreeSet<CommandId>>,
    deliveries: BTreeMap<(CommandId, i64), Published>,
    /// All that has ever come, handled or not.
    known: BTreeSet<(CommandId, Arc<str>)>,
    last_number: i64,
}

impl Inboxes {
    /// Applies the steps of a batch, each with its place in it: subscriptions first, then events,
    /// then what is handled or over.
    pub(super) fn apply<'a>(
        &mut self,
        steps: impl Iterator<Item = (usize, &'a Step)>,
    ) -> Vec<Delivered> {
        let writes = steps.flat_map(|(n, step)| step.writes.iter().map(move |write| (n, write)));
        let writes: Vec<_> = writes.filter(|(_, write)| is_about_events(write)).collect();
        for (_, write) in &writes {
            if let Write::Subscribe(subscription) = write {
                self.subscribe(subscription);
            }
        }
        let mut delivered = Vec::new();
        for (step, write) in &writes {
            if let Write::Publish(event) = write {
                delivered.extend(self.publish(*step, event));
            }
        }
        for (_, write) in &writes {
            match write {
                Write::Handled(command, last) => {
                    let handled = (*command, i64::MIN)..=(*command, *last);
                    self.deliveries.extract_if(handled, |_, _| true).for_each(drop);
                }
                Write::Unsubscribe(command) => self.forget(*command),
                _ => {}
            }
        }
        delivered
    }

    pub(super) fn of(&self, command: CommandId, limit: usize) -> Vec<Delivery> {
        let inbox = self.deliveries.range((command, i64::MIN)..=(command, i64::MAX)).take(limit);
        inbox
            .map(|((_, number), event)| Delivery { number: *number, event: event.clone() })
            .collect()
    }

    pub(super) fn subscriptions(&self, command: CommandId) -> impl Iterator<Item = &Subscription> {
        let own = self.subscriptions.range((command, Arc::from(""))..);
        own.take_while(move |((owner, _), _)| *owner == command).map(|(_, row)| row)
    }

    fn subscribe(&mut self, subscription: &Subscription) {
        let (command, key) = (subscription.command_id, &subscription.key);
        self.by_key.entry(Arc::clone(key)).or_default().insert(command);
        let own = self.subscriptions.entry((command, Arc::clone(key)));
        own.or_insert_with(|| subscription.clone());
    }

    fn publish(&mut self, step: usize, event: &Published) -> Vec<Delivered> {
        let keys = subscriptions_for(&event.key);
        let listening = keys.iter().filter_map(|key| self.by_key.get(&**key)).flatten();
        let listening: BTreeSet<_> = listening.copied().collect();
        let mut delivered = Vec::new();
        for command in listening {
            if self.known.insert((command, Arc::clone(&event.event_id))) {
                self.last_number += 1;
                self.deliveries.insert((command, self.last_number), event.clone());
                let root = self.subscriptions(command).next().map(|own| own.root_command_id);
                delivered.extend(root.map(|root| Delivered { step, root, command }));
            }
        }
        delivered
    }

    fn forget(&mut self, command: CommandId) {
        let keys: Vec<_> = self.subscriptions(command).map(|own| Arc::clone(&own.key)).collect();
        for key in keys {
            if let Some(listening) = self.by_key.get_mut(&key) {
                listening.remove(&command);
            }
            self.subscriptions.remove(&(command, key));
        }
        let inbox = (command, i64::MIN)..=(command, i64::MAX);
        self.deliveries.extract_if(inbox, |_, _| true).for_each(drop);
        let known = self.known.range((command, Arc::from(""))..);
        let known: Vec<_> = known.take_while(|(owner, _)| *owner == command).cloned().collect();
        for one in &known {
            self.known.remove(one);
        }
    }
}

fn is_about_events(write: &Write) -> bool {
    matches!(
        write,
        Write::Subscribe(_) | Write::Publish(_) | Write::Handled(..) | Write::Unsubscribe(_)
    )
}
