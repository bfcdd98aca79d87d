//! Models as the rows that the core knows.

use coco_core::entity::{
    Audit, CommandEntity, Compensation, Delivery, OnceResult, Progress, Published, Sleep,
    Subscription, Task, Undo,
};
use coco_core::lock::{HeldLock, Lock, LockMode, LockRequest};
use coco_core::{CommandId, CommandStatus, Timestamp};
use serde::Deserialize;

use super::row::Misfit;
use crate::ancestors;
use crate::batch::locks::Waiter;
use crate::entity::{
    audit, command_entity, command_lock, compensation, event_delivery, event_subscription,
    external_task, lock_waiter, once_result, sleep,
};

pub(super) fn command(row: command_entity::Model) -> CommandEntity {
    CommandEntity {
        command_id: CommandId::from_uuid(row.command_id),
        command_type: row.command_type.into(),
        parent_command_id: row.parent_command_id.map(CommandId::from_uuid),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        command_parameters: row.command_parameters.into(),
        created_at: Timestamp::from_micros(row.created_at),
        callback_enabled: row.callback_enabled,
        submit_key: row.submit_key.map(Into::into),
        resubmit_of: row.resubmit_of.map(CommandId::from_uuid),
        retry: row.retry.map(Into::into),
        progress: Progress {
            status: status(&row.status),
            stuck_from: row.stuck_from.as_deref().map(status),
            stuck_reason: row.stuck_reason.map(Into::into),
            executed: row.executed,
            callback_notified: row.callback_notified,
            attempt: row.attempt,
            hook_attempt: row.hook_attempt,
            started_at: row.started_at.map(Timestamp::from_micros),
            seen: row.seen,
            wake_at: row.wake_at.map(Timestamp::from_micros),
            cancelled: row.cancelled.map(Into::into),
            undo: row.undo.as_deref().map(undo),
            compensated_at: row.compensated_at.map(Timestamp::from_micros),
            state: row.state.map(Into::into),
            return_value: row.return_value.map(Into::into),
            failure: row.failure.map(Into::into),
            end_order: row.end_order,
            ended_at: row.ended_at.map(Timestamp::from_micros),
            deaths: row.deaths,
            deaths_end_order: row.deaths_end_order,
        },
    }
}

pub(super) fn once(row: once_result::Model) -> Result<OnceResult, Misfit> {
    let lock = row.lock.as_deref().map(serde_json::from_str::<StoredLock>).transpose();
    let lock = lock.map_err(|error| Misfit { column: "lock", reason: error.to_string() })?;
    Ok(OnceResult {
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        name: row.name.into(),
        end_order: row.end_order,
        ended_at: Timestamp::from_micros(row.ended_at),
        return_value: row.return_value.map(Into::into),
        failure: row.failure.map(Into::into),
        lock: lock.map(|lock| Lock {
            group: lock.group.into(),
            key: lock.key,
            mode: mode(&lock.mode),
        }),
    })
}

/// A lock as JSON. A mode that is not known is the stronger one.
#[derive(Deserialize)]
struct StoredLock {
    group: String,
    key: String,
    mode: String,
}

pub(super) fn held(row: command_lock::Model) -> Result<HeldLock, Misfit> {
    Ok(HeldLock {
        owner: CommandId::from_uuid(row.command_id),
        command_type: row.command_type.into(),
        ancestors: ancestors_of(&row.ancestors)?,
        lock: Lock { group: row.lock_group.into(), key: row.lock_key, mode: mode(&row.mode) },
        since: Timestamp::from_micros(row.since),
    })
}

pub(super) fn waiter(row: lock_waiter::Model) -> Result<Waiter, Misfit> {
    let request = LockRequest {
        owner: CommandId::from_uuid(row.command_id),
        number: row.number,
        command_type: row.command_type.into(),
        ancestors: ancestors_of(&row.ancestors)?,
        locks: Vec::new(),
        at: Timestamp::from_micros(row.since),
        waits: true,
        until: row.until.map(Timestamp::from_micros),
    };
    let lock = Lock { group: row.lock_group.into(), key: row.lock_key, mode: mode(&row.mode) };
    Ok(Waiter {
        rank: row.place,
        position: row.position,
        request,
        lock: Some(lock),
        is_sound: true,
    })
}

pub(super) fn slept(row: &sleep::Model) -> Sleep {
    Sleep {
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        micros: row.micros,
        wake_at: Timestamp::from_micros(row.wake_at),
    }
}

pub(super) fn registered(row: compensation::Model) -> Compensation {
    Compensation {
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        command_type: row.command_type.into(),
        command_parameters: row.command_parameters.into(),
        end_order: row.end_order,
        created_at: Timestamp::from_micros(row.created_at),
        compensated_at: row.compensated_at.map(Timestamp::from_micros),
    }
}

pub(super) fn listening(row: event_subscription::Model) -> Subscription {
    Subscription {
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        key: row.event_key.into(),
        created_at: Timestamp::from_micros(row.created_at),
    }
}

pub(super) fn delivered(row: event_delivery::Model) -> Delivery {
    let event = Published {
        event_id: row.event_id.into(),
        key: row.event_key.into(),
        payload: row.payload.unwrap_or_default().into(),
        published_at: Timestamp::from_micros(row.published_at),
    };
    Delivery { number: row.number, event }
}

pub(super) fn outside(row: external_task::Model) -> Task {
    Task {
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        task: row.task.into(),
        created_at: Timestamp::from_micros(row.created_at),
        kept: row.kept,
        ended_at: row.ended_at.map(Timestamp::from_micros),
        failure: row.failure.map(Into::into),
    }
}

pub(super) fn audited(row: audit::Model) -> Audit {
    Audit {
        at: Timestamp::from_micros(row.at),
        action: row.action.into(),
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        status: status(&row.status),
        reason: row.reason.into(),
        linked: row.linked.map(CommandId::from_uuid),
    }
}

fn ancestors_of(text: &str) -> Result<Vec<CommandId>, Misfit> {
    let misfit = |error: uuid::Error| Misfit { column: "ancestors", reason: error.to_string() };
    ancestors::parse(text).map_err(misfit)
}

fn mode(text: &str) -> LockMode {
    let Ok(mode) = text.parse();
    mode
}

fn undo(text: &str) -> Undo {
    let Ok(undo) = text.parse();
    undo
}

fn status(text: &str) -> CommandStatus {
    text.parse().unwrap_or(CommandStatus::Unknown)
}
