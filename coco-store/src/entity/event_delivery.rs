//! `event_deliveries`: see [`coco_core::entity::Delivery`].

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_deliveries")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub number: i64,
    pub command_id: Uuid,
    pub event_id: String,
    pub root_command_id: Uuid,
    pub event_key: String,
    /// None once it is handled.
    pub payload: Option<String>,
    pub published_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
