//! Rows as the core knows them.

use std::collections::BTreeMap;

use coco_core::entity::{CommandEntity, OnceResult, Progress, TreeRows};
use coco_core::store::StoreError;
use coco_core::{CommandId, CommandStatus, Timestamp};
use sea_orm::sea_query::{Expr, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, QueryFilter, TransactionTrait,
};

use crate::entity::{command_entity, once_result};
use crate::error::unavailable;

/// Which rows are open roots. A partial index has these words; a query that has the same uses it.
pub(crate) const OPEN_ROOT: &str = "parent_command_id IS NULL \
    AND status NOT IN ('ended_successfully', 'ended_with_failure')";

pub(crate) async fn entity(
    readers: &DatabaseConnection,
    id: CommandId,
) -> Result<Option<CommandEntity>, StoreError> {
    let found = command_entity::Entity::find_by_id(*id.as_uuid()).one(readers).await;
    Ok(found.map_err(unavailable)?.map(command))
}

pub(crate) async fn tree(
    readers: &DatabaseConnection,
    root: CommandId,
) -> Result<Option<TreeRows>, StoreError> {
    let root = *root.as_uuid();
    let commands = command_entity::Column::RootCommandId.eq(root);
    let results = once_result::Column::RootCommandId.eq(root);
    let mut trees = trees(readers, commands.into(), results.into()).await.map_err(unavailable)?;
    Ok(trees.pop())
}

pub(crate) async fn open_trees(
    readers: &DatabaseConnection,
    after: Option<CommandId>,
    limit: usize,
) -> Result<Vec<TreeRows>, StoreError> {
    let limit = u64::from(u32::try_from(limit).unwrap_or(u32::MAX));
    let commands = command_entity::Column::RootCommandId.in_subquery(page(after, limit));
    let results = once_result::Column::RootCommandId.in_subquery(page(after, limit));
    trees(readers, commands.into(), results.into()).await.map_err(unavailable)
}

/// The identities of a page of open roots.
fn page(after: Option<CommandId>, limit: u64) -> SelectStatement {
    use command_entity::{Column, Entity};
    let mut page = Query::select();
    page.column(Column::CommandId).from(Entity).and_where(Expr::cust(OPEN_ROOT));
    if let Some(after) = after {
        page.and_where(Column::CommandId.gt(*after.as_uuid()));
    }
    page.order_by(Column::CommandId, sea_orm::Order::Asc).limit(limit).to_owned()
}

/// The trees of these rows, ordered by root, all as they were at one moment.
async fn trees(
    readers: &DatabaseConnection,
    commands: Condition,
    results: Condition,
) -> Result<Vec<TreeRows>, DbErr> {
    let snapshot = readers.begin().await?;
    let commands = command_entity::Entity::find().filter(commands).all(&snapshot).await?;
    let results = once_result::Entity::find().filter(results).all(&snapshot).await?;
    snapshot.rollback().await?;

    let mut trees = BTreeMap::new();
    for row in commands {
        let empty = || TreeRows { commands: Vec::new(), once_results: Vec::new() };
        trees.entry(row.root_command_id).or_insert_with(empty).commands.push(command(row));
    }
    for row in results {
        if let Some(tree) = trees.get_mut(&row.root_command_id) {
            tree.once_results.push(once(row));
        }
    }
    Ok(trees.into_values().collect())
}

fn command(row: command_entity::Model) -> CommandEntity {
    CommandEntity {
        command_id: CommandId::from_uuid(row.command_id),
        command_type: row.command_type.into(),
        parent_command_id: row.parent_command_id.map(CommandId::from_uuid),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        command_parameters: row.command_parameters.into(),
        created_at: Timestamp::from_micros(row.created_at),
        callback_enabled: row.callback_enabled,
        progress: Progress {
            status: status(&row.status),
            stuck_from: row.stuck_from.as_deref().map(status),
            stuck_reason: row.stuck_reason.map(Into::into),
            executed: row.executed,
            callback_notified: row.callback_notified,
            attempt: row.attempt,
            state: row.state.map(Into::into),
            return_value: row.return_value.map(Into::into),
            failure: row.failure.map(Into::into),
            end_order: row.end_order,
            ended_at: row.ended_at.map(Timestamp::from_micros),
            deaths: row.deaths,
            deaths_end_order: row.deaths_end_order,
        },
    }
}

fn once(row: once_result::Model) -> OnceResult {
    OnceResult {
        command_id: CommandId::from_uuid(row.command_id),
        root_command_id: CommandId::from_uuid(row.root_command_id),
        position: row.position,
        name: row.name.into(),
        end_order: row.end_order,
        ended_at: Timestamp::from_micros(row.ended_at),
        return_value: row.return_value.map(Into::into),
        failure: row.failure.map(Into::into),
    }
}

fn status(text: &str) -> CommandStatus {
    text.parse().unwrap_or(CommandStatus::Unknown)
}
