//! `command_locks`: see [`coco_core::lock::HeldLock`].

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "command_locks")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub lock_group: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub lock_key: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub command_id: Uuid,
    pub root_command_id: Uuid,
    pub command_type: String,
    pub ancestors: String,
    pub mode: String,
    pub since: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
