//! Whether the code that has added a task outside came to its end.

use sea_orm::DbErr;
use sea_orm_migration::sea_query::Table;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager, async_trait};

use super::columns::flag;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m0005_kept_tasks"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Of those that there are nobody can say, and they were asked as they are.
        let mut kept = flag("kept").default(true).take();
        let tasks = Table::alter().table("external_tasks").add_column(&mut kept).take();
        manager.alter_table(tasks).await
    }
}
