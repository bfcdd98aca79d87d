//! Rows of locks as they decide a batch.

use std::fmt::Display;
use std::sync::Arc;

use coco_core::lock::{HeldLock, Lock, LockMode, LockRequest};
use coco_core::{CommandId, Timestamp};
use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use crate::ancestors;
use crate::batch::locks::Waiter;

/// No store gives it out as a rank, nor what is more.
const NO_RANK: i64 = 1 << 62;

/// In the place of a number that cannot be read.
pub(super) const NO_NUMBER: i32 = i32::MIN;

pub(super) fn held_lock(row: &QueryResult) -> Result<HeldLock, DbErr> {
    Ok(HeldLock {
        owner: command_id(row)?,
        command_type: row.try_get_by::<String, _>("command_type")?.into(),
        ancestors: ancestors_of(row)?,
        lock: lock(row)?,
        since: Timestamp::from_micros(row.try_get_by("since")?),
    })
}

/// Which key it is that somebody holds.
pub(super) fn key(row: &QueryResult) -> Result<(String, String), DbErr> {
    Ok((row.try_get_by("lock_group")?, row.try_get_by("lock_key")?))
}

/// A row of the line.
///
/// # Errors
/// It has no rank.
pub(super) fn waiter(row: &QueryResult) -> Result<Waiter, DbErr> {
    let rank = row
        .try_get_by("place")
        .or_else(|_| row.try_get_by("place").map(|place: f64| place as i64))?;
    if rank >= NO_RANK {
        return Err(misfit("place", "it is no rank in a line"));
    }
    let request = LockRequest {
        owner: command_id(row).unwrap_or(CommandId::from_uuid(Uuid::nil())),
        number: row.try_get_by("number").unwrap_or(NO_NUMBER),
        command_type: "".into(),
        ancestors: Vec::new(),
        locks: Vec::new(),
        at: Timestamp::from_micros(0),
        waits: true,
        until: None,
    };
    Ok(whole(row, rank).unwrap_or_else(|error| {
        let (command, number) = (request.owner, request.number);
        let reason = "a request for a lock cannot be read, and keeps its rank in line";
        tracing::error!(%command, number, %error, reason);
        let lock = key(row).map(|(group, key)| Lock {
            group: group.into(),
            key,
            mode: LockMode::Exclusive,
        });
        Waiter { rank, position: i32::MAX, request, lock: lock.ok(), is_sound: false }
    }))
}

fn whole(row: &QueryResult, rank: i64) -> Result<Waiter, DbErr> {
    let request = LockRequest {
        owner: command_id(row)?,
        number: row.try_get_by("number")?,
        command_type: row.try_get_by::<String, _>("command_type")?.into(),
        ancestors: ancestors_of(row)?,
        locks: Vec::new(),
        at: Timestamp::from_micros(row.try_get_by("since")?),
        waits: true,
        until: row.try_get_by::<Option<i64>, _>("until")?.map(Timestamp::from_micros),
    };
    Ok(Waiter {
        rank,
        position: row.try_get_by("position")?,
        request,
        lock: Some(lock(row)?),
        is_sound: true,
    })
}

pub(super) fn command_id(row: &QueryResult) -> Result<CommandId, DbErr> {
    Ok(CommandId::from_uuid(row.try_get_by::<Uuid, _>("command_id")?))
}

fn ancestors_of(row: &QueryResult) -> Result<Vec<CommandId>, DbErr> {
    let text: String = row.try_get_by("ancestors")?;
    ancestors::parse(&text).map_err(|error| misfit("ancestors", error))
}

fn lock(row: &QueryResult) -> Result<Lock, DbErr> {
    let (group, key) = key(row)?;
    let mode: String = row.try_get_by("mode")?;
    let mode = mode.parse().unwrap_or(LockMode::Exclusive);
    Ok(Lock { group: group.into(), key, mode })
}

fn misfit(column: &str, reason: impl Display) -> DbErr {
    DbErr::Type(format!("`{column}`: {reason}"))
}

pub(super) fn taken_key(row: &QueryResult) -> Result<(Arc<str>, CommandId), DbErr> {
    Ok((row.try_get_by::<String, _>("submit_key")?.into(), command_id(row)?))
}
