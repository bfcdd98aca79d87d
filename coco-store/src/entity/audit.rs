//! `audit`: see [`coco_core::entity::Audit`].

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub audit_id: i64,
    pub at: i64,
    pub action: String,
    pub command_id: Uuid,
    pub root_command_id: Uuid,
    pub status: String,
    pub reason: String,
    pub linked: Option<Uuid>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
