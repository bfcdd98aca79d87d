//! What undoes a command, what makes it wait, the key that it was submitted with, and what
//! operators did.

use sea_orm::DbErr;
use sea_orm_migration::sea_query::{
    ConditionalStatement, Expr, ExprTrait, Index, IndexCreateStatement, Table,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::columns::{identity, index, large_number, number, text, time, to_command};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0002_failures"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = |name: &'static str| identity(manager.get_database_backend(), name);
        for mut column in [
            text("submit_key").null().take(),
            id("resubmit_of").null().take(),
            text("retry").null().take(),
            number("hook_attempt").not_null().default(0).take(),
            time("started_at").null().take(),
            time("wake_at").null().take(),
            text("cancelled").null().take(),
            text("undo").null().take(),
            time("compensated_at").null().take(),
        ] {
            // SQLite adds one column at a time.
            let commands = Table::alter().table("command_entities").add_column(&mut column).take();
            manager.alter_table(commands).await?;
        }
        manager
            .create_table(
                Table::create()
                    .table("sleeps")
                    .col(id("command_id").not_null())
                    .col(id("root_command_id").not_null())
                    .col(number("position").not_null())
                    .col(large_number("micros").not_null())
                    .col(time("wake_at").not_null())
                    .primary_key(Index::create().col("command_id").col("position"))
                    .foreign_key(&mut to_command("sleeps", "command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("compensations")
                    .col(id("command_id").not_null())
                    .col(id("root_command_id").not_null())
                    .col(number("position").not_null())
                    .col(text("command_type").not_null())
                    .col(text("command_parameters").not_null())
                    .col(large_number("end_order").not_null())
                    .col(time("created_at").not_null())
                    .col(time("compensated_at").null())
                    .primary_key(Index::create().col("command_id").col("position"))
                    .foreign_key(&mut to_command("compensations", "command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("audit")
                    .col(large_number("audit_id").not_null().auto_increment().primary_key())
                    .col(time("at").not_null())
                    .col(text("action").not_null())
                    .col(id("command_id").not_null())
                    .col(id("root_command_id").not_null())
                    .col(text("status").not_null())
                    .col(text("reason").not_null())
                    .col(id("linked").null())
                    .to_owned(),
            )
            .await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn indexes() -> [IndexCreateStatement; 4] {
    [
        index("command_entities", "submit_key")
            .unique()
            .and_where(Expr::col("submit_key").is_not_null())
            .to_owned(),
        index("sleeps", "root_command_id"),
        index("compensations", "root_command_id"),
        index("audit", "root_command_id"),
    ]
}
