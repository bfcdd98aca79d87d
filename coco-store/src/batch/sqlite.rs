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

use self::inbox::{INSERT_SUBSCRIPTIONS, INSERT_TASKS, Listening, Outside, UPDATE_TASKS};
use self::locks::{
    DELETE_LOCKS, DELETE_ONE_LOCK, DELETE_WAITERS, Held, INSERT_LOCKS, INSERT_WAITERS, Waiter,
};
pub(crate) use self::locks::{READ_HELD, READ_HOLDERS, READ_LINE, READ_TREES, holders, line};
use self::rows::{Answer, Audited, Command, End, Once, Registered, Slept, Start, Update, bytes};
pub(crate) use self::rows::{Id, array};
pub(crate) use self::statements::{BEGIN, READ_TAKEN_KEYS};
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
    /// The identities in the rows that are not in the JSON.
    pub(crate) identities: Vec<u8>,
    /// How many rows it must touch, where less would be an error.
    pub(crate) touches: Option<u64>,
}

impl Bound {
    /// None for no rows.
    fn new(sql: &'static str, rows: Option<String>) -> Option<Self> {
        rows.map(|rows| Self { sql, rows, identities: Vec::new(), touches: None })
    }

    fn with<const N: usize>(
        self,
        identities: impl ExactSizeIterator<Item = [CommandId; N]>,
    ) -> Self {
        Self { identities: bytes(identities), ..self }
    }

    const fn touching(mut self, rows: usize) -> Self {
        self.touches = Some(rows as u64);
        self
    }
}

/// The statements that write `plan`, in their order; none for what it does not have. What is
/// changed was stored before the batch, so it is changed before anything is inserted.
pub(crate) fn statements(plan: &Plan<'_, '_>) -> Result<Vec<Bound>, serde_json::Error> {
    let mut statements = Vec::new();
    let mut add = |bound: Option<Bound>| statements.extend(bound);
    add(Bound::new(DELETE_LOCKS, array(plan.locks.released().map(Id))?));
    let ones = plan.locks.released_ones().map(|(owner, group, key)| (Id(*owner), group, key));
    add(Bound::new(DELETE_ONE_LOCK, array(ones)?));
    let left = plan.locks.left().map(|(owner, number)| (Id(owner), number));
    add(Bound::new(DELETE_WAITERS, array(left)?));
    let updated = plan.updates.iter().map(|(id, _)| [*id]);
    let updates = plan.updates.iter().map(|(_, progress)| &**progress);
    let updates = if updates.clone().all(is_end) {
        Bound::new(UPDATE_ENDS, array(updates.map(End))?)
    } else {
        Bound::new(UPDATE_COMMANDS, array(updates.map(Update))?)
    };
    add(updates.map(|bound| bound.with(updated).touching(plan.updates.len())));
    let compensated = plan.compensated.iter().map(|(id, at)| (Id(*id), at));
    let compensated = Bound::new(UPDATE_COMPENSATED, array(compensated)?);
    add(compensated.map(|bound| bound.touching(plan.compensated.len())));
    let undone = plan.undone.iter().map(|((id, position), at)| (Id(*id), position, at));
    let undone = Bound::new(UPDATE_UNDONE, array(undone)?);
    add(undone.map(|bound| bound.touching(plan.undone.len())));
    let ended = plan.tasks_ended.iter().map(|((id, position), (at, failure))| {
        (Id(*id), position, at, failure.map(AsRef::<str>::as_ref))
    });
    let ended = Bound::new(UPDATE_TASKS, array(ended)?);
    add(ended.map(|bound| bound.touching(plan.tasks_ended.len())));
    let inserts = plan.inserts.iter().map(|entity| &**entity);
    let inserted = inserts.clone().map(|row| {
        let parent = row.parent_command_id.unwrap_or(row.command_id);
        [row.command_id, parent, row.root_command_id]
    });
    let inserts = if inserts.clone().all(is_start) {
        Bound::new(INSERT_STARTS, array(inserts.map(Start))?)
    } else {
        Bound::new(INSERT_COMMANDS, array(inserts.map(Command))?)
    };
    add(inserts.map(|bound| bound.with(inserted)));
    add(Bound::new(INSERT_LOCKS, array(plan.locks.granted().map(Held))?));
    add(Bound::new(INSERT_WAITERS, array(plan.locks.joined().flat_map(Waiter::of))?));
    add(if plan.once_results.iter().all(|result| result.lock.is_none()) {
        let results = plan.once_results.iter().map(|result| Once(result));
        Bound::new(INSERT_ONCE_RESULTS, array(results)?)
    } else {
        let answers = plan.once_results.iter().map(|result| Answer(result));
        Bound::new(INSERT_ANSWERS, array(answers)?)
    });
    add(Bound::new(INSERT_SLEEPS, array(plan.sleeps.iter().map(|sleep| Slept(sleep)))?));
    let registered = plan.registered.iter().map(|entry| Registered(entry));
    add(Bound::new(INSERT_COMPENSATIONS, array(registered)?));
    let subscriptions = plan.subscriptions.iter().map(|subscription| Listening(subscription));
    add(Bound::new(INSERT_SUBSCRIPTIONS, array(subscriptions)?));
    add(Bound::new(INSERT_TASKS, array(plan.tasks.iter().map(|task| Outside(task)))?));
    add(Bound::new(INSERT_AUDIT, array(plan.audit.iter().map(|entry| Audited(entry)))?));
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

    use super::inbox::{DELETE_DELIVERIES, DELETE_SUBSCRIPTIONS, HANDLE, PUBLISH};
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
            PUBLISH,
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
