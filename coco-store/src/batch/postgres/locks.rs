//! The statements about locks. They find what [`LockTable`](coco_core::lock::LockTable) says that a
//! decision depends on; nothing is decided here.

use coco_core::CommandId;
use coco_core::Timestamp;
use coco_core::lock::WaitingRequest;
use sea_orm::sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::{Bound, Statement, bind, bound, uuid};
use crate::ancestors;
use crate::batch::Plan;
use crate::batch::locks::{Interest, wanted};

/// One engine at a time decides about locks, in each schema: the table of the locks stands for it.
pub(super) const TURN: &str =
    "SELECT pg_advisory_xact_lock(1668243311, 'command_locks'::regclass::oid::int)";

/// What was in line before the turn was taken is seen: it is a statement of its own.
pub(super) const LAST_RANK: &str =
    "SELECT max(place) AS last_rank FROM lock_waiters WHERE place < 4611686018427387904";

pub(super) const READ_LINE: &str = include_str!("read_line.sql");

pub(super) const READ_TREES: &str = include_str!("read_trees.sql");

/// Who holds these keys. Of one that is only asked for shared: who holds it in another mode, and of
/// those who share it the ones who ask, and their ancestors (`$4` and `$5`). And all that the
/// commands of `$6` hold.
const READ_HOLDERS: &str = "\
WITH asked AS (\
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[]) WITH ORDINALITY \
AS asked(lock_group, lock_key, counts_all, place)) \
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.ancestors, \
held.mode, held.since \
FROM asked JOIN command_locks AS held \
ON held.lock_group = asked.lock_group AND held.lock_key = asked.lock_key \
WHERE asked.counts_all OR held.mode <> 'shared' \
UNION ALL \
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.ancestors, \
held.mode, held.since \
FROM asked JOIN unnest($4::bigint[], $5::uuid[]) AS own(place, command_id) \
ON own.place = asked.place \
JOIN command_locks AS held \
ON held.lock_group = asked.lock_group AND held.lock_key = asked.lock_key \
AND held.command_id = own.command_id AND held.mode = 'shared' \
UNION ALL \
SELECT lock_group, lock_key, command_id, command_type, ancestors, mode, since \
FROM command_locks WHERE command_id = ANY($6::uuid[])";

/// What these commands hold.
pub(super) const READ_HELD: &str = "\
SELECT lock_group, lock_key, command_id, command_type, ancestors, mode, since \
FROM command_locks WHERE command_id = ANY($1::uuid[])";

const DELETE_LOCKS: &str = "DELETE FROM command_locks WHERE command_id = ANY($1::uuid[])";

const DELETE_ONE_LOCK: &str = "\
DELETE FROM command_locks AS held \
USING unnest($1::uuid[], $2::text[], $3::text[]) AS gone(command_id, lock_group, lock_key) \
WHERE held.lock_group = gone.lock_group AND held.lock_key = gone.lock_key \
AND held.command_id = gone.command_id";

/// Without a number, all of the command.
const DELETE_WAITERS: &str = "\
DELETE FROM lock_waiters AS waiter \
USING unnest($1::uuid[], $2::int[]) AS gone(command_id, number) \
WHERE waiter.command_id = gone.command_id \
AND coalesce(gone.number, waiter.number) = waiter.number";

const INSERT_LOCKS: &str = "\
INSERT INTO command_locks (\
lock_group, lock_key, command_id, root_command_id, command_type, ancestors, mode, since) \
SELECT * FROM unnest(\
$1::text[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::bigint[]) \
ON CONFLICT (lock_group, lock_key, command_id) \
DO UPDATE SET since = least(command_locks.since, excluded.since), \
mode = CASE excluded.mode WHEN 'exclusive' THEN excluded.mode ELSE command_locks.mode END";

const INSERT_WAITERS: &str = "\
INSERT INTO lock_waiters (\
command_id, number, lock_group, lock_key, position, place, root_command_id, command_type, \
ancestors, mode, since, until) \
SELECT * FROM unnest(\
$1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::bigint[], $7::uuid[], $8::text[], \
$9::text[], $10::text[], $11::bigint[], $12::bigint[])";

pub(super) fn line(interest: &Interest<'_>) -> Statement {
    if interest.is_empty() {
        return Ok(None);
    }
    let (groups, keys): (Vec<_>, Vec<_>) = interest.keys().into_iter().unzip();
    let ids = |ids: &std::collections::BTreeSet<CommandId>| ids.iter().copied().map(uuid).collect();
    let (touched, roots): (Vec<Uuid>, Vec<Uuid>) = (ids(&interest.touched), ids(&interest.roots));
    let mut arguments = PgArguments::default();
    bind(&mut arguments, touched)?;
    bind(&mut arguments, groups)?;
    bind(&mut arguments, keys)?;
    bind(&mut arguments, roots)?;
    Ok(Some(Bound::new(READ_LINE, arguments)))
}

pub(super) fn holders(
    interest: &Interest<'_>,
    waiting: &[WaitingRequest],
    is_line: bool,
) -> Statement {
    let keys = wanted(interest, waiting);
    let Some(mut bound) =
        bound!(READ_HOLDERS, keys.iter(), |key| key.group, key.key, key.counts_all)
    else {
        return Ok(None);
    };
    let own = (1_i64..).zip(&keys).flat_map(|(place, key)| key.own().map(move |id| (place, id)));
    let (places, owners): (Vec<_>, Vec<_>) = own.map(|(place, id)| (place, uuid(id))).unzip();
    let starting = interest.starting.iter().filter(|_| is_line).copied().map(uuid);
    bind(&mut bound.values, places)?;
    bind(&mut bound.values, owners)?;
    bind(&mut bound.values, starting.collect::<Vec<_>>())?;
    Ok(Some(bound))
}

pub(super) fn delete(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(DELETE_LOCKS, plan.locks.released(), |owner| uuid(*owner)))
}

pub(super) fn delete_ones(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        DELETE_ONE_LOCK,
        plan.locks.released_ones(),
        |(owner, group, key)| uuid(*owner),
        group.as_str(),
        key.as_str(),
    ))
}

pub(super) fn delete_waiters(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(DELETE_WAITERS, plan.locks.left(), |(owner, number)| uuid(*owner), *number))
}

pub(super) fn insert(plan: &Plan<'_, '_>) -> Statement {
    Ok(bound!(
        INSERT_LOCKS,
        plan.locks.granted(),
        |held| &*held.lock.group,
        held.lock.key.as_str(),
        uuid(held.owner),
        uuid(held.root()),
        &*held.command_type,
        ancestors::text(&held.ancestors),
        held.lock.mode.as_str(),
        held.since.as_micros(),
    ))
}

pub(super) fn insert_waiters(plan: &Plan<'_, '_>) -> Statement {
    let rows = plan.locks.joined().flat_map(|waiting| {
        let locks = (0_i32..).zip(&waiting.request.locks);
        locks.map(move |(position, lock)| (waiting, position, lock))
    });
    Ok(bound!(
        INSERT_WAITERS,
        rows,
        |(waiting, position, lock)| uuid(waiting.request.owner),
        waiting.request.number,
        &*lock.group,
        lock.key.as_str(),
        *position,
        waiting.rank,
        uuid(waiting.request.root()),
        &*waiting.request.command_type,
        ancestors::text(&waiting.request.ancestors),
        lock.mode.as_str(),
        waiting.request.at.as_micros(),
        waiting.request.until.map(Timestamp::as_micros),
    ))
}
