//! The statements about events and tasks outside, and the rows that they bind.

use coco_core::entity::{Published, Subscription, Task};
use coco_core::event::subscriptions_for;
use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};

use super::rows::{Id, array, row};
use crate::batch::inbox::InboxChanges;

/// Who listens already is known by its key.
pub(super) const INSERT_SUBSCRIPTIONS: &str = "\
INSERT INTO event_subscriptions (command_id, root_command_id, event_key, created_at) \
SELECT unhex(value ->> '$[0]'), unhex(value ->> '$[1]'), value ->> '$[2]', value ->> '$[3]' \
FROM jsonb_each(?1) WHERE true ON CONFLICT (command_id, event_key) DO NOTHING";

/// The commands that listen for the keys in `?1`, each of which has the subscriptions with it that
/// match: so they are looked up one by one, however many there are, and once for all events with
/// that key. A command that is gone, as in a file that is damaged, hears nothing.
macro_rules! listening {
    () => {
        "WITH \nlistening(key, event_key, command_id, root_command_id) AS MATERIALIZED (\
SELECT asked.key, asked.value ->> '$[0]', command.command_id, subscription.root_command_id \
FROM jsonb_each(?1) AS asked CROSS JOIN json_each(asked.value -> '$[1]') AS matching \
CROSS JOIN event_subscriptions AS subscription ON subscription.event_key = matching.value \
CROSS JOIN command_entities AS command ON command.command_id = subscription.command_id) "
    };
}

/// Who listens, and the number of the newest delivery.
pub(crate) const READ_LISTENING: &str = concat!(
    listening!(),
    "SELECT key, command_id, root_command_id, \
(SELECT coalesce(max(number), 0) FROM event_deliveries) AS newest FROM listening"
);

/// `?2` has the events, each with the place of its key in `?1`.
pub(crate) const PUBLISH: &str = concat!(
    listening!(),
    "INSERT INTO event_deliveries (\
command_id, root_command_id, event_id, event_key, payload, published_at) \
SELECT listening.command_id, listening.root_command_id, event.value ->> '$[0]', \
listening.event_key, event.value ->> '$[1]', event.value ->> '$[2]' \
FROM jsonb_each(?2) AS event \
CROSS JOIN listening ON listening.key = event.value ->> '$[3]' \
ORDER BY event.rowid \
ON CONFLICT (command_id, event_id) DO NOTHING"
);

/// What was delivered since `?1` was the newest.
pub(crate) const READ_DELIVERED: &str = "\
SELECT command_id, root_command_id, event_id, event_key FROM event_deliveries \
WHERE number > ?1 ->> '$[0]' ORDER BY number";

/// Fails as `PUBLISH` does where the events are not such as can be bound.
pub(crate) const CHECK_EVENTS: &str = "\
SELECT (SELECT count(*) FROM jsonb_each(?1)) + (SELECT count(*) FROM jsonb_each(?2))";

pub(crate) const HANDLE: &str = "\
UPDATE event_deliveries SET payload = NULL \
FROM jsonb_each(?1) AS last WHERE command_id = unhex(last.value ->> '$[0]') \
AND number <= last.value ->> '$[1]' AND payload IS NOT NULL";

pub(crate) const DELETE_SUBSCRIPTIONS: &str = "\
DELETE FROM event_subscriptions WHERE command_id IN (SELECT unhex(value) FROM json_each(?1))";

pub(crate) const DELETE_DELIVERIES: &str = "\
DELETE FROM event_deliveries WHERE command_id IN (SELECT unhex(value) FROM json_each(?1))";

pub(super) const KEEP_TASKS: &str = "\
UPDATE external_tasks SET kept = TRUE FROM jsonb_each(?1) AS new \
WHERE command_id = unhex(new.value ->> '$[0]') AND position = new.value ->> '$[1]'";

pub(super) const UPDATE_TASKS: &str = "\
UPDATE external_tasks SET ended_at = new.value ->> '$[2]', failure = new.value ->> '$[3]' \
FROM jsonb_each(?1) AS new \
WHERE command_id = unhex(new.value ->> '$[0]') AND position = new.value ->> '$[1]'";

pub(super) const INSERT_TASKS: &str = "\
INSERT INTO external_tasks (\
command_id, root_command_id, position, task, created_at, kept, ended_at, failure) \
SELECT unhex(value ->> '$[0]'), unhex(value ->> '$[1]'), value ->> '$[2]', value ->> '$[3]', \
value ->> '$[4]', value ->> '$[5]', value ->> '$[6]', value ->> '$[7]' \
FROM jsonb_each(?1)";

/// What `READ_LISTENING` binds, and `PUBLISH` as well.
pub(crate) fn keys<'a>(
    keys: impl Iterator<Item = &'a str>,
) -> Result<Option<String>, serde_json::Error> {
    array(keys.map(|key| (key, subscriptions_for(key))))
}

/// The events that `PUBLISH` binds, each with the place of its key.
pub(crate) fn events<'a>(
    events: impl Iterator<Item = (&'a Published, usize)>,
) -> Result<Option<String>, serde_json::Error> {
    array(events.map(|(event, key)| Publication(event, key)))
}

/// What `HANDLE` binds.
pub(crate) fn handled(changes: &InboxChanges<'_>) -> Result<Option<String>, serde_json::Error> {
    array(changes.handled.iter().map(|(command, last)| (Id(*command), last)))
}

pub(super) struct Listening<'a>(pub(super) &'a Subscription);

impl Serialize for Listening<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(serializer, 4, Id(row.command_id), Id(row.root_command_id), *row.key, row.created_at)
    }
}

/// An event, with the place of its key.
struct Publication<'a>(&'a Published, usize);

impl Serialize for Publication<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(row, key) = self;
        row!(serializer, 4, *row.event_id, *row.payload, row.published_at, key)
    }
}

pub(super) struct Outside<'a>(pub(super) &'a Task);

impl Serialize for Outside<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            8,
            Id(row.command_id),
            Id(row.root_command_id),
            row.position,
            *row.task,
            row.created_at,
            row.kept,
            row.ended_at,
            row.failure.as_deref(),
        )
    }
}

#[cfg(test)]
mod tests;
