//! Commands, the results of their steps, and who owns them.

use coco_core::Timestamp;
use coco_core::entity::Undo;
use sea_orm::sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::{Statement, bound, uuid};
use crate::batch::Plan;

pub(super) const READ_TAKEN_KEYS: &str = "\
SELECT submit_key, command_id FROM command_entities WHERE submit_key = ANY($1::text[])";

pub(super) const RELEASE: &str = "\
UPDATE engines SET released = true, clean = leaves.clean \
FROM unnest($1::uuid[], $2::boolean[]) AS leaves(engine_id, clean) \
WHERE engines.engine_id = leaves.engine_id";

pub(super) const BEAT: &str = "\
UPDATE engines SET heartbeat = heartbeat + 1 WHERE engine_id = ANY($1::uuid[])";

const INSERT_COMMANDS: &str = "\
INSERT INTO command_entities (\
command_id, command_type, parent_command_id, root_command_id, position, command_parameters, \
created_at, callback_enabled, submit_key, resubmit_of, retry, status, stuck_from, stuck_reason, \
executed, callback_notified, attempt, hook_attempt, started_at, wake_at, cancelled, seen, undo, \
compensated_at, state, return_value, failure, end_order, ended_at, deaths, deaths_end_order, \
engine_id) \
SELECT * FROM unnest(\
$1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::int[], $6::text[], \
$7::bigint[], $8::boolean[], $9::text[], $10::uuid[], $11::text[], $12::text[], $13::text[], \
$14::text[], $15::boolean[], $16::boolean[], $17::int[], $18::int[], $19::bigint[], \
$20::bigint[], $21::text[], $22::bigint[], $23::text[], $24::bigint[], $25::text[], $26::text[], \
$27::text[], $28::bigint[], $29::bigint[], $30::int[], $31::bigint[], $32::uuid[])";

const UPDATE_COMMANDS: &str = "\
UPDATE command_entities AS command SET \
status = change.status, attempt = change.attempt, executed = change.executed, \
callback_notified = change.callback_notified, \
return_value = coalesce(change.return_value, command.return_value), \
end_order = coalesce(change.end_order, command.end_order), \
ended_at = coalesce(change.ended_at, command.ended_at), \
started_at = coalesce(change.started_at, command.started_at), \
state = coalesce(change.state, command.state), \
failure = coalesce(change.failure, command.failure), \
cancelled = coalesce(change.cancelled, command.cancelled), \
undo = coalesce(change.undo, command.undo), \
compensated_at = coalesce(change.compensated_at, command.compensated_at), \
stuck_from = change.stuck_from, stuck_reason = change.stuck_reason, \
hook_attempt = change.hook_attempt, wake_at = change.wake_at, deaths = change.deaths, \
deaths_end_order = change.deaths_end_order, seen = coalesce(change.seen, command.seen) \
FROM unnest(\
$1::uuid[], $2::text[], $3::int[], $4::boolean[], $5::boolean[], $6::text[], $7::bigint[], \
$8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], \
$15::text[], $16::text[], $17::int[], $18::bigint[], $19::int[], $20::bigint[], $21::bigint[]) \
AS change(\
command_id, status, attempt, executed, callback_notified, return_value, end_order, ended_at, \
started_at, state, failure, cancelled, undo, compensated_at, stuck_from, stuck_reason, \
hook_attempt, wake_at, deaths, deaths_end_order, seen) \
WHERE command.command_id = change.command_id";

const INSERT_ONCE_RESULTS: &str = "\
INSERT INTO once_results (\
command_id, root_command_id, position, name, end_order, ended_at, return_value, failure, lock) \
SELECT * FROM unnest(\
$1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], \
$9::text[])";

const INSERT_SLEEPS: &str = "\
INSERT INTO sleeps (command_id, root_command_id, position, micros, wake_at) \
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::bigint[])";

/// The identities grow with the rows.
const INSERT_AUDIT: &str = "\
INSERT INTO audit (at, action, command_id, root_command_id, status, reason, linked) \
SELECT entry.at, entry.action, entry.command_id, entry.root_command_id, entry.status, \
entry.reason, entry.linked \
FROM unnest(\
$1::bigint[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::uuid[]) \
WITH ORDINALITY \
AS entry(at, action, command_id, root_command_id, status, reason, linked, place) \
ORDER BY entry.place";

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// A root belongs to the engine that stores it.
pub(super) fn insert(plan: &Plan<'_, '_>, engine: Uuid) -> Statement {
    Ok(bound!(
        INSERT_COMMANDS,
        plan.inserts.iter(),
        |row| uuid(row.command_id),
        &*row.command_type,
        row.parent_command_id.map(uuid),
        uuid(row.root_command_id),
        row.position,
        &*row.command_parameters,
        row.created_at.as_micros(),
        row.callback_enabled,
        row.submit_key.as_deref(),
        row.resubmit_of.map(uuid),
        row.retry.as_deref(),
        row.progress.status.as_str(),
        row.progress.stuck_from.map(|status| status.as_str()),
        row.progress.stuck_reason.as_deref(),
        row.progress.executed,
        row.progress.callback_notified,
        row.progress.attempt,
        row.progress.hook_attempt,
        micros(row.progress.started_at),
        micros(row.progress.wake_at),
        row.progress.cancelled.as_deref(),
        row.progress.seen,
        row.progress.undo.map(Undo::as_str),
        micros(row.progress.compensated_at),
        row.progress.state.as_deref(),
        row.progress.return_value.as_deref(),
        row.progress.failure.as_deref(),
        row.progress.end_order,
        micros(row.progress.ended_at),
        row.progress.deaths,
        row.progress.deaths_end_order,
        row.parent_command_id.is_none().then_some(engine),
    ))
}

pub(super) fn update(plan: &Plan<'_, '_>) -> Statement {
    let bound = bound!(
        UPDATE_COMMANDS,
        plan.updates.iter(),
        |(id, row)| uuid(*id),
        row.status.as_str(),
        row.attempt,
        row.executed,
        row.callback_notified,
        row.return_value.as_deref(),
        row.end_order,
        micros(row.ended_at),
        micros(row.started_at),
        row.state.as_deref(),
        row.failure.as_deref(),
        row.cancelled.as_deref(),
        row.undo.map(Undo::as_str),
        micros(row.compensated_at),
        row.stuck_from.map(|status| status.as_str()),
        row.stuck_reason.as_deref(),
        row.hook_attempt,
        micros(row.wake_at),
        row.deaths,
        row.deaths_end_order,
        row.seen,
    );
    Ok(bound.map(|bound| bound.touching(plan.updates.len())))
}

pub(super) fn insert_once_results(plan: &Plan<'_, '_>) -> Statement {
    let mut rows = Vec::with_capacity(plan.once_results.len());
    for row in &plan.once_results {
        rows.push((row, row.lock.as_ref().map(serde_json::to_string).transpose()?));
    }
    Ok(bound!(
        INSERT_ONCE_RESULTS,
        rows.iter(),
        |(row, lock)| uuid(row.command_id),
        uuid(row.root_command_id),
        row.position,
        &*row.name,
        row.end_order,
        row.ended_at.as_micros(),
        row.return_value.as_deref(),
        row.failure.as_deref(),
        lock.as_deref(),
    ))
}

pub(super) fn insert_sleeps(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        INSERT_SLEEPS,
        plan.sleeps.iter(),
        |row| uuid(row.command_id),
        uuid(row.root_command_id),
        row.position,
        row.micros,
        row.wake_at.as_micros(),
    ))
}

pub(super) fn insert_audit(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        INSERT_AUDIT,
        plan.audit.iter(),
        |row| row.at.as_micros(),
        &*row.action,
        uuid(row.command_id),
        uuid(row.root_command_id),
        row.status.as_str(),
        &*row.reason,
        row.linked.map(uuid),
    ))
}
