//! Commands, the results of their `once` steps, locks, and the engine that owns the store.

use sea_orm::{DbBackend, DbErr};
use sea_orm_migration::sea_query::{
    ColumnDef, ConditionalStatement, Expr, ExprTrait, ForeignKey, ForeignKeyAction,
    ForeignKeyCreateStatement, Index, IndexCreateStatement, Table,
};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

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
    let on = |table: &'static str, column: &'static str| {
        let name = format!("idx_{table}_{column}");
        Index::create().name(name).table(table).col(column).to_owned()
    };
    [
        Index::create()
            .name("idx_command_entities_open_roots")
            .table("command_entities")
            .col("command_id")
            .and_where(Expr::cust(crate::read::OPEN_ROOT))
            .to_owned(),
        on("command_entities", "parent_command_id")
            .and_where(Expr::col("parent_command_id").is_not_null())
            .to_owned(),
        on("command_entities", "root_command_id"),
        on("once_results", "root_command_id"),
        on("command_locks", "command_id"),
    ]
}

fn to_command(table: &'static str, column: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(table, column)
        .to("command_entities", "command_id")
        .on_delete(ForeignKeyAction::Restrict)
        .to_owned()
}

/// sea-query gives a UUID the affinity of text in SQLite; it is bound as bytes.
fn identity(backend: DbBackend, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match backend {
        DbBackend::Sqlite => column.binary_len(16),
        _ => column.uuid(),
    };
    column
}

fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().to_owned()
}

fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).integer().to_owned()
}

fn large_number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().to_owned()
}

/// Microseconds since the Unix epoch.
fn time(name: &'static str) -> ColumnDef {
    large_number(name)
}

fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().to_owned()
}
