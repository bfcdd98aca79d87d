//! The changes of the schema, one file each, in their order. A change that was released is never
//! edited: a new one follows it.

mod columns;
mod m0001_commands;
mod m0002_failures;
mod m0003_locks;
mod m0004_callbacks;
mod m0005_kept_tasks;
mod m0006_engines;

use sea_orm::DynIden;
use sea_orm_migration::sea_query::{Alias, IntoIden};
use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

/// The table that says which changes were made. The user's own migrations may live in the same
/// file, so it is not sea-orm's default.
pub(crate) const TABLE: &str = "coco_migrations";

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_commands::Migration),
            Box::new(m0002_failures::Migration),
            Box::new(m0003_locks::Migration),
            Box::new(m0004_callbacks::Migration),
            Box::new(m0005_kept_tasks::Migration),
            Box::new(m0006_engines::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        Alias::new(TABLE).into_iden()
    }
}

#[cfg(test)]
mod tests;
