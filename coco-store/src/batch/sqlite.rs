//! The statements of a batch for SQLite: one text for any number of rows, which come as one JSON
//! array of arrays. Identities are hexadecimal digits in it; but those that every command has are
//! bound as bytes beside it, which costs much less.
//!
//! What a row costs is mostly the columns that are taken out of the JSON, so `jsonb_each` (which
//! parses once) is used throughout, paths are written out (of an index SQLite makes one for every
//! row), and columns that no row of the batch has are not sent.

pub(crate) mod inbox;
mod locks;
mod rows;
mod statements;

use coco_core::CommandId;
use coco_core::entity::{CommandEntity, Progress};
use coco_core::lock::WaitingRequest;

use self::inbox::{
    CHECK_EVENTS, DELETE_DELIVERIES, DELETE_SUBSCRIPTIONS, HANDLE, INSERT_SUBSCRIPTIONS,
    INSERT_TASKS, KEEP_TASKS, Listening, Outside, PUBLISH, READ_DELIVERED, READ_LISTENING,
    UPDATE_TASKS,
};
use self::locks::{
    DELETE_LOCKS, DELETE_ONE_LOCK, DELETE_WAITERS, Held, INSERT_LOCKS, INSERT_WAITERS, READ_HELD,
    READ_HOLDERS, READ_LINE, READ_TREES, Waiter,
};
use self::rows::{
    Answer, Audited, Command, End, Id, Once, Registered, Slept, Start, Update, array, bytes,
};
pub(crate) use self::statements::BEGIN;
use self::statements::{
    INSERT_ANSWERS, INSERT_AUDIT, INSERT_COMMANDS, INSERT_COMPENSATIONS, INSERT_ONCE_RESULTS,
    INSERT_SLEEPS, INSERT_STARTS, READ_TAKEN_KEYS, RELEASE, UPDATE_COMMANDS, UPDATE_COMPENSATED,
    UPDATE_ENDS, UPDATE_UNDONE,
};
use super::Plan;
use super::inbox::{Audience, InboxChanges};
use super::locks::Interest;
use crate::backend::{Bound, Dialect, Statement};
use crate::error::WriteError;
use crate::sqlite::Sqlite;

/// What a statement binds, in this order.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// JSON arrays of rows.
    pub(crate) rows: Vec<String>,
    /// The identities in the rows that are not in the JSON.
    pub(crate) identities: Option<Vec<u8>>,
}

/// None for no rows.
fn bound(sql: &'static str, rows: Option<String>) -> Option<Bound<Values>> {
    rows.map(|rows| Bound::new(sql, Values { rows: vec![rows], identities: None }))
}

fn with<const N: usize>(
    mut bound: Bound<Values>,
    identities: impl ExactSizeIterator<Item = [CommandId; N]>,
) -> Bound<Values> {
    bound.values.identities = Some(bytes(identities));
    bound
}

fn of_commands(sql: &'static str, commands: impl Iterator<Item = CommandId>) -> Statement<Values> {
    Ok(bound(sql, array(commands.map(Id))?))
}

fn events(sql: &'static str, audience: &Audience<'_, '_>) -> Statement<Values> {
    let (keys, events) = (inbox::keys(audience.keys())?, inbox::events(audience.events())?);
    let rows: Vec<_> = keys.into_iter().chain(events).collect();
    Ok((!rows.is_empty()).then(|| Bound::new(sql, Values { rows, identities: None })))
}

impl Dialect for Sqlite {
    type Values = Values;

    fn writes(&self, plan: &Plan<'_, '_>) -> Result<Vec<Bound<Values>>, WriteError> {
        let mut statements = Vec::new();
        let mut add = |bound: Option<Bound<Values>>| statements.extend(bound);
        add(bound(DELETE_LOCKS, array(plan.locks.released().map(Id))?));
        let ones = plan.locks.released_ones().map(|(owner, group, key)| (Id(*owner), group, key));
        add(bound(DELETE_ONE_LOCK, array(ones)?));
        let left = plan.locks.left().map(|(owner, number)| (Id(owner), number));
        add(bound(DELETE_WAITERS, array(left)?));
        let updated = plan.updates.iter().map(|(id, _)| [*id]);
        let updates = plan.updates.iter().map(|(_, progress)| &**progress);
        let updates = if updates.clone().all(is_end) {
            bound(UPDATE_ENDS, array(updates.map(End))?)
        } else {
            bound(UPDATE_COMMANDS, array(updates.map(Update))?)
        };
        add(updates.map(|bound| with(bound, updated).touching(plan.updates.len())));
        let compensated = plan.compensated.iter().map(|(id, at)| (Id(*id), at));
        let compensated = bound(UPDATE_COMPENSATED, array(compensated)?);
        add(compensated.map(|bound| bound.touching(plan.compensated.len())));
        let undone = plan.undone.iter().map(|((id, position), at)| (Id(*id), position, at));
        let undone = bound(UPDATE_UNDONE, array(undone)?);
        add(undone.map(|bound| bound.touching(plan.undone.len())));
        let ended = plan.tasks_ended.iter().map(|((id, position), (at, failure))| {
            (Id(*id), position, at, failure.map(AsRef::<str>::as_ref))
        });
        let ended = bound(UPDATE_TASKS, array(ended)?);
        add(ended.map(|bound| bound.touching(plan.tasks_ended.len())));
        let kept = plan.tasks_kept.iter().map(|(id, position)| (Id(*id), position));
        let kept = bound(KEEP_TASKS, array(kept)?);
        add(kept.map(|bound| bound.touching(plan.tasks_kept.len())));
        let inserts = plan.inserts.iter().map(|entity| &**entity);
        let inserted = inserts.clone().map(|row| {
            let parent = row.parent_command_id.unwrap_or(row.command_id);
            [row.command_id, parent, row.root_command_id]
        });
        let inserts = if inserts.clone().all(is_start) {
            bound(INSERT_STARTS, array(inserts.map(Start))?)
        } else {
            bound(INSERT_COMMANDS, array(inserts.map(Command))?)
        };
        add(inserts.map(|bound| with(bound, inserted)));
        add(bound(INSERT_LOCKS, array(plan.locks.granted().map(Held))?));
        add(bound(INSERT_WAITERS, array(plan.locks.joined().flat_map(Waiter::of))?));
        add(if plan.once_results.iter().all(|result| result.lock.is_none()) {
            let results = plan.once_results.iter().map(|result| Once(result));
            bound(INSERT_ONCE_RESULTS, array(results)?)
        } else {
            let answers = plan.once_results.iter().map(|result| Answer(result));
            bound(INSERT_ANSWERS, array(answers)?)
        });
        add(bound(INSERT_SLEEPS, array(plan.sleeps.iter().map(|sleep| Slept(sleep)))?));
        let registered = plan.registered.iter().map(|entry| Registered(entry));
        add(bound(INSERT_COMPENSATIONS, array(registered)?));
        let subscriptions = plan.subscriptions.iter().map(|subscription| Listening(subscription));
        add(bound(INSERT_SUBSCRIPTIONS, array(subscriptions)?));
        add(bound(INSERT_TASKS, array(plan.tasks.iter().map(|task| Outside(task)))?));
        add(bound(INSERT_AUDIT, array(plan.audit.iter().map(|entry| Audited(entry)))?));
        Ok(statements)
    }

    fn turn() -> Result<Vec<Bound<Values>>, WriteError> {
        Ok(Vec::new())
    }

    fn taken_keys<'k>(keys: impl Iterator<Item = &'k str>) -> Statement<Values> {
        Ok(bound(READ_TAKEN_KEYS, array(keys)?))
    }

    fn line(interest: &Interest<'_>) -> Statement<Values> {
        if interest.is_empty() {
            return Ok(None);
        }
        let rows = locks::line(interest)?.into();
        Ok(Some(Bound::new(READ_LINE, Values { rows, identities: None })))
    }

    fn holders(
        interest: &Interest<'_>,
        waiting: &[WaitingRequest],
        is_line: bool,
    ) -> Statement<Values> {
        let rows = locks::holders(interest, waiting, is_line)?;
        let values = |rows: [String; 2]| Values { rows: rows.into(), identities: None };
        Ok(rows.map(|rows| Bound::new(READ_HOLDERS, values(rows))))
    }

    fn held(commands: impl Iterator<Item = CommandId>) -> Statement<Values> {
        of_commands(READ_HELD, commands)
    }

    fn trees(roots: impl Iterator<Item = CommandId>) -> Statement<Values> {
        of_commands(READ_TREES, roots)
    }

    fn listening(audience: &Audience<'_, '_>) -> Statement<Values> {
        Ok(bound(READ_LISTENING, inbox::keys(audience.keys())?))
    }

    fn publish(audience: &Audience<'_, '_>) -> Statement<Values> {
        events(PUBLISH, audience)
    }

    fn delivered_after(newest: i64) -> Statement<Values> {
        Ok(bound(READ_DELIVERED, array([newest].into_iter())?))
    }

    fn check_events(audience: &Audience<'_, '_>) -> Statement<Values> {
        events(CHECK_EVENTS, audience)
    }

    fn forget(changes: &InboxChanges<'_>) -> Result<Vec<Bound<Values>>, WriteError> {
        let unsubscribed = of_commands(DELETE_SUBSCRIPTIONS, changes.unsubscribed.iter().copied())?;
        let handled = bound(HANDLE, inbox::handled(changes)?);
        let deliveries = of_commands(DELETE_DELIVERIES, changes.unsubscribed.iter().copied())?;
        Ok([handled, unsubscribed, deliveries].into_iter().flatten().collect())
    }

    fn release(&self, clean: bool) -> Statement<Values> {
        Ok(bound(RELEASE, array([clean].into_iter())?))
    }

    fn beat(&self) -> Statement<Values> {
        Ok(None)
    }
}

/// Whether a new row has nothing that only comes later: `INSERT_STARTS` writes it.
///
/// Every column is named, so that a new one cannot be forgotten; in `is_end` as well.
const fn is_start(entity: &CommandEntity) -> bool {
    matches!(
        entity,
        CommandEntity {
            command_id: _,
            command_type: _,
            parent_command_id: _,
            root_command_id: _,
            position: _,
            command_parameters: _,
            created_at: _,
            callback_enabled: _,
            submit_key: None,
            resubmit_of: None,
            retry: None,
            progress: Progress {
                status: _,
                stuck_from: None,
                stuck_reason: None,
                executed: false,
                callback_notified: false,
                attempt: _,
                hook_attempt: 0,
                started_at: None,
                wake_at: None,
                cancelled: None,
                seen: None,
                undo: None,
                compensated_at: None,
                state: None,
                return_value: None,
                failure: None,
                end_order: None,
                ended_at: None,
                deaths: 0,
                deaths_end_order: 0,
            },
        }
    )
}

/// Whether an update says no more than how a command starts, goes on and ends well: `UPDATE_ENDS`.
const fn is_end(progress: &Progress) -> bool {
    matches!(
        progress,
        Progress {
            status: _,
            stuck_from: None,
            stuck_reason: None,
            executed: _,
            callback_notified: _,
            attempt: _,
            hook_attempt: 0,
            started_at: None,
            wake_at: None,
            cancelled: None,
            seen: None,
            undo: None,
            compensated_at: None,
            state: None,
            return_value: _,
            failure: None,
            end_order: _,
            ended_at: _,
            deaths: 0,
            deaths_end_order: 0,
        }
    )
}

#[cfg(test)]
mod tests {
    use sea_orm::sqlx::{self, AssertSqlSafe, Row};

    use super::*;
    use crate::options::{Database, Options};

    #[tokio::test]
    async fn rows_are_found_by_an_index() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("coco.db");
        crate::SeaOrmStore::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let mut writer =
            Database::create(&path, Options::default()).unwrap().writer().await.unwrap();
        let (_, fence) = BEGIN.split_once("; ").unwrap();
        for sql in [
            fence,
            READ_HOLDERS,
            READ_HELD,
            READ_LINE,
            READ_TREES,
            DELETE_LOCKS,
            DELETE_ONE_LOCK,
            DELETE_WAITERS,
            READ_TAKEN_KEYS,
            UPDATE_ENDS,
            UPDATE_COMMANDS,
            UPDATE_COMPENSATED,
            UPDATE_UNDONE,
            UPDATE_TASKS,
            READ_LISTENING,
            PUBLISH,
            READ_DELIVERED,
            HANDLE,
            DELETE_SUBSCRIPTIONS,
            DELETE_DELIVERIES,
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let plan = sqlx::query(explain).bind("[]").fetch_all(&mut writer).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            let found = plan.iter().any(|detail| detail.starts_with("SEARCH"));
            // What a part of the statement has found may be scanned, and what is bound.
            let scanned = plan.iter().find(|detail| {
                let name = detail.strip_prefix("SCAN ");
                let is_found = |name: &str| sql.contains(&format!("\n{name}("));
                name.is_some_and(|name| !is_found(name) && !name.contains("VIRTUAL TABLE"))
            });
            assert!(found && scanned.is_none(), "{sql}: {plan:#?}");
        }
    }
}
