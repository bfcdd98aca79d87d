//! Who waits in line for a lock, and of which tree is who holds one; the answer to a flow that asked
//! for one.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Value};
use sea_orm_migration::sea_query::{
    ConditionalStatement, Expr, Index, IndexCreateStatement, Table,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use uuid::Uuid;

use super::columns::{identity, index, large_number, number, text, time, to_command};

/// What waits exclusively, or in a mode that is not known. A partial index has these words.
const EXCLUSIVE: &str = "mode <> 'shared'";

/// Of which trees the locks are that are held already.
///
/// No tree is that deep; but this file may be damaged, and go round in circles.
const FILL: &str = "\
WITH RECURSIVE above(owner, ancestor, depth) AS ( \
SELECT owner.command_id, owner.parent_command_id, 0 \
FROM (SELECT DISTINCT command_id FROM command_locks) AS held \
CROSS JOIN command_entities AS owner ON owner.command_id = held.command_id \
UNION ALL \
SELECT above.owner, command.parent_command_id, above.depth + 1 \
FROM above CROSS JOIN command_entities AS command ON command.command_id = above.ancestor \
WHERE above.depth < 10000) \
UPDATE command_locks SET \
root_command_id = coalesce((SELECT owner.root_command_id FROM command_entities AS owner \
WHERE owner.command_id = command_locks.command_id), command_id), \
ancestors = coalesce((SELECT group_concat(lower(hex(above.ancestor)), ' ' ORDER BY above.depth) \
FROM above WHERE above.owner = command_locks.command_id AND above.ancestor IS NOT NULL), '')";

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0003_locks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let id = |name: &'static str| identity(backend, name);
        // SQLite adds no column that must have a value without one for the rows that there are. No
        // other database has any.
        let nothing: Value = match backend {
            DbBackend::Sqlite => Vec::<u8>::new().into(),
            _ => Uuid::nil().into(),
        };
        for mut column in [
            id("root_command_id").not_null().default(nothing).take(),
            text("ancestors").not_null().default("").take(),
        ] {
            let locks = Table::alter().table("command_locks").add_column(&mut column).take();
            manager.alter_table(locks).await?;
        }
        if backend == DbBackend::Sqlite {
            manager.get_connection().execute_unprepared(FILL).await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("lock_waiters")
                    .col(id("command_id").not_null())
                    .col(number("number").not_null())
                    .col(text("lock_group").not_null())
                    .col(text("lock_key").not_null())
                    .col(number("position").not_null())
                    .col(large_number("place").not_null())
                    .col(id("root_command_id").not_null())
                    .col(text("command_type").not_null())
                    .col(text("ancestors").not_null())
                    .col(text("mode").not_null())
                    .col(time("since").not_null())
                    .col(time("until").null())
                    .primary_key(
                        Index::create()
                            .col("command_id")
                            .col("number")
                            .col("lock_group")
                            .col("lock_key"),
                    )
                    .foreign_key(&mut to_command("lock_waiters", "command_id"))
                    .to_owned(),
            )
            .await?;
        let mut lock = text("lock").null().take();
        let results = Table::alter().table("once_results").add_column(&mut lock).take();
        manager.alter_table(results).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn indexes() -> [IndexCreateStatement; 4] {
    let line = |name: &'static str| {
        let mut index = Index::create().name(name).table("lock_waiters").take();
        index.col("lock_group").col("lock_key").col("place").take()
    };
    [
        line("idx_lock_waiters_line"),
        line("idx_lock_waiters_exclusive").and_where(Expr::cust(EXCLUSIVE)).take(),
        Index::create()
            .name("idx_lock_waiters_tree")
            .table("lock_waiters")
            .col("root_command_id")
            .col("lock_group")
            .col("lock_key")
            .col("place")
            .take(),
        index("lock_waiters", "place"),
    ]
}
