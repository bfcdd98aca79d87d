//! `command_entities`: see [`coco_core::entity::CommandEntity`].

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "command_entities")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub command_id: Uuid,
    pub command_type: String,
    pub parent_command_id: Option<Uuid>,
    pub root_command_id: Uuid,
    pub position: i32,
    pub command_parameters: String,
    pub created_at: i64,
    pub callback_enabled: bool,
    pub submit_key: Option<String>,
    pub resubmit_of: Option<Uuid>,
    pub retry: Option<String>,
    pub status: String,
    pub stuck_from: Option<String>,
    pub stuck_reason: Option<String>,
    pub executed: bool,
    pub callback_notified: bool,
    pub attempt: i32,
    pub hook_attempt: i32,
    pub started_at: Option<i64>,
    pub wake_at: Option<i64>,
    pub cancelled: Option<String>,
    pub seen: Option<i64>,
    pub undo: Option<String>,
    pub compensated_at: Option<i64>,
    pub state: Option<String>,
    pub return_value: Option<String>,
    pub failure: Option<String>,
    pub end_order: Option<i64>,
    pub ended_at: Option<i64>,
    pub deaths: i32,
    pub deaths_end_order: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
