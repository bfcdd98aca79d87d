//! The statements of a batch for SQLite: one text for any number of rows, which come as one JSON
//! array of arrays. Identities are hexadecimal digits in it.
//!
//! What a row costs is mostly the columns that are taken out of the JSON, so `jsonb_each` (which
//! parses once) is used throughout, and columns that no row of the batch has are not sent.

use coco_core::CommandId;
use coco_core::entity::{CommandEntity, OnceResult, Progress};
use coco_core::lock::HeldLock;
use serde::ser::{Error, SerializeTuple};
use serde::{Serialize, Serializer};

use super::Plan;

pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";

pub(crate) const READ_HOLDERS: &str = "\
SELECT held.lock_group, held.lock_key, held.command_id, held.command_type, held.mode, held.since \
FROM jsonb_each(?1) AS asked CROSS JOIN command_locks AS held \
ON held.lock_group = asked.value ->> 0 AND held.lock_key = asked.value ->> 1 \
WHERE asked.value ->> 2 OR held.mode = 'exclusive'";

const DELETE_LOCKS: &str = "\
DELETE FROM command_locks WHERE command_id IN (SELECT unhex(value) FROM json_each(?1))";

const INSERT_STARTS: &str = "\
INSERT INTO command_entities (\
command_id, command_type, parent_command_id, root_command_id, position, command_parameters, \
created_at, callback_enabled, status, attempt, executed, callback_notified, deaths, \
deaths_end_order) \
SELECT \
unhex(value ->> 0), value ->> 1, unhex(value ->> 2), unhex(value ->> 3), value ->> 4, value ->> 5, \
value ->> 6, value ->> 7, value ->> 8, value ->> 9, false, false, 0, 0 \
FROM jsonb_each(?1)";

const INSERT_COMMANDS: &str = "\
INSERT INTO command_entities (\
command_id, command_type, parent_command_id, root_command_id, position, command_parameters, \
created_at, callback_enabled, status, attempt, stuck_from, stuck_reason, executed, \
callback_notified, deaths, deaths_end_order, state, return_value, failure, end_order, ended_at) \
SELECT \
unhex(value ->> 0), value ->> 1, unhex(value ->> 2), unhex(value ->> 3), value ->> 4, value ->> 5, \
value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, \
value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19, \
value ->> 20 \
FROM jsonb_each(?1)";

const INSERT_LOCKS: &str = "\
INSERT INTO command_locks (lock_group, lock_key, command_id, command_type, mode, since) \
SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 5 \
FROM jsonb_each(?1) WHERE true \
ON CONFLICT (lock_group, lock_key, command_id) \
DO UPDATE SET mode = 'exclusive' WHERE excluded.mode = 'exclusive'";

const UPDATE_ENDS: &str = "\
UPDATE command_entities SET \
status = new.value ->> 1, attempt = new.value ->> 2, executed = new.value ->> 3, \
callback_notified = new.value ->> 4, \
return_value = coalesce(new.value ->> 5, return_value), \
end_order = coalesce(new.value ->> 6, end_order), \
ended_at = coalesce(new.value ->> 7, ended_at), \
stuck_from = NULL, stuck_reason = NULL, deaths = 0, deaths_end_order = 0 \
FROM jsonb_each(?1) AS new WHERE command_id = unhex(new.value ->> 0)";

const UPDATE_COMMANDS: &str = "\
UPDATE command_entities SET \
status = new.value ->> 1, attempt = new.value ->> 2, executed = new.value ->> 3, \
callback_notified = new.value ->> 4, \
return_value = coalesce(new.value ->> 5, return_value), \
end_order = coalesce(new.value ->> 6, end_order), \
ended_at = coalesce(new.value ->> 7, ended_at), \
state = coalesce(new.value ->> 8, state), \
failure = coalesce(new.value ->> 9, failure), \
stuck_from = new.value ->> 10, stuck_reason = new.value ->> 11, deaths = new.value ->> 12, \
deaths_end_order = new.value ->> 13 \
FROM jsonb_each(?1) AS new WHERE command_id = unhex(new.value ->> 0)";

const INSERT_ONCE_RESULTS: &str = "\
INSERT INTO once_results (\
command_id, root_command_id, position, name, end_order, ended_at, return_value, failure) \
SELECT \
unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
value ->> 6, value ->> 7 \
FROM jsonb_each(?1)";

/// A statement and the JSON array of its rows.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) sql: &'static str,
    pub(crate) rows: String,
    /// How many rows it must touch, where less would be an error.
    pub(crate) touches: Option<u64>,
}

/// The statements that write `plan`, in their order; none for what it does not have.
pub(crate) fn statements(plan: &Plan<'_>) -> Result<Vec<Bound>, serde_json::Error> {
    let mut statements = Vec::new();
    let mut add = |sql, rows: Option<String>, touches| {
        statements.extend(rows.map(|rows| Bound { sql, rows, touches }));
    };
    add(DELETE_LOCKS, array(plan.released.iter().copied().map(Id))?, None);
    if plan.inserts.iter().all(|entity| is_start(&entity.progress)) {
        add(INSERT_STARTS, array(plan.inserts.iter().map(|entity| Start(entity)))?, None);
    } else {
        add(INSERT_COMMANDS, array(plan.inserts.iter().map(|entity| Command(entity)))?, None);
    }
    add(INSERT_LOCKS, array(plan.granted.iter().map(Held))?, None);
    let touches = Some(plan.updates.len() as u64);
    if plan.updates.iter().all(|(_, progress)| is_end(progress)) {
        let ends = plan.updates.iter().map(|(id, progress)| End(*id, progress));
        add(UPDATE_ENDS, array(ends)?, touches);
    } else {
        let updates = plan.updates.iter().map(|(id, progress)| Update(*id, progress));
        add(UPDATE_COMMANDS, array(updates)?, touches);
    }
    add(INSERT_ONCE_RESULTS, array(plan.once_results.iter().map(|result| Once(result)))?, None);
    Ok(statements)
}

/// Whether a new row has nothing that only comes later: `INSERT_STARTS` writes it.
///
/// Every column is named, so that a new one cannot be forgotten; in `is_end` as well.
const fn is_start(progress: &Progress) -> bool {
    matches!(
        progress,
        Progress {
            status: _,
            attempt: _,
            stuck_from: None,
            stuck_reason: None,
            executed: false,
            callback_notified: false,
            state: None,
            return_value: None,
            failure: None,
            end_order: None,
            ended_at: None,
            deaths: 0,
            deaths_end_order: 0,
        }
    )
}

/// Whether an update says no more than how a command goes on and ends well: `UPDATE_ENDS`.
const fn is_end(progress: &Progress) -> bool {
    matches!(
        progress,
        Progress {
            status: _,
            attempt: _,
            stuck_from: None,
            stuck_reason: None,
            executed: _,
            callback_notified: _,
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

/// The rows as the JSON that a statement binds; nothing for no rows.
pub(crate) fn array<T: Serialize>(
    rows: impl Iterator<Item = T>,
) -> Result<Option<String>, serde_json::Error> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(None);
    }
    let mut json = Vec::with_capacity(4096);
    serde_json::Serializer::new(&mut json).collect_seq(rows)?;
    let json = String::from_utf8(json).map_err(serde_json::Error::custom)?;
    if has_nul(&json) {
        return Err(serde_json::Error::custom("a text contains a NUL character"));
    }
    Ok(Some(json))
}

/// Whether a text in `json` has a NUL: SQLite would cut it there.
fn has_nul(json: &str) -> bool {
    json.match_indices("\\u0000").any(|(at, _)| {
        let escapes = json[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        escapes % 2 == 0
    })
}

/// An identity, as `unhex` takes it.
struct Id(CommandId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = [0; 32];
        serializer.serialize_str(self.0.as_uuid().simple().encode_lower(&mut buffer))
    }
}

/// Writes an array of mixed values: `row!(serializer, 2, a, b)`.
macro_rules! row {
    ($serializer:expr, $count:literal, $($value:expr),+ $(,)?) => {{
        let mut row = $serializer.serialize_tuple($count)?;
        $(row.serialize_element(&$value)?;)+
        row.end()
    }};
}

struct Start<'a>(&'a CommandEntity);

impl Serialize for Start<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            10,
            Id(row.command_id),
            row.command_type,
            row.parent_command_id.map(Id),
            Id(row.root_command_id),
            row.position,
            *row.command_parameters,
            row.created_at,
            row.callback_enabled,
            row.progress.status.as_str(),
            row.progress.attempt,
        )
    }
}

struct Command<'a>(&'a CommandEntity);

impl Serialize for Command<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (row, progress) = (self.0, &self.0.progress);
        row!(
            serializer,
            21,
            Id(row.command_id),
            row.command_type,
            row.parent_command_id.map(Id),
            Id(row.root_command_id),
            row.position,
            *row.command_parameters,
            row.created_at,
            row.callback_enabled,
            progress.status.as_str(),
            progress.attempt,
            progress.stuck_from.map(|status| status.as_str()),
            progress.stuck_reason.as_deref(),
            progress.executed,
            progress.callback_notified,
            progress.deaths,
            progress.deaths_end_order,
            progress.state.as_deref(),
            progress.return_value.as_deref(),
            progress.failure.as_deref(),
            progress.end_order,
            progress.ended_at,
        )
    }
}

struct End<'a>(CommandId, &'a Progress);

impl Serialize for End<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let progress = self.1;
        row!(
            serializer,
            8,
            Id(self.0),
            progress.status.as_str(),
            progress.attempt,
            progress.executed,
            progress.callback_notified,
            progress.return_value.as_deref(),
            progress.end_order,
            progress.ended_at,
        )
    }
}

struct Update<'a>(CommandId, &'a Progress);

impl Serialize for Update<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let progress = self.1;
        row!(
            serializer,
            14,
            Id(self.0),
            progress.status.as_str(),
            progress.attempt,
            progress.executed,
            progress.callback_notified,
            progress.return_value.as_deref(),
            progress.end_order,
            progress.ended_at,
            progress.state.as_deref(),
            progress.failure.as_deref(),
            progress.stuck_from.map(|status| status.as_str()),
            progress.stuck_reason.as_deref(),
            progress.deaths,
            progress.deaths_end_order,
        )
    }
}

struct Once<'a>(&'a OnceResult);

impl Serialize for Once<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            8,
            Id(row.command_id),
            Id(row.root_command_id),
            row.position,
            *row.name,
            row.end_order,
            row.ended_at,
            row.return_value.as_deref(),
            row.failure.as_deref(),
        )
    }
}

struct Held<'a>(&'a HeldLock);

impl Serialize for Held<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let held = self.0;
        row!(
            serializer,
            6,
            held.lock.group,
            held.lock.key,
            Id(held.owner),
            held.command_type,
            held.lock.mode.as_str(),
            held.since,
        )
    }
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
        for sql in [READ_HOLDERS, DELETE_LOCKS, UPDATE_ENDS, UPDATE_COMMANDS] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
            let plan = sqlx::query(explain).bind("[]").fetch_all(&mut writer).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            let found = plan.iter().any(|detail| detail.starts_with("SEARCH"));
            let scanned = plan.iter().any(|detail| detail.starts_with("SCAN command_"));
            assert!(found && !scanned, "{sql}: {plan:#?}");
        }
    }

    #[test]
    fn a_nul_is_found_and_what_looks_like_one_is_not() {
        let json = |text: &str| array([text].into_iter());
        assert!(json("a\0b").is_err());
        assert!(json("\\\0").is_err());
        assert_eq!(json("\\u0000").unwrap().unwrap(), r#"["\\u0000"]"#);
        assert_eq!(array::<u8>(std::iter::empty()).unwrap(), None);
    }
}
