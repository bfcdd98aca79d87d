//! Everything that the store does finds its rows by an index, however the tables have grown since
//! its statements were planned: it looks at as many pages as where they are small.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coco_core::store::{Lease, MemoryStore, Step, Store, Write};
use coco_store::{Options, SeaOrmStore, TestDatabase};
use sea_orm::sqlx::Row;

use super::ledger::in_time;
use super::stranger::Stranger;
use crate::forest::{COMMANDS, Dice, Forest, brief_steps, sorted_locks};
use crate::steps::{Steps, insert_of_forest};
use crate::support::{apply, id, insert, step};

/// Lets the server tell what a connection did; by itself it does so every now and then. Since
/// PostgreSQL 15.
const TELL: &str = "SELECT pg_stat_force_next_flush()";

/// Nobody but the store looks at the tables, and what it did is told after each of its commits.
const WATCH: &str = "\
DO $$ DECLARE each record; BEGIN \
FOR each IN SELECT relid::regclass AS name FROM pg_stat_user_tables LOOP \
EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', each.name); END LOOP; END $$; \
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql \
AS $$ BEGIN PERFORM pg_stat_force_next_flush(); RETURN NULL; END $$; \
CREATE TRIGGER tell AFTER INSERT ON commits FOR EACH STATEMENT EXECUTE FUNCTION tell()";

/// Scans of a whole table, and pages that were looked at, of each table.
type Work = BTreeMap<String, (i64, i64)>;

/// That of the migrations is read whole when a store is opened, and is as long as their list.
const WORK: &str = "\
SELECT relname::text, seq_scan, coalesce(heap_blks_read + heap_blks_hit, 0) + \
coalesce(idx_blks_read + idx_blks_hit, 0) \
FROM pg_stat_user_tables JOIN pg_statio_user_tables USING (relid, relname) \
WHERE relname <> 'coco_migrations'";

/// Has heard many events.
const OLD: u128 = 900;

/// Something of everything for each of so many roots of another engine.
fn fill(rows: u32) -> String {
    let old = id(OLD);
    format!(
        "CREATE TEMP TABLE many AS SELECT n, ('00000000-0000-0000-0001-' || \
         lpad(to_hex(n), 12, '0'))::uuid AS id FROM generate_series(1, {rows}) AS n; \
         INSERT INTO command_entities (command_id, command_type, root_command_id, position, \
         command_parameters, created_at, callback_enabled, submit_key, status, executed, \
         callback_notified, attempt, hook_attempt, deaths, deaths_end_order, engine_id) \
         SELECT id, 'copy', id, 0, '{{}}', 1, false, 'many ' || n, 'active', false, false, 0, 0, 0, \
         0, '00000000-0000-0000-0002-000000000000' FROM many; \
         INSERT INTO once_results (command_id, root_command_id, position, name, end_order, ended_at) \
         SELECT id, id, 0, 'reserve', 1, 1 FROM many; \
         INSERT INTO sleeps (command_id, root_command_id, position, micros, wake_at) \
         SELECT id, id, 1, 1, 1 FROM many; \
         INSERT INTO compensations (command_id, root_command_id, position, command_type, \
         command_parameters, end_order, created_at) \
         SELECT id, id, 2, 'delete', '{{}}', 1, 1 FROM many; \
         INSERT INTO audit (at, action, command_id, root_command_id, status, reason) \
         SELECT 1, 'cancel', id, id, 'active', 'why' FROM many; \
         INSERT INTO command_locks (lock_group, lock_key, command_id, root_command_id, \
         command_type, ancestors, mode, since) \
         SELECT 'disk', 'many ' || n, id, id, 'copy', '', 'exclusive', 1 FROM many; \
         INSERT INTO lock_waiters (command_id, number, lock_group, lock_key, position, place, \
         root_command_id, command_type, ancestors, mode, since) \
         SELECT id, 1, 'disk', 'many ' || n + 1, 0, 1000000 + n, id, 'copy', '', 'exclusive', 1 \
         FROM many; \
         INSERT INTO event_subscriptions (command_id, event_key, root_command_id, created_at) \
         SELECT id, 'many|' || n, id, 1 FROM many; \
         INSERT INTO event_deliveries (command_id, event_id, root_command_id, event_key, payload, \
         published_at) \
         SELECT id, 'first', id, 'many|' || n, '{{}}', 1 FROM many; \
         INSERT INTO event_deliveries (command_id, event_id, root_command_id, event_key, \
         published_at) \
         SELECT '{old}', 'heard ' || n, '{old}', 'old', 1 FROM many; \
         INSERT INTO external_tasks (command_id, position, root_command_id, task, created_at, kept) \
         SELECT id, 3, id, '{{}}', 1, true FROM many; \
         INSERT INTO commits (epoch, number) SELECT 0, n FROM many; DROP TABLE many"
    )
}

async fn open(database: &TestDatabase) -> SeaOrmStore {
    // No heartbeat comes between.
    let options = Options::default().lease(Duration::from_secs(600));
    SeaOrmStore::connect_with(database.address(), options).await.unwrap()
}

/// Looks at what the server counts.
struct Meter {
    stranger: Stranger,
    before: Work,
}

impl Meter {
    async fn at(database: &TestDatabase) -> Self {
        let mut stranger = Stranger::at(database.address()).await;
        stranger.say(WATCH).await;
        Self { stranger, before: Work::new() }
    }

    /// What was done since the last time.
    async fn done(&mut self) -> Work {
        let rows = self.stranger.rows(WORK).await;
        let after: Work = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        let since = |(name, (scans, pages)): (&String, &(i64, i64))| {
            let (scans_before, pages_before) = self.before.get(name).copied().unwrap_or_default();
            (name.clone(), (scans - scans_before, pages - pages_before))
        };
        let done = after.iter().map(since).filter(|(_, work)| *work != (0, 0)).collect();
        self.before = after;
        done
    }

    /// The connections of the store.
    async fn connections(&mut self) -> Vec<i32> {
        let connections = "SELECT pid FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'coco'";
        self.stranger.rows(connections).await.iter().map(|row| row.get(0)).collect()
    }

    /// The same, when all other connections of the store are closed, which have told it then.
    async fn done_at_last(&mut self, but: &[i32]) -> Work {
        loop {
            let mut others = self.connections().await;
            others.retain(|connection| !but.contains(connection));
            if others.is_empty() {
                return self.done().await;
            }
            for connection in others {
                self.stranger.rows(format!("SELECT pg_terminate_backend({connection})")).await;
            }
        }
    }

    /// The indexes in which nothing was looked up, but for those that keep rows apart.
    async fn unused(&mut self) -> Vec<String> {
        let unused = "SELECT indexrelname::text FROM pg_stat_user_indexes \
             JOIN pg_index USING (indexrelid) WHERE idx_scan = 0 AND NOT indisunique";
        self.stranger.rows(unused).await.iter().map(|row| row.get(0)).collect()
    }
}

/// Random batches of the forest, the same ones for each of these.
struct Batches {
    dice: Dice,
    next_root: u128,
    memory: MemoryStore,
    lease: Lease,
}

impl Batches {
    async fn new() -> Self {
        let memory = MemoryStore::default();
        let lease = memory.acquire().await.unwrap();
        let batches = Self { dice: Dice(7), next_root: 1000, memory, lease };
        batches.memory.commit(&batches.lease, Self::forest()).await.unwrap();
        batches
    }

    fn forest() -> Arc<[Step]> {
        COMMANDS.map(insert_of_forest).into()
    }

    /// At most so many steps.
    async fn next(&mut self, most: u64) -> Arc<[Step]> {
        let rows = sorted_locks(self.memory.locks(None).await.unwrap());
        let forest = Forest::new(&mut self.dice, &rows);
        let inboxes = Vec::new();
        let mut random = Steps { forest, next_root: &mut self.next_root, inboxes };
        let steps: Arc<[Step]> = (0..=random.below(most)).map(|_| random.step()).collect();
        self.memory.commit(&self.lease, Arc::clone(&steps)).await.unwrap();
        steps
    }
}

/// Everything that is read, but for the locks of all.
async fn read(store: &SeaOrmStore, lease: &Lease) {
    let engine = lease.engine_id;
    for n in [1, 2, 3, OLD, 1001] {
        store.open_trees(None, Some(id(n)), 4).await.unwrap();
        store.open_trees(Some(engine), Some(id(n)), 4).await.unwrap();
        store.own_tree(engine, id(n)).await.unwrap();
        store.tree(id(n)).await.unwrap();
        store.entity(id(n)).await.unwrap();
        store.audit(id(n)).await.unwrap();
        store.inbox(id(n), 10).await.unwrap();
        store.locks(Some(id(n))).await.unwrap();
    }
    store.open_trees(None, None, 4).await.unwrap();
    store.open_trees(Some(engine), None, 4).await.unwrap();
}

/// What is done for each of the same things, with so many rows in each table that are none of its.
/// After them the server counts what there is, or does not. And the indexes that nothing has used.
async fn work(rows: u32, is_counted: bool) -> (Vec<(String, Work)>, Vec<String>) {
    let database = TestDatabase::create().await;
    let mut meter = Meter::at(&database).await;
    let store = open(&database).await;
    let mut leases = [store.acquire().await.unwrap(), store.acquire().await.unwrap()];
    // Who starts becomes the first, and takes the trees of the second.
    leases.sort_by_key(|lease| lease.engine_id);
    let [lease, other] = leases;
    let mut batches = Batches::new().await;
    // The plans are made while there is next to nothing.
    store.commit(&lease, Batches::forest()).await.unwrap();
    for _ in 0..60 {
        store.commit(&lease, batches.next(9).await).await.unwrap();
    }
    apply(&store, &other, vec![insert(OLD)]).await;
    let writers = meter.connections().await;
    let readers = open(&database).await;
    read(&readers, &lease).await;
    let count = if is_counted { "ANALYZE" } else { "" };
    meter.stranger.say(format!("{}; {count}; {TELL}", fill(rows))).await;

    let mut work = Vec::new();
    meter.done().await;
    // What was read before may not have been told yet: it is little beside this.
    for _ in 0..20 {
        read(&readers, &lease).await;
    }
    work.push(("what is read".to_owned(), meter.done_at_last(&writers).await));
    for _ in 0..150 {
        let steps = batches.next(2).await;
        store.commit(&lease, Arc::clone(&steps)).await.unwrap();
        work.push((brief_steps(&steps), meter.done().await));
    }
    let handled = step(OLD, Write::Handled(id(OLD), i64::MAX));
    apply(&store, &other, vec![handled]).await;
    work.push(("what is old is handled".to_owned(), meter.done().await));
    drop((lease, other));
    let heir = open(&database).await;
    let lease = heir.acquire().await.unwrap();
    apply(&heir, &lease, vec![insert(901)]).await;
    assert_eq!(
        heir.open_trees(Some(lease.engine_id), Some(id(OLD - 1)), 2).await.unwrap().len(),
        2
    );
    heir.release(lease, true).await.unwrap();
    work.push((START.to_owned(), meter.done_at_last(&[]).await));
    store.locks(None).await.unwrap();
    work.push((LIST.to_owned(), meter.done_at_last(&[]).await));
    (work, meter.unused().await)
}

const START: &str = "an engine takes over what two had, and leaves";
const LIST: &str = "all locks are listed";

/// What is read whole, once: who starts looks at all engines, and who lists all locks at all locks.
const WHOLE: [(&str, &str); 3] =
    [(START, "engines"), (LIST, "command_locks"), (LIST, "lock_waiters")];

/// That of a foreign key: it is for those who delete commands.
const UNUSED: [&str; 1] = ["idx_command_entities_parent_command_id"];

/// What does more than it should where there are `many` rows, and in which table.
fn excess(few: &[(String, Work)], many: &[(String, Work)]) -> Vec<String> {
    let mut found = Vec::new();
    for ((what, few), (again, many)) in few.iter().zip(many) {
        assert_eq!(what, again);
        for (table, &(scans, pages)) in many {
            let of_few = few.get(table).map_or(0, |(_, pages)| *pages);
            let is_right = if WHOLE.contains(&(what, table)) {
                scans == 1
            } else {
                // Some more where an index grew a level, or what was deleted is still there.
                scans == 0 && pages <= 2 * of_few + 16
            };
            if !is_right {
                let work = format!("{scans} scans, {pages} pages and with few rows {of_few}");
                found.push(format!("{table}: {work}: {what}"));
            }
        }
    }
    found
}

async fn rows_are_found_by_an_index(is_counted: bool) {
    let few_and_many = async { tokio::join!(work(1000, is_counted), work(10_000, is_counted)) };
    let ((few, _), (many, unused)) = in_time(few_and_many).await;
    let excess = excess(&few, &many);
    assert!(excess.is_empty(), "{excess:#?}");
    assert_eq!(unused, UNUSED);
}

#[tokio::test]
async fn rows_are_found_by_an_index_however_many_there_are() {
    rows_are_found_by_an_index(false).await;
}

#[tokio::test]
async fn rows_are_found_by_an_index_when_the_server_has_counted_them() {
    rows_are_found_by_an_index(true).await;
}
