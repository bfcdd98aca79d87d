//! How far in the order of ends the callback of a command has seen the ends of its children; what
//! commands listen for, and what has come; their tasks outside.

use sea_orm::DbErr;
use sea_orm_migration::sea_query::{
    ConditionalStatement, Expr, Index, IndexCreateStatement, Table,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::columns::{identity, index, large_number, number, text, time, to_command};

/// What is in an inbox and not handled. A partial index has these words.
const WAITING: &str = "payload IS NOT NULL";

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0004_callbacks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let id = |name: &'static str| identity(manager.get_database_backend(), name);
        let mut seen = large_number("seen").null().take();
        let commands = Table::alter().table("command_entities").add_column(&mut seen).take();
        manager.alter_table(commands).await?;
        manager
            .create_table(
                Table::create()
                    .table("event_subscriptions")
                    .col(id("command_id").not_null())
                    .col(text("event_key").not_null())
                    .col(id("root_command_id").not_null())
                    .col(time("created_at").not_null())
                    .primary_key(Index::create().col("command_id").col("event_key"))
                    .foreign_key(&mut to_command("event_subscriptions", "command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("event_deliveries")
                    .col(large_number("number").not_null().auto_increment().primary_key())
                    .col(id("command_id").not_null())
                    .col(text("event_id").not_null())
                    .col(id("root_command_id").not_null())
                    .col(text("event_key").not_null())
                    .col(text("payload").null())
                    .col(time("published_at").not_null())
                    .foreign_key(&mut to_command("event_deliveries", "command_id"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table("external_tasks")
                    .col(id("command_id").not_null())
                    .col(number("position").not_null())
                    .col(id("root_command_id").not_null())
                    .col(text("task").not_null())
                    .col(time("created_at").not_null())
                    .col(time("ended_at").null())
                    .col(text("failure").null())
                    .primary_key(Index::create().col("command_id").col("position"))
                    .foreign_key(&mut to_command("external_tasks", "command_id"))
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
    let deliveries = |name: &'static str, second: &'static str| {
        let mut index = Index::create().name(name).table("event_deliveries").take();
        index.col("command_id").col(second).take()
    };
    [
        index("event_subscriptions", "event_key"),
        index("event_subscriptions", "root_command_id"),
        deliveries("idx_event_deliveries_event", "event_id").unique().take(),
        deliveries("idx_event_deliveries_inbox", "number").and_where(Expr::cust(WAITING)).take(),
        index("external_tasks", "root_command_id"),
    ]
}
