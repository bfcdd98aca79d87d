//! What waits in the inbox of a command.

use coco_core::CommandId;
use coco_core::entity::Delivery;
use coco_core::store::StoreError;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
};

use super::models::delivered;
use super::row;
use crate::entity::event_delivery::{Column, Entity};
use crate::error::unavailable;

pub(crate) async fn inbox(
    readers: &DatabaseConnection,
    command: CommandId,
    limit: usize,
) -> Result<Vec<Delivery>, StoreError> {
    let of_command = Entity::find().filter(Column::CommandId.eq(*command.as_uuid()));
    let waiting = of_command.filter(Column::Payload.is_not_null());
    let limit = u64::from(u32::try_from(limit).unwrap_or(u32::MAX));
    let find = waiting.order_by_asc(Column::Number).limit(limit).into_query();
    let found = readers.query_all(&find).await.map_err(unavailable)?;
    found.iter().map(|row| row::model::<Entity>(row).map(delivered)).collect()
}
