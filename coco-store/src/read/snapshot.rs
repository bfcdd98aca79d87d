//! Several reads at one moment.

use sea_orm::{
    AccessMode, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel,
    TransactionTrait,
};

/// A transaction that sees what was committed when it was begun.
pub(super) async fn snapshot(readers: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    match readers.get_database_backend() {
        // Each of its transactions is one.
        DbBackend::Sqlite => readers.begin().await,
        _ => {
            let (isolation, access) = (IsolationLevel::RepeatableRead, AccessMode::ReadOnly);
            readers.begin_with_config(Some(isolation), Some(access)).await
        }
    }
}
