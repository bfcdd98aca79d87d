//! The statements of a batch for SQLite: one text for any number of rows, which come as one JSON
//! array of arrays. Identities are hexadecimal digits in it.
//!
//! What a row costs is mostly the columns that are taken out of the JSON, so `jsonb_each` (which
//! parses once) is used throughout, and columns that no row of the batch has are not sent.

mod locks;
mod rows;
mod statements;

use coco_core::entity::{CommandEntity, Progress};

use self::locks::{
    DELETE_LOCKS, DELETE_ONE_LOCK, DELETE_WAITERS, Held, INSERT_LOCKS, INSERT_WAITERS, Waiter,
};
pub(crate) use self::locks::{READ_HELD, READ_HOLDERS, READ_LINE, READ_TREES, holders, line};
use self::rows::{Answer, Audited, Command, End, Once, Registered, Slept, Start, Update};
pub(crate) use self::rows::{Id, array};
pub(crate) use self::statements::{BEGIN, FENCE, READ_TAKEN_KEYS};
use self::statements::{
    INSERT_ANSWERS, INSERT_AUDIT, INSERT_COMMANDS, INSERT_COMPENSATIONS, INSERT_ONCE_RESULTS,
    INSERT_SLEEPS, INSERT_STARTS, UPDATE_COMMANDS, UPDATE_COMPENSATED, UPDATE_ENDS, UPDATE_UNDONE,
};
use super::Plan;

/// A statement and the JSON array of its rows.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) sql: &'static str,
    pub(crate) rows: String,
    /// How many rows it must touch, where less would be an error.
    pub(crate) touches: Option<u64>,
}

/// The statements that write `plan`, in their order; none for what it does not have. What is
/// changed was stored before the batch, so it is changed before anything is inserted.
pub(crate) fn statements(plan: &Plan<'_, '_>) -> Result<Vec<Bound>, serde_json::Error> {
    let mut statements = Vec::new();
    let mut add = |sql, rows: Option<String>, touches| {
        statements.extend(rows.map(|rows| Bound { sql, rows, touches }));
    };
    add(DELETE_LOCKS, array(plan.locks.released().map(Id))?, None);
    let ones = plan.locks.released_ones().map(|(owner, group, key)| (Id(*owner), group, key));
    add(DELETE_ONE_LOCK, array(ones)?, None);
    let left = plan.locks.left().map(|(owner, number)| (Id(owner), number));
    add(DELETE_WAITERS, array(left)?, None);
    let touches = Some(plan.updates.len() as u64);
    if plan.updates.iter().all(|(_, progress)| is_end(progress)) {
        let ends = plan.updates.iter().map(|(id, progress)| End(*id, progress));
        add(UPDATE_ENDS, array(ends)?, touches);
    } else {
        let updates = plan.updates.iter().map(|(id, progress)| Update(*id, progress));
        add(UPDATE_COMMANDS, array(updates)?, touches);
    }
    let touches = Some(plan.compensated.len() as u64);
    let compensated = plan.compensated.iter().map(|(id, at)| (Id(*id), at));
    add(UPDATE_COMPENSATED, array(compensated)?, touches);
    let touches = Some(plan.undone.len() as u64);
    let undone = plan.undone.iter().map(|((id, position), at)| (Id(*id), position, at));
    add(UPDATE_UNDONE, array(undone)?, touches);
    if plan.inserts.iter().all(|entity| is_start(entity)) {
        add(INSERT_STARTS, array(plan.inserts.iter().map(|entity| Start(entity)))?, None);
    } else {
        add(INSERT_COMMANDS, array(plan.inserts.iter().map(|entity| Command(entity)))?, None);
    }
    add(INSERT_LOCKS, array(plan.locks.granted().map(Held))?, None);
    add(INSERT_WAITERS, array(plan.locks.joined().flat_map(Waiter::of))?, None);
    if plan.once_results.iter().all(|result| result.lock.is_none()) {
        let results = plan.once_results.iter().map(|result| Once(result));
        add(INSERT_ONCE_RESULTS, array(results)?, None);
    } else {
        let answers = plan.once_results.iter().map(|result| Answer(result));
        add(INSERT_ANSWERS, array(answers)?, None);
    }
    add(INSERT_SLEEPS, array(plan.sleeps.iter().map(|sleep| Slept(sleep)))?, None);
    let registered = plan.registered.iter().map(|entry| Registered(entry));
    add(INSERT_COMPENSATIONS, array(registered)?, None);
    add(INSERT_AUDIT, array(plan.audit.iter().map(|entry| Audited(entry)))?, None);
    Ok(statements)
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
        for sql in [
            FENCE,
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
