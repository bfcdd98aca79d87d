//! The store does what every store has to do, on every database.

use coco_core::CommandId;
use coco_core::testing::conformance::Fixture;
use coco_store::SeaOrmStore;
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use tempfile::TempDir;

struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("failed to make a directory"))
    }

    fn address(&self) -> String {
        format!("sqlite://{}", self.0.path().join("coco.db").display())
    }
}

impl Fixture for File {
    type Store = SeaOrmStore;

    async fn open(&self) -> SeaOrmStore {
        SeaOrmStore::connect(&self.address()).await.expect("failed to connect")
    }

    async fn evict(&self) {
        let lock = self.0.path().join("coco.db.lock");
        std::fs::remove_file(lock).expect("failed to remove the lock");
    }

    async fn write_status(&self, command: CommandId, status: &'static str) -> bool {
        let database = Database::connect(self.address()).await.expect("failed to connect");
        let update = "UPDATE command_entities SET status = ? WHERE command_id = ?";
        let values = [status.into(), (*command.as_uuid()).into()];
        let update = Statement::from_sql_and_values(DbBackend::Sqlite, update, values);
        let done = database.execute_raw(update).await.expect("failed to write the status");
        done.rows_affected() == 1
    }

    async fn spoil(&self, table: &'static str, command: CommandId) -> bool {
        let database = Database::connect(self.address()).await.expect("failed to connect");
        let column = match table {
            "command_entities" => "created_at",
            "once_results" => "end_order",
            "sleeps" => "micros",
            "compensations" => "command_parameters",
            "audit" => "reason",
            "event_subscriptions" => "created_at",
            "event_deliveries" => "payload",
            "external_tasks" => "task",
            _ => return false,
        };
        let update =
            format!("UPDATE {table} SET {column} = CAST(x'ff' AS TEXT) WHERE command_id = ?");
        let values = [(*command.as_uuid()).into()];
        let update = Statement::from_sql_and_values(DbBackend::Sqlite, update, values);
        let done = database.execute_raw(update).await.expect("failed to spoil a row");
        done.rows_affected() == 1
    }
}

mod on_sqlite {
    coco_core::store_conformance!(super::File::new());
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use coco_core::CommandId;
    use coco_core::testing::conformance::Fixture;
    use coco_store::{SeaOrmStore, TestDatabase};
    use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

    struct Server(TestDatabase);

    impl Server {
        async fn new() -> Self {
            Self(TestDatabase::create().await)
        }

        /// Says `sql` to the database behind the back of the store.
        async fn say(&self, sql: &str, command: CommandId) -> bool {
            let database = Database::connect(self.0.address()).await.expect("failed to connect");
            let values = [(*command.as_uuid()).into()];
            let update = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
            let done = database.execute_raw(update).await.expect("failed to write");
            done.rows_affected() == 1
        }
    }

    impl Fixture for Server {
        type Store = SeaOrmStore;

        async fn open(&self) -> SeaOrmStore {
            SeaOrmStore::connect(self.0.address()).await.expect("failed to connect")
        }

        /// As if the engine had left.
        async fn evict(&self) {
            let database = Database::connect(self.0.address()).await.expect("failed to connect");
            let left = "UPDATE engines SET released = true";
            database.execute_unprepared(left).await.expect("failed to write");
        }

        async fn write_status(&self, command: CommandId, status: &'static str) -> bool {
            let update =
                format!("UPDATE command_entities SET status = '{status}' WHERE command_id = $1");
            self.say(&update, command).await
        }

        /// A column holds nothing that is not of its type; but what a text says may be wrong.
        async fn spoil(&self, table: &'static str, command: CommandId) -> bool {
            let _ = (table, command);
            false
        }
    }

    coco_core::store_conformance!(Server::new().await);
}
