//! Who holds what, and who waits for what, for those who look at it.

use coco_core::CommandId;
use coco_core::store::{LockRows, StoreError};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryResult,
    QueryTrait,
};

use super::models::{held, waiter};
use super::row;
use super::snapshot::snapshot;
use crate::batch::locks::Known;
use crate::entity::{command_lock, lock_waiter};
use crate::error::unavailable;

/// The keys that a command waits for: which rows have one of them.
fn behind(command: CommandId) -> Expr {
    use lock_waiter::Column;
    let mut keys = Query::select();
    keys.columns([Column::LockGroup, Column::LockKey]).from(lock_waiter::Entity);
    keys.and_where(Column::CommandId.eq(*command.as_uuid()));
    Expr::tuple([Expr::col("lock_group"), Expr::col("lock_key")]).in_subquery(keys)
}

/// The requests that wait for those keys, with all that each of them waits for.
fn beside(command: CommandId) -> Expr {
    let mut ranks = Query::select();
    ranks.column(lock_waiter::Column::Place).from(lock_waiter::Entity).and_where(behind(command));
    lock_waiter::Column::Place.in_subquery(ranks)
}

pub(crate) async fn locks(
    readers: &DatabaseConnection,
    behind: Option<CommandId>,
) -> Result<LockRows, StoreError> {
    let (holders, waiters) = found(readers, behind).await.map_err(unavailable)?;
    let waiters = waiters.iter().map(|row| row::read::<lock_waiter::Entity, _>(row, waiter));
    let mut known = Known::default();
    known.add_waiters(waiters.collect::<Result<_, _>>()?);
    if let Some(command) = known.unreadable.first() {
        let place = format!("the row of `{command}` in `lock_waiters`");
        let reason = format!("{place} cannot be read: another request has its rank in line");
        return Err(StoreError::Unreadable(reason));
    }
    let held = holders.iter().map(|row| row::read::<command_lock::Entity, _>(row, held));
    Ok(LockRows { held: held.collect::<Result<_, _>>()?, waiting: known.rows.waiting })
}

/// What is stored of both, as it was at one moment.
async fn found(
    readers: &DatabaseConnection,
    of: Option<CommandId>,
) -> Result<(Vec<QueryResult>, Vec<QueryResult>), DbErr> {
    let snapshot = snapshot(readers).await?;
    let mut holders = command_lock::Entity::find();
    let mut waiters = lock_waiter::Entity::find();
    if let Some(command) = of {
        holders = holders.filter(behind(command));
        waiters = waiters.filter(beside(command));
    }
    let holders = snapshot.query_all(&holders.into_query()).await?;
    let waiters = snapshot.query_all(&waiters.into_query()).await?;
    snapshot.rollback().await?;
    Ok((holders, waiters))
}
