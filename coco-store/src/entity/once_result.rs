//! `once_results`: see [`coco_core::entity::OnceResult`].

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "once_results")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub command_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    pub root_command_id: Uuid,
    pub name: String,
    pub end_order: i64,
    pub ended_at: i64,
    pub return_value: Option<String>,
    pub failure: Option<String>,
    pub lock: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
