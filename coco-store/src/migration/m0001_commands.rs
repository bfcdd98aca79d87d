//! Commands, the results of their `once` steps, locks, and the engine that owns the store.

use sea_orm::DbErr;
use sea_orm_migration::sea_query::{
    ConditionalStatement, Expr, ExprTrait, Index, IndexCreateStatement, Table,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::columns::{flag, identity, index, large_number, number, text, time, to_command};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0001_commands"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = |name: &'static str| identity(manager.get_database_backend(), name);
        manager
            .create_table(
                Table::create()
                    .table("command_entities")
                    .col(id("command_id").primary_key())
                    .col(text("command_type").not_null())
                    .col(id("parent_command_id").null())
                    .col(id("root_command_id").not_null())
                    .col(number("position").not_null())
                    .col(text("command_parameters").not_null())
                    .col(time("created_at").not_null())
                    .col(flag("callback_enabled"))
                    .col(text("status").not_null())
                    .col(text("stuck_from").null())
                    .col(text("stuck_reason").null())
                    .col(flag("executed"))
                    .col(flag("callback_notified"))
                    .col(number("attempt").not_null())
                    .col(text("state").null())
                    .col(text("return_value").null())
                    .col(text("failure").null())
                    .col(large_number("end_order").null())
                    .col(time("ended_at").null())
                    .col(number("deaths").not_null())
                    .col(large_number("deaths_end_order").not_null())
                    .foreign_key(&mut to_command("command_entities", "parent_command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("once_results")
                    .col(id("command_id").not_null())
                    .col(id("root_command_id").not_null())
                    .col(number("position").not_null())
                    .col(text("name").not_null())
                    .col(large_number("end_order").not_null())
                    .col(time("ended_at").not_null())
                    .col(text("return_value").null())
                    .col(text("failure").null())
                    .primary_key(Index::create().col("command_id").col("position"))
                    .foreign_key(&mut to_command("once_results", "command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("command_locks")
                    .col(text("lock_group").not_null())
                    .col(text("lock_key").not_null())
                    .col(id("command_id").not_null())
                    .col(text("command_type").not_null())
                    .col(text("mode").not_null())
                    .col(time("since").not_null())
                    .primary_key(
                        Index::create().col("lock_group").col("lock_key").col("command_id"),
                    )
                    .foreign_key(&mut to_command("command_locks", "command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("engines")
                    .col(id("engine_id").primary_key())
                    .col(large_number("epoch").not_null())
                    .col(flag("clean"))
                    .to_owned(),
            )
            .await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn indexes() -> [IndexCreateStatement; 5] {
    [
        Index::create()
            .name("idx_command_entities_open_roots")
            .table("command_entities")
            .col("command_id")
            .and_where(Expr::cust(crate::read::OPEN_ROOT))
            .to_owned(),
        index("command_entities", "parent_command_id")
            .and_where(Expr::col("parent_command_id").is_not_null())
            .to_owned(),
        index("command_entities", "root_command_id"),
        index("once_results", "root_command_id"),
        index("command_locks", "command_id"),
    ]
}
