//! The tables that the migrations make, and what they make of older ones.

use coco_core::entity::{CommandEntity, OnceResult, Progress, Task, TreeRows};
use coco_core::lock::{Lock, LockMode, LockRequest};
use coco_core::store::{Outcome, Step, Store, Write};
use coco_core::{CommandId, CommandStatus, Timestamp};
use sea_orm::sqlx::{self, AssertSqlSafe, Row};
use uuid::Uuid;

use super::*;
use crate::options::{Database, Options};

/// What the first version wrote: a root that is stuck, with all of its columns, a child that
/// has ended, a result and a lock.
const FIRST: &str = r#"
    INSERT INTO command_entities VALUES (
        x'00000000000000000000000000000001', 'move_disk', NULL,
        x'00000000000000000000000000000001', 0, '{"disk":1}', 11, true, 'stuck', 'active', '{}',
        true, true, 3, '{"disk":2}', '7', '"no"', 5, 12, 2, 4);
    INSERT INTO command_entities VALUES (
        x'00000000000000000000000000000002', 'copy', x'00000000000000000000000000000001',
        x'00000000000000000000000000000001', 1, '{}', 13, false, 'ended_successfully', NULL,
        NULL, true, false, 1, NULL, '8', NULL, 2, 14, 0, 0);
    INSERT INTO once_results VALUES (
        x'00000000000000000000000000000001', x'00000000000000000000000000000001', 0, 'reserve',
        1, 15, '9', NULL);
    INSERT INTO command_locks VALUES (
        'disk', '1', x'00000000000000000000000000000001', 'move_disk', 'exclusive', 16);
    INSERT INTO engines VALUES (zeroblob(16), 41, true);
"#;

fn id(n: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(n))
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// What `FIRST` comes to.
fn rows() -> TreeRows {
    let root = CommandEntity {
        command_id: id(1),
        command_type: "move_disk".into(),
        parent_command_id: None,
        root_command_id: id(1),
        position: 0,
        command_parameters: r#"{"disk":1}"#.into(),
        created_at: at(11),
        callback_enabled: true,
        submit_key: None,
        resubmit_of: None,
        retry: None,
        progress: Progress {
            status: CommandStatus::Stuck,
            stuck_from: Some(CommandStatus::Active),
            stuck_reason: Some("{}".into()),
            executed: true,
            callback_notified: true,
            attempt: 3,
            hook_attempt: 0,
            started_at: None,
            wake_at: None,
            cancelled: None,
            seen: None,
            undo: None,
            compensated_at: None,
            state: Some(r#"{"disk":2}"#.into()),
            return_value: Some("7".into()),
            failure: Some("\"no\"".into()),
            end_order: Some(5),
            ended_at: Some(at(12)),
            deaths: 2,
            deaths_end_order: 4,
        },
    };
    let child = CommandEntity {
        command_id: id(2),
        command_type: "copy".into(),
        parent_command_id: Some(id(1)),
        position: 1,
        command_parameters: "{}".into(),
        created_at: at(13),
        callback_enabled: false,
        progress: Progress {
            status: CommandStatus::EndedSuccessfully,
            stuck_from: None,
            stuck_reason: None,
            callback_notified: false,
            attempt: 1,
            state: None,
            return_value: Some("8".into()),
            failure: None,
            end_order: Some(2),
            ended_at: Some(at(14)),
            deaths: 0,
            deaths_end_order: 0,
            ..root.progress.clone()
        },
        ..root.clone()
    };
    let result = OnceResult {
        command_id: id(1),
        root_command_id: id(1),
        position: 0,
        name: "reserve".into(),
        end_order: 1,
        ended_at: at(15),
        return_value: Some("9".into()),
        failure: None,
        lock: None,
    };
    let (commands, once_results) = (vec![root, child], vec![result]);
    TreeRows { commands, once_results, ..TreeRows::default() }
}

#[tokio::test]
async fn what_the_first_version_stored_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coco.db");
    let database = Database::create(&path, Options::default()).unwrap();
    let connection = database.migrator().await.unwrap();
    Migrator::up(&connection, Some(1)).await.unwrap();
    connection.close().await.unwrap();
    let mut old = database.writer().await.unwrap();
    sqlx::raw_sql(FIRST).execute(&mut old).await.unwrap();

    let address = format!("sqlite://{}", path.display());
    let store = crate::SeaOrmStore::connect(&address).await.unwrap();
    let mut tree = store.tree(id(1)).await.unwrap().unwrap();
    tree.commands.sort_by_key(|row| row.position);
    assert_eq!(tree, rows());
    assert_eq!(store.audit(id(1)).await.unwrap(), []);

    let lease = store.acquire().await.unwrap();
    assert_eq!((lease.epoch, lease.clean), (42, true));
    let request = LockRequest {
        owner: id(3),
        number: 0,
        command_type: "copy".into(),
        ancestors: Vec::new(),
        locks: vec![Lock { group: "disk".into(), key: "1".into(), mode: LockMode::Shared }],
        at: at(17),
        waits: false,
        until: None,
    };
    let step = |request, write| Step { root: id(1), command: id(1), request, writes: vec![write] };
    let undone = step(None, Write::Compensated(id(2), at(18)));
    let asks = step(Some(std::sync::Arc::new(request)), Write::Release(id(9)));
    let outcomes = store.commit(&lease, [asks, undone].into()).await.unwrap().outcomes;
    assert!(matches!(&outcomes[0], Outcome::Conflict(other) if other.since == at(16)));
    assert_eq!(outcomes[1], Outcome::Applied);
    let stored = store.entity(id(2)).await.unwrap().unwrap().progress;
    assert_eq!(stored.compensated_at, Some(at(18)));
}

/// Three generations that each have a lock, and two commands of a file that is damaged: one that is
/// its own parent, and one that is gone.
const SECOND: &str = r#"
    PRAGMA foreign_keys = OFF;
    INSERT INTO command_entities (command_id, command_type, parent_command_id, root_command_id,
        position, command_parameters, created_at, callback_enabled, status, executed,
        callback_notified, attempt, deaths, deaths_end_order)
    SELECT unhex(printf('%032x', id)), 'move_disk',
        iif(parent, unhex(printf('%032x', parent)), NULL), unhex(printf('%032x', root)), 0, '{}',
        1, true, 'active', false, false, 1, 0, 0
    FROM (SELECT 1 AS id, 0 AS parent, 1 AS root UNION ALL SELECT 2, 1, 1 UNION ALL
        SELECT 3, 2, 1 UNION ALL SELECT 4, 4, 4);
    INSERT INTO command_locks
    SELECT 'disk', key, unhex(printf('%032x', key)), 'move_disk', mode, key
    FROM (SELECT 1 AS key, 'exclusive' AS mode UNION ALL SELECT 2, 'exclusive' UNION ALL
        SELECT 3, 'exclusive' UNION ALL SELECT 4, 'exclusive' UNION ALL SELECT 5, 'shared');
    INSERT INTO command_locks VALUES
        ('disk', '9', unhex(printf('%032x', 3)), 'move_disk', 'intended', 9);
"#;

#[tokio::test]
async fn locks_that_are_held_know_the_ancestors_of_their_commands() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coco.db");
    let database = Database::create(&path, Options::default()).unwrap();
    let connection = database.migrator().await.unwrap();
    Migrator::up(&connection, Some(2)).await.unwrap();
    connection.close().await.unwrap();
    let mut old = database.writer().await.unwrap();
    sqlx::raw_sql(SECOND).execute(&mut old).await.unwrap();

    let address = format!("sqlite://{}", path.display());
    let store = crate::SeaOrmStore::connect(&address).await.unwrap();
    let mut held = store.locks(None).await.unwrap().held;
    held.sort_by(|a, b| a.lock.key.cmp(&b.lock.key));
    let found = |key: usize| (held[key].owner, &held[key].ancestors[..]);
    assert_eq!(found(0), (id(1), &[][..]));
    assert_eq!(found(1), (id(2), &[id(1)][..]));
    assert_eq!(found(2), (id(3), &[id(2), id(1)][..]));
    assert_eq!((found(3).0, found(3).1[0]), (id(4), id(4)));
    assert_eq!(found(4), (id(5), &[][..]), "its command is gone");
    assert_eq!(found(5), (id(3), &[id(2), id(1)][..]));
    let modes = held.iter().map(|held| held.lock.mode == LockMode::Exclusive);
    assert_eq!(modes.collect::<Vec<_>>(), [true, true, true, true, false, true]);
    let since = held.iter().map(|held| held.since.as_micros());
    assert_eq!(since.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 9]);

    // The grandparent may take what the grandchild passes on, and a child then borrows it.
    let lease = store.acquire().await.unwrap();
    let pass = |from, to| {
        let write = Write::Pass { from: id(from), to: id(to), command_type: "move_disk".into() };
        Step { root: id(1), command: id(from), request: None, writes: vec![write] }
    };
    let steps = [pass(3, 2), pass(2, 1)];
    let outcomes = store.commit(&lease, steps.into()).await.unwrap().outcomes;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Applied]);
    let held = store.locks(None).await.unwrap().held;
    let of_root = held.iter().filter(|held| held.owner == id(1) && held.ancestors.is_empty());
    assert_eq!(of_root.count(), 4);
    let mut roots = sqlx::query("SELECT root_command_id FROM command_locks ORDER BY lock_key");
    roots = roots.persistent(false);
    let roots = roots.fetch_all(&mut old).await.unwrap();
    let roots = roots.iter().map(|row| CommandId::from_uuid(row.get(0)));
    assert_eq!(roots.collect::<Vec<_>>(), [id(1), id(1), id(1), id(4), id(5), id(1)]);
}

/// A task outside, of a store that did not know whether it is kept.
const FOURTH: &str = r#"
    INSERT INTO command_entities (command_id, command_type, root_command_id, position,
        command_parameters, created_at, callback_enabled, status, executed, callback_notified,
        attempt, deaths, deaths_end_order)
    VALUES (unhex(printf('%032x', 1)), 'copy', unhex(printf('%032x', 1)), 0, '{}', 1, true,
        'active', true, false, 1, 0, 0);
    INSERT INTO external_tasks VALUES (
        unhex(printf('%032x', 1)), 2, unhex(printf('%032x', 1)), '{}', 3, 4, '"no"');
"#;

#[tokio::test]
async fn tasks_of_before_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coco.db");
    let database = Database::create(&path, Options::default()).unwrap();
    let connection = database.migrator().await.unwrap();
    Migrator::up(&connection, Some(4)).await.unwrap();
    connection.close().await.unwrap();
    let mut old = database.writer().await.unwrap();
    sqlx::raw_sql(FOURTH).execute(&mut old).await.unwrap();

    let address = format!("sqlite://{}", path.display());
    let store = crate::SeaOrmStore::connect(&address).await.unwrap();
    let task = Task {
        command_id: id(1),
        root_command_id: id(1),
        position: 2,
        task: "{}".into(),
        created_at: at(3),
        kept: true,
        ended_at: Some(at(4)),
        failure: Some("\"no\"".into()),
    };
    assert_eq!(store.tree(id(1)).await.unwrap().unwrap().tasks, [task]);
}

/// What the tables promise by themselves.
#[tokio::test]
async fn the_tables_keep_their_promises() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("coco.db");
    crate::SeaOrmStore::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    let database = Database::create(&path, Options::default()).unwrap();
    let mut connection = database.writer().await.unwrap();
    for (name, part) in [
        ("audit", "\"audit_id\" integer NOT NULL PRIMARY KEY AUTOINCREMENT"),
        ("sleeps", "PRIMARY KEY (\"command_id\", \"position\")"),
        ("sleeps", "ON DELETE RESTRICT"),
        ("compensations", "PRIMARY KEY (\"command_id\", \"position\")"),
        ("compensations", "ON DELETE RESTRICT"),
        ("idx_command_entities_submit_key", "CREATE UNIQUE INDEX"),
        ("idx_command_entities_submit_key", "WHERE \"submit_key\" IS NOT NULL"),
        ("idx_audit_root_command_id", "(\"root_command_id\")"),
        ("lock_waiters", "PRIMARY KEY (\"command_id\", \"number\", \"lock_group\", \"lock_key\")"),
        ("lock_waiters", "ON DELETE RESTRICT"),
        ("lock_waiters", "\"position\" integer NOT NULL"),
        ("lock_waiters", "\"until\" integer NULL"),
        ("idx_lock_waiters_line", "(\"lock_group\", \"lock_key\", \"place\")"),
        (
            "idx_lock_waiters_exclusive",
            "(\"lock_group\", \"lock_key\", \"place\") WHERE mode <> 'shared'",
        ),
        ("idx_lock_waiters_tree", "(\"root_command_id\", \"lock_group\", \"lock_key\", \"place\")"),
        ("idx_lock_waiters_place", "(\"place\")"),
        ("command_locks", "PRIMARY KEY (\"lock_group\", \"lock_key\", \"command_id\")"),
        ("command_locks", "ON DELETE RESTRICT"),
        ("command_locks", "\"root_command_id\" blob(16) NOT NULL"),
        ("command_locks", "\"ancestors\" text NOT NULL"),
        ("idx_command_locks_command_id", "(\"command_id\")"),
        ("once_results", "\"lock\" text NULL"),
        ("command_entities", "\"seen\" integer NULL"),
        ("event_subscriptions", "PRIMARY KEY (\"command_id\", \"event_key\")"),
        ("event_subscriptions", "ON DELETE RESTRICT"),
        ("idx_event_subscriptions_event_key", "(\"event_key\")"),
        ("idx_event_subscriptions_root_command_id", "(\"root_command_id\")"),
        ("event_deliveries", "\"number\" integer NOT NULL PRIMARY KEY AUTOINCREMENT"),
        ("event_deliveries", "\"payload\" text NULL"),
        ("event_deliveries", "ON DELETE RESTRICT"),
        ("idx_event_deliveries_event", "CREATE UNIQUE INDEX"),
        ("idx_event_deliveries_event", "(\"command_id\", \"event_id\")"),
        ("idx_event_deliveries_inbox", "(\"command_id\", \"number\") WHERE payload IS NOT NULL"),
        ("external_tasks", "PRIMARY KEY (\"command_id\", \"position\")"),
        ("external_tasks", "ON DELETE RESTRICT"),
        ("external_tasks", "\"kept\" boolean NOT NULL DEFAULT TRUE"),
        ("idx_external_tasks_root_command_id", "(\"root_command_id\")"),
        ("command_entities", "\"hook_attempt\" integer NOT NULL DEFAULT 0"),
        ("command_entities", "\"resubmit_of\" blob(16) NULL"),
    ] {
        let query = AssertSqlSafe("SELECT sql FROM sqlite_master WHERE name = ?1");
        let found = sqlx::query(query).bind(name).fetch_one(&mut connection).await.unwrap();
        let sql: String = found.get(0);
        assert!(sql.contains(part), "{sql}");
    }
}
