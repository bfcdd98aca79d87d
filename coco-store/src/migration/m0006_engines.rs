//! Several engines: which process each runs in, whether it lives, which roots are its own, and which
//! of its last transactions were committed.

use sea_orm::{DbBackend, DbErr};
use sea_orm_migration::sea_query::{ConditionalStatement, Expr, Index, Table};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};
use uuid::Uuid;

use super::columns::{flag, identity, large_number, text};
use crate::read::OPEN_ROOT;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0006_engines"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    /// SQLite has one engine, which the lock of its file tells.
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::Sqlite {
            return Ok(());
        }
        let id = |name: &'static str| identity(manager.get_database_backend(), name);
        for mut column in [
            large_number("heartbeat").not_null().default(0).take(),
            flag("released").default(false).take(),
            id("incarnation").not_null().default(Uuid::nil()).take(),
            text("process").null().take(),
            text("holder").not_null().default("").take(),
        ] {
            let engines = Table::alter().table("engines").add_column(&mut column).take();
            manager.alter_table(engines).await?;
        }
        let commits = Table::create()
            .table("commits")
            .col(large_number("epoch").not_null())
            .col(large_number("number").not_null())
            .primary_key(Index::create().col("epoch").col("number"))
            .take();
        manager.create_table(commits).await?;
        let mut engine = id("engine_id").null().take();
        let commands = Table::alter().table("command_entities").add_column(&mut engine).take();
        manager.alter_table(commands).await?;
        let of_engine = Index::create()
            .name("idx_command_entities_open_roots_of_engine")
            .table("command_entities")
            .col("engine_id")
            .col("command_id")
            .and_where(Expr::cust(OPEN_ROOT))
            .take();
        manager.create_index(of_engine).await
    }
}
