//! The columns, indexes and foreign keys that the tables are made of.

use sea_orm::DbBackend;
use sea_orm_migration::sea_query::{
    ColumnDef, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement, Index, IndexCreateStatement,
};

/// The index of one column.
pub(super) fn index(table: &'static str, column: &'static str) -> IndexCreateStatement {
    let name = format!("idx_{table}_{column}");
    Index::create().name(name).table(table).col(column).to_owned()
}

pub(super) fn to_command(table: &'static str, column: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from(table, column)
        .to("command_entities", "command_id")
        .on_delete(ForeignKeyAction::Restrict)
        .to_owned()
}

/// sea-query gives a UUID the affinity of text in SQLite; it is bound as bytes.
pub(super) fn identity(backend: DbBackend, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    match backend {
        DbBackend::Sqlite => column.binary_len(16),
        _ => column.uuid(),
    };
    column
}

pub(super) fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).text().to_owned()
}

pub(super) fn number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).integer().to_owned()
}

pub(super) fn large_number(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).big_integer().to_owned()
}

/// Microseconds since the Unix epoch.
pub(super) fn time(name: &'static str) -> ColumnDef {
    large_number(name)
}

pub(super) fn flag(name: &'static str) -> ColumnDef {
    ColumnDef::new(name).boolean().not_null().to_owned()
}
