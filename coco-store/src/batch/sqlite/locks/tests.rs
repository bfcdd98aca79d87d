//! How much SQLite does to find what decides a batch: it looks at the head of a line, and not along
//! all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coco_core::CommandId;
use coco_core::Timestamp;
use coco_core::lock::{Lock, LockMode, LockRequest};
use coco_core::store::{Step, Write};
use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, AssertSqlSafe};
use uuid::Uuid;

use super::*;
use crate::options::{Database, Options};

/// The line of one key, of roots of which the last one has it. Some steps before each exclusive one
/// are shared.
fn fill(length: u32, shared: u32) -> String {
    let mode = format!("iif(n % {} = 0, 'exclusive', 'shared')", shared + 1);
    format!(
        "CREATE TEMP TABLE number AS WITH RECURSIVE number(n) AS \
         (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < {length}) SELECT n FROM number; \
         INSERT INTO command_entities (command_id, command_type, parent_command_id, \
         root_command_id, position, command_parameters, created_at, callback_enabled, status, \
         executed, callback_notified, attempt, hook_attempt, deaths, deaths_end_order) \
         SELECT unhex(printf('%032x', n)), 'copy', NULL, unhex(printf('%032x', n)), 0, \
         '{{}}', 1, false, 'active', false, false, 0, 0, 0, 0 FROM number; \
         INSERT INTO command_locks SELECT 'disk', 'a', unhex(printf('%032x', n)), \
         unhex(printf('%032x', n)), 'copy', '', 'exclusive', 1 FROM number WHERE n = {length}; \
         INSERT INTO lock_waiters (command_id, number, lock_group, lock_key, position, place, \
         root_command_id, command_type, ancestors, mode, since) \
         SELECT unhex(printf('%032x', n)), 0, 'disk', 'a', 0, n, \
         unhex(printf('%032x', n)), 'copy', '', {mode}, 1 FROM number WHERE 0 < n AND n < {length}"
    )
}

fn id(n: u32) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n.into()))
}

fn step(request: Option<LockRequest>, write: Option<Write>) -> Step {
    let request = request.map(Arc::new);
    Step { root: id(0), command: id(0), request, writes: write.into_iter().collect() }
}

/// Instructions of SQLite's machine, and rows that it finds.
async fn cost(connection: &mut SqliteConnection, steps: &[Step]) -> (u64, usize) {
    let steps: Vec<&Step> = steps.iter().collect();
    let values = line(&Interest::of(&steps)).unwrap();
    let instructions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&instructions);
    connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let query = values.iter().fold(sqlx::query(READ_LINE), sqlx::query::Query::bind);
    let rows = query.fetch_all(&mut *connection).await.unwrap();
    connection.lock_handle().await.unwrap().remove_progress_handler();
    (instructions.load(Ordering::Relaxed), rows.len())
}

#[tokio::test]
async fn a_long_line_costs_no_more_than_a_short_one() {
    for shared in [0, 5] {
        let mut costs = Vec::new();
        for length in [50, 20_000] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("coco.db");
            crate::SeaOrmStore::connect(&format!("sqlite://{}", path.display())).await.unwrap();
            let database = Database::create(&path, Options::default()).unwrap();
            let mut connection = database.writer().await.unwrap();
            let fill = AssertSqlSafe(fill(length, shared));
            sqlx::raw_sql(fill).execute(&mut connection).await.unwrap();
            let asks = |mode, ancestors: &[CommandId]| LockRequest {
                owner: id(1_000_000),
                number: 0,
                command_type: "copy".into(),
                ancestors: ancestors.to_vec(),
                locks: vec![Lock { group: "disk".into(), key: "a".to_owned(), mode }],
                at: Timestamp::from_micros(1),
                waits: true,
                until: None,
            };
            for batch in [
                step(None, Some(Write::Release(id(length)))),
                step(None, Some(Write::LeaveLine(id(1), Some(0)))),
                step(None, Some(Write::LeaveLine(id(length - 1), None))),
                step(Some(asks(LockMode::Exclusive, &[])), None),
                step(Some(asks(LockMode::Shared, &[])), None),
                step(Some(asks(LockMode::Exclusive, &[id(0)])), None),
                step(Some(asks(LockMode::Shared, &[id(0)])), None),
            ] {
                costs.push(cost(&mut connection, &[batch]).await);
            }
        }
        let (short, long) = costs.split_at(costs.len() / 2);
        for (short, long) in short.iter().zip(long) {
            let what = format!("shared: {shared}; {short:?} and {long:?}");
            assert_eq!(short.1, long.1, "rows; {what}");
            assert!(long.0 < short.0 + short.0 / 4, "instructions; {what}");
        }
    }
}
