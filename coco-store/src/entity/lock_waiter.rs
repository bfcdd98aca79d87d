//! `lock_waiters`: one lock of a [`coco_core::lock::WaitingRequest`].

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lock_waiters")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub command_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub lock_group: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub lock_key: String,
    /// Which of the locks of the request it is.
    pub position: i32,
    /// The rank of the request.
    pub place: i64,
    pub root_command_id: Uuid,
    pub command_type: String,
    pub ancestors: String,
    pub mode: String,
    pub since: i64,
    pub until: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
