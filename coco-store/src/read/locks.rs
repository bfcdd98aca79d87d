//! Who holds what, and who waits for what, for those who look at it.

use coco_core::CommandId;
use coco_core::store::{LockRows, StoreError};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryResult, QueryTrait, Select, TransactionTrait,
};

use super::models::{held, waiter};
use super::row;
use crate::batch::locks::Known;
use crate::entity::{command_lock, lock_waiter};
use crate::error::unavailable;

/// The locks on the keys that a command waits for.
const BEHIND: &str = "(lock_group, lock_key) IN \
    (SELECT lock_group, lock_key FROM lock_waiters WHERE command_id = ?)";

/// The requests that wait for those keys, with all that each of them waits for.
const BESIDE: &str = "place IN (SELECT place FROM lock_waiters WHERE (lock_group, lock_key) IN \
    (SELECT lock_group, lock_key FROM lock_waiters WHERE command_id = ?))";

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
    behind: Option<CommandId>,
) -> Result<(Vec<QueryResult>, Vec<QueryResult>), DbErr> {
    let snapshot: DatabaseTransaction = readers.begin().await?;
    let holders = chosen(command_lock::Entity::find(), behind, BEHIND);
    let holders = snapshot.query_all(&holders.into_query()).await?;
    let waiters = chosen(lock_waiter::Entity::find(), behind, BESIDE);
    let waiters = snapshot.query_all(&waiters.into_query()).await?;
    snapshot.rollback().await?;
    Ok((holders, waiters))
}

fn chosen<E: EntityTrait>(
    all: Select<E>,
    behind: Option<CommandId>,
    which: &'static str,
) -> Select<E> {
    match behind {
        Some(command) => all.filter(Expr::cust_with_values(which, [*command.as_uuid()])),
        None => all,
    }
}
