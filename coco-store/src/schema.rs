//! Brings the tables to the version of this program, or says why it cannot.

use coco_core::store::StoreError;
use sea_orm::{DatabaseConnection, EntityTrait, QueryOrder};
use sea_orm_migration::{MigratorTrait, SchemaManager};

use crate::entity::migration;
use crate::error::unavailable;
use crate::migration::{Migrator, TABLE};
use crate::options::Database;
use crate::ownership::Ownership;
#[cfg(feature = "postgres")]
use crate::postgres::Server;
#[cfg(feature = "postgres")]
use crate::readers::Readers;

/// How the tables of a file compare to this program.
enum Version {
    Same,
    Older,
    Newer { found: String },
}

/// Migrates a file where that is needed, which only its owner may do.
pub(crate) async fn prepare(
    database: &Database,
    readers: &DatabaseConnection,
) -> Result<(), StoreError> {
    if is_current(readers).await? {
        return Ok(());
    }
    let _ownership = Ownership::take(&database.path).map_err(|error| match error {
        StoreError::InUse { holder } => StoreError::InUse {
            holder: format!("{holder}, which must stop before its older tables can be migrated"),
        },
        other => other,
    })?;
    migrate(database.migrator().await?).await
}

/// Migrates a server's database where that is needed. Others wait meanwhile.
#[cfg(feature = "postgres")]
pub(crate) async fn prepare_server(server: &Server, readers: &Readers) -> Result<(), StoreError> {
    if readers.read(async move |readers| is_current(&readers).await).await? {
        return Ok(());
    }
    migrate(server.migrator().await?).await
}

/// False for an older one.
async fn is_current(connection: &DatabaseConnection) -> Result<bool, StoreError> {
    match version(connection).await? {
        Version::Same => Ok(true),
        Version::Newer { found } => Err(StoreError::NewerSchema { found }),
        Version::Older => Ok(false),
    }
}

async fn migrate(connection: DatabaseConnection) -> Result<(), StoreError> {
    let migrated = match is_current(&connection).await {
        Ok(false) => Migrator::up(&connection, None).await.map_err(unavailable),
        Ok(true) => Ok(()),
        Err(error) => Err(error),
    };
    connection.close().await.map_err(unavailable)?;
    migrated
}

async fn version(connection: &DatabaseConnection) -> Result<Version, StoreError> {
    let tables = SchemaManager::new(connection);
    if !tables.has_table(TABLE).await.map_err(unavailable)? {
        return Ok(Version::Older);
    }
    let applied = migration::Entity::find().order_by_asc(migration::Column::Version);
    let applied = applied.all(connection).await.map_err(unavailable)?;
    let migrations = Migrator::migrations();
    let known: Vec<&str> = migrations.iter().map(|migration| migration.name()).collect();
    let unknown = applied.iter().find(|applied| !known.contains(&applied.version.as_str()));
    Ok(match unknown {
        Some(unknown) => Version::Newer { found: format!("the migration `{}`", unknown.version) },
        None if applied.len() < known.len() => Version::Older,
        None => Version::Same,
    })
}
