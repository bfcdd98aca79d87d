//! Events, who listens for them, and tasks outside.

use coco_core::Timestamp;
use coco_core::event::subscriptions_for;
use sea_orm::sqlx::postgres::PgArguments;

use super::{Bound, Statement, bind, bound, uuid};
use crate::batch::Plan;
use crate::batch::inbox::{Audience, InboxChanges};
use crate::error::WriteError;

/// Who listens already is known by its key.
const INSERT_SUBSCRIPTIONS: &str = "\
INSERT INTO event_subscriptions (command_id, root_command_id, event_key, created_at) \
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) \
ON CONFLICT (command_id, event_key) DO NOTHING";

/// Each key has the subscriptions with it that match: so they are looked up one by one, however many
/// there are, and once for all events with that key.
const READ_LISTENING: &str = "\
SELECT asked.place AS key, listening.command_id, listening.root_command_id, 0::bigint AS newest \
FROM unnest($1::bigint[], $2::text[]) AS asked(place, event_key) \
JOIN event_subscriptions AS listening ON listening.event_key = asked.event_key";

/// `$1` to `$5` are the events, with the places of their keys; `$6` to `$8` who listens.
const PUBLISH: &str = "\
INSERT INTO event_deliveries (\
command_id, root_command_id, event_id, event_key, payload, published_at) \
SELECT listening.command_id, listening.root_command_id, event.event_id, event.event_key, \
event.payload, event.published_at \
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY \
AS event(event_id, event_key, payload, published_at, key, place) \
JOIN unnest($6::bigint[], $7::uuid[], $8::uuid[]) AS listening(key, command_id, root_command_id) \
ON listening.key = event.key \
ORDER BY event.place \
ON CONFLICT (command_id, event_id) DO NOTHING \
RETURNING command_id, root_command_id, event_id, event_key";

const CHECK_EVENTS: &str = "\
SELECT count(*) FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])";

const HANDLE: &str = "\
UPDATE event_deliveries AS delivery SET payload = NULL \
FROM unnest($1::uuid[], $2::bigint[]) AS heard(command_id, last) \
WHERE delivery.command_id = heard.command_id AND delivery.number <= heard.last \
AND delivery.payload IS NOT NULL";

const DELETE_SUBSCRIPTIONS: &str =
    "DELETE FROM event_subscriptions WHERE command_id = ANY($1::uuid[])";

const DELETE_DELIVERIES: &str = "DELETE FROM event_deliveries WHERE command_id = ANY($1::uuid[])";

const UPDATE_TASKS: &str = "\
UPDATE external_tasks AS task SET ended_at = change.at, failure = change.failure \
FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[]) \
AS change(command_id, place, at, failure) \
WHERE task.command_id = change.command_id AND task.position = change.place";

const KEEP_TASKS: &str = "\
UPDATE external_tasks AS task SET kept = true \
FROM unnest($1::uuid[], $2::int[]) AS change(command_id, place) \
WHERE task.command_id = change.command_id AND task.position = change.place";

const INSERT_TASKS: &str = "\
INSERT INTO external_tasks (\
command_id, root_command_id, position, task, created_at, kept, ended_at, failure) \
SELECT * FROM unnest(\
$1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::bigint[], $6::boolean[], $7::bigint[], \
$8::text[])";

pub(super) fn subscribe(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        INSERT_SUBSCRIPTIONS,
        plan.subscriptions.iter(),
        |row| uuid(row.command_id),
        uuid(row.root_command_id),
        &*row.key,
        row.created_at.as_micros(),
    ))
}

pub(super) fn listening(audience: &Audience<'_, '_>) -> Statement {
    let asked = (0_i64..).zip(audience.keys());
    let asked = asked
        .flat_map(|(place, key)| subscriptions_for(key).into_iter().map(move |it| (place, it)));
    Ok(bound!(READ_LISTENING, asked, |(place, key)| *place, key.as_str()))
}

fn events(sql: &'static str, audience: &Audience<'_, '_>) -> Statement {
    Ok(bound!(
        sql,
        audience.events(),
        |(row, place)| &*row.event_id,
        &*row.key,
        &*row.payload,
        row.published_at.as_micros(),
        *place as i64,
    ))
}

pub(super) fn publish(audience: &Audience<'_, '_>) -> Statement {
    let Some(mut bound) = events(PUBLISH, audience)? else { return Ok(None) };
    let (mut places, mut commands, mut roots) = (Vec::new(), Vec::new(), Vec::new());
    for (place, command, root) in audience.listening() {
        places.push(place as i64);
        commands.push(uuid(command));
        roots.push(uuid(root));
    }
    bind(&mut bound.values, places)?;
    bind(&mut bound.values, commands)?;
    bind(&mut bound.values, roots)?;
    Ok(Some(bound))
}

pub(super) fn check(audience: &Audience<'_, '_>) -> Statement {
    events(CHECK_EVENTS, audience)
}

pub(super) fn forget(changes: &InboxChanges<'_>) -> Result<Vec<Bound>, WriteError> {
    let gone = || changes.unsubscribed.iter();
    let statements = [
        bound!(HANDLE, changes.handled.iter(), |(command, last)| uuid(**command), **last),
        bound!(DELETE_SUBSCRIPTIONS, gone(), |command| uuid(**command)),
        bound!(DELETE_DELIVERIES, gone(), |command| uuid(**command)),
    ];
    Ok(statements.into_iter().flatten().collect())
}

pub(super) fn end_tasks(plan: &Plan<'_, '_>) -> Statement {
    let bound = bound!(
        UPDATE_TASKS,
        plan.tasks_ended.iter(),
        |((id, position), (at, failure))| uuid(*id),
        *position,
        at.as_micros(),
        failure.map(AsRef::<str>::as_ref),
    );
    Ok(bound.map(|bound| bound.touching(plan.tasks_ended.len())))
}

pub(super) fn keep_tasks(plan: &Plan<'_, '_>) -> Statement {
    let bound = bound!(KEEP_TASKS, plan.tasks_kept.iter(), |(id, position)| uuid(*id), *position);
    Ok(bound.map(|bound| bound.touching(plan.tasks_kept.len())))
}

pub(super) fn insert_tasks(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        INSERT_TASKS,
        plan.tasks.iter(),
        |row| uuid(row.command_id),
        uuid(row.root_command_id),
        row.position,
        &*row.task,
        row.created_at.as_micros(),
        row.kept,
        row.ended_at.map(Timestamp::as_micros),
        row.failure.as_deref(),
    ))
}
