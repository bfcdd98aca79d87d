//! How much SQLite does to find who listens and what waits: it looks at those alone, and not at all
//! that others listen for and have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coco_core::Timestamp;
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};

use super::*;
use crate::options::{Database, Options};

/// So many roots, of which each listens for what happens to its own disk, and has something of it
/// in its inbox; the root 1 listens for what happens on any host as well.
fn fill(listening: u32) -> String {
    format!(
        "CREATE TEMP TABLE number AS WITH RECURSIVE number(n) AS \
         (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {listening}) SELECT n FROM number; \
         INSERT INTO command_entities (command_id, command_type, parent_command_id, \
         root_command_id, position, command_parameters, created_at, callback_enabled, status, \
         executed, callback_notified, attempt, hook_attempt, deaths, deaths_end_order) \
         SELECT unhex(printf('%032x', n)), 'copy', NULL, unhex(printf('%032x', n)), 0, \
         '{{}}', 1, false, 'active', false, false, 0, 0, 0, 0 FROM number; \
         INSERT INTO event_subscriptions (command_id, root_command_id, event_key, created_at) \
         SELECT unhex(printf('%032x', n)), unhex(printf('%032x', n)), 'host|disk|' || n, 1 \
         FROM number UNION ALL \
         SELECT unhex(printf('%032x', 1)), unhex(printf('%032x', 1)), '*|disk|1', 1; \
         INSERT INTO event_deliveries (command_id, event_id, root_command_id, event_key, payload, \
         published_at) \
         SELECT unhex(printf('%032x', n)), 'first', unhex(printf('%032x', n)), 'host|disk|' || n, \
         '{{}}', 1 FROM number"
    )
}

/// Instructions of SQLite's machine, and rows that it changes.
async fn cost(
    connection: &mut SqliteConnection,
    sql: &'static str,
    values: &[String],
) -> (u64, u64) {
    let instructions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&instructions);
    connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let query = values.iter().fold(sqlx::query(sql), sqlx::query::Query::bind);
    let done = query.execute(&mut *connection).await.unwrap();
    connection.lock_handle().await.unwrap().remove_progress_handler();
    (instructions.load(Ordering::Relaxed), done.rows_affected())
}

fn event(id: &str, key: &str) -> Vec<String> {
    let published_at = Timestamp::from_micros(1);
    let (event_id, payload) = (id.into(), "{}".into());
    let event = Published { event_id, key: key.into(), payload, published_at };
    let keys = keys(std::iter::once(key)).unwrap();
    vec![keys.unwrap(), events(std::iter::once((&event, 0))).unwrap().unwrap()]
}

async fn filled(listening: u32) -> (tempfile::TempDir, SqliteConnection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coco.db");
    crate::SeaOrmStore::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let database = Database::create(&path, Options::default()).unwrap();
    let mut connection = database.writer().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(fill(listening))).execute(&mut connection).await.unwrap();
    (directory, connection)
}

#[tokio::test]
async fn many_who_listen_cost_an_event_no_more_than_few() {
    let root = |n: u32| format!("{n:032x}");
    let mut costs = Vec::new();
    for listening in [50, 20_000] {
        let (_directory, mut connection) = filled(listening).await;
        let last = format!("host|disk|{listening}");
        for (sql, values, changed) in [
            (PUBLISH, event("second", &last), 1),
            (PUBLISH, event("third", "host|disk|1"), 1),
            (PUBLISH, event("fourth", "other|disk|1"), 1),
            (PUBLISH, event("fifth", "other|disk|2"), 0),
            (PUBLISH, event("first", &last), 0),
            (PUBLISH, event("sixth", "a|b|c|d|e|f"), 0),
            (HANDLE, vec![format!("[[\"{}\",{}]]", root(listening), i64::MAX)], 2),
            (DELETE_SUBSCRIPTIONS, vec![format!("[\"{}\"]", root(listening))], 1),
            (DELETE_DELIVERIES, vec![format!("[\"{}\"]", root(listening))], 2),
        ] {
            let cost = cost(&mut connection, sql, &values).await;
            assert_eq!(cost.1, changed, "{sql} {values:?}");
            costs.push((cost.0, sql, values));
        }
    }
    let (few, many) = costs.split_at(costs.len() / 2);
    for (few, many) in few.iter().zip(many) {
        assert!(many.0 < few.0 + few.0 / 4, "{few:?} and {many:?}");
    }
}

/// Events are numbered in their order without being sorted, with all that they say.
#[tokio::test]
async fn events_are_not_sorted() {
    let (_directory, mut connection) = filled(50).await;
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {PUBLISH}"));
    let plan = sqlx::query(explain).bind("[]").fetch_all(&mut connection).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
    assert!(plan.iter().all(|detail| !detail.contains("TEMP B-TREE")), "{plan:#?}");
    let uses = |index: &str| plan.iter().any(|detail| detail.contains(index));
    assert!(uses("idx_event_subscriptions_event_key"), "{plan:#?}");
}
