//! Rows as the core knows them.

mod inbox;
mod locks;
mod models;
mod row;
mod snapshot;
mod trees;

use coco_core::CommandId;
use coco_core::entity::{Audit, CommandEntity};
use coco_core::store::StoreError;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder,
    QueryTrait,
};

pub(crate) use self::inbox::inbox;
pub(crate) use self::locks::locks;
use self::models::{audited, command};
pub(crate) use self::trees::{open_trees, tree};
use crate::entity::{audit, command_entity};
use crate::error::unavailable;

/// Which rows are open roots. A partial index has these words; a query that has the same uses it.
pub(crate) const OPEN_ROOT: &str = "parent_command_id IS NULL \
    AND status NOT IN ('ended_successfully', 'ended_with_failure')";

pub(crate) async fn entity(
    readers: &DatabaseConnection,
    id: CommandId,
) -> Result<Option<CommandEntity>, StoreError> {
    let find = command_entity::Entity::find_by_id(*id.as_uuid()).into_query();
    let found = readers.query_one(&find).await.map_err(unavailable)?;
    found.map(|row| row::model::<command_entity::Entity>(&row).map(command)).transpose()
}

pub(crate) async fn audit(
    readers: &DatabaseConnection,
    root: CommandId,
) -> Result<Vec<Audit>, StoreError> {
    let of_tree = audit::Entity::find().filter(audit::Column::RootCommandId.eq(*root.as_uuid()));
    let find = of_tree.order_by_asc(audit::Column::AuditId).into_query();
    let found = readers.query_all(&find).await.map_err(unavailable)?;
    found.iter().map(|row| row::model::<audit::Entity>(row).map(audited)).collect()
}
