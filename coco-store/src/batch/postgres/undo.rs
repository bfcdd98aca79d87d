//! What undoes commands, and what was undone.

use coco_core::Timestamp;
use sea_orm::sqlx::postgres::PgArguments;

use super::{Statement, bound, uuid};
use crate::batch::Plan;

const UPDATE_COMPENSATED: &str = "\
UPDATE command_entities AS command SET compensated_at = undone.at \
FROM unnest($1::uuid[], $2::bigint[]) AS undone(command_id, at) \
WHERE command.command_id = undone.command_id";

const UPDATE_UNDONE: &str = "\
UPDATE compensations AS entry SET compensated_at = undone.at \
FROM unnest($1::uuid[], $2::int[], $3::bigint[]) AS undone(command_id, place, at) \
WHERE entry.command_id = undone.command_id AND entry.position = undone.place";

const INSERT_COMPENSATIONS: &str = "\
INSERT INTO compensations (\
command_id, root_command_id, position, command_type, command_parameters, end_order, created_at, \
compensated_at) \
SELECT * FROM unnest(\
$1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], \
$8::bigint[])";

pub(super) fn compensated(plan: &Plan<'_, '_>) -> Statement {
    let bound =
        bound!(UPDATE_COMPENSATED, plan.compensated.iter(), |(id, at)| uuid(**id), at.as_micros(),);
    Ok(bound.map(|bound| bound.touching(plan.compensated.len())))
}

pub(super) fn undone(plan: &Plan<'_, '_>) -> Statement {
    let bound = bound!(
        UPDATE_UNDONE,
        plan.undone.iter(),
        |((id, position), at)| uuid(*id),
        *position,
        at.as_micros(),
    );
    Ok(bound.map(|bound| bound.touching(plan.undone.len())))
}

pub(super) fn register(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        INSERT_COMPENSATIONS,
        plan.registered.iter(),
        |row| uuid(row.command_id),
        uuid(row.root_command_id),
        row.position,
        &*row.command_type,
        &*row.command_parameters,
        row.end_order,
        row.created_at.as_micros(),
        row.compensated_at.map(Timestamp::as_micros),
    ))
}
