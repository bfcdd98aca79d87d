//! Trees, whole. A row that cannot be read makes its own tree unreadable, and no other.

use std::collections::BTreeMap;

use coco_core::CommandId;
use coco_core::entity::{TreeRows, Unreadable};
use coco_core::store::{EngineId, StoreError};
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityName, EntityTrait,
    Order, QueryFilter, QueryResult, QueryTrait,
};
use uuid::Uuid;

use super::models::{command, listening, once, outside, registered, slept};
use super::row::Misfit;
use super::snapshot::snapshot;
use super::{OPEN_ROOT, row};
use crate::entity::{
    command_entity, compensation, event_subscription, external_task, once_result, sleep,
};
use crate::error::unavailable;

/// Which of the open roots have an identity that can be read.
const IDENTIFIED: &str = "typeof(command_id) = 'blob' AND length(command_id) = 16";

/// Of a root, on a server: whose it is.
const ENGINE_ID: &str = "engine_id";

/// `of`: only where it belongs to this engine.
pub(crate) async fn tree(
    readers: &DatabaseConnection,
    of: Option<EngineId>,
    root: CommandId,
) -> Result<Option<TreeRows>, StoreError> {
    let root = Roots::One { root: *root.as_uuid(), of };
    Ok(trees(readers, &root).await?.pop())
}

pub(crate) async fn open_trees(
    readers: &DatabaseConnection,
    of: Option<EngineId>,
    after: Option<CommandId>,
    limit: usize,
) -> Result<Vec<TreeRows>, StoreError> {
    if after.is_none() && readers.get_database_backend() == DbBackend::Sqlite {
        tell_of_unidentified(readers).await.map_err(unavailable)?;
    }
    let limit = u64::from(u32::try_from(limit).unwrap_or(u32::MAX));
    trees(readers, &Roots::Page(Box::new(page(readers.get_database_backend(), of, after, limit))))
        .await
}

/// No page has them, and nothing can be said of them to anybody else.
async fn tell_of_unidentified(readers: &DatabaseConnection) -> Result<(), DbErr> {
    let mut unidentified = Query::select();
    unidentified
        .expr_as(Expr::cust("quote(command_id)"), "command_id")
        .from(command_entity::Entity)
        .and_where(Expr::cust(OPEN_ROOT))
        .and_where(Expr::cust(IDENTIFIED).not());
    for row in readers.query_all(&unidentified).await? {
        let id: String = row.try_get("", "command_id")?;
        tracing::error!(id, "an open root is left as it is: its identity cannot be read");
    }
    Ok(())
}

/// Whose trees are read.
enum Roots {
    One { root: Uuid, of: Option<EngineId> },
    Page(Box<SelectStatement>),
}

impl Roots {
    /// The identities of the roots that are stored.
    fn stored(&self) -> SelectStatement {
        use command_entity::{Column, Entity};
        match self {
            Self::One { root, of } => {
                let is_root = Column::ParentCommandId.is_null();
                let mut one = Query::select();
                one.column(Column::CommandId).from(Entity);
                one.and_where(Column::CommandId.eq(*root)).and_where(is_root);
                one.and_where_option(of.map(is_of)).to_owned()
            }
            Self::Page(page) => SelectStatement::clone(page),
        }
    }

    /// The rows of a table that belong to their trees.
    fn rows<E: EntityTrait>(&self, root: E::Column) -> SelectStatement {
        let of_trees = match self {
            Self::One { root: id, .. } => root.eq(*id),
            Self::Page(page) => root.in_subquery(SelectStatement::clone(page)),
        };
        E::find().filter(of_trees).into_query()
    }
}

/// Which roots belong to an engine.
fn is_of(engine: EngineId) -> Expr {
    Expr::col(ENGINE_ID).eq(*engine.as_uuid())
}

/// The identities of a page of open roots.
fn page(
    backend: DbBackend,
    of: Option<EngineId>,
    after: Option<CommandId>,
    limit: u64,
) -> SelectStatement {
    use command_entity::{Column, Entity};
    let mut page = Query::select();
    page.column(Column::CommandId).from(Entity).and_where(Expr::cust(OPEN_ROOT));
    if backend == DbBackend::Sqlite {
        page.and_where(Expr::cust(IDENTIFIED));
    }
    match (of, after) {
        (Some(engine), after) => {
            page.and_where(follows(engine, after)).and_where(is_of_at_most(engine));
            page.order_by(ENGINE_ID, Order::Asc);
        }
        (None, Some(after)) => {
            page.and_where(Column::CommandId.gt(*after.as_uuid()));
        }
        (None, None) => {}
    }
    page.order_by(Column::CommandId, Order::Asc).limit(limit).to_owned()
}

/// Which roots come after one of an engine, in the order of engines. A server that is asked for those
/// of an engine alone takes that for all that there are, and goes through those of the others as well:
/// this way there is one index only that has them in their order.
fn follows(engine: EngineId, after: Option<CommandId>) -> Expr {
    let place = Expr::tuple([Expr::col(ENGINE_ID), Expr::col(command_entity::Column::CommandId)]);
    let from = |id: Uuid| Expr::tuple([Expr::val(*engine.as_uuid()), Expr::val(id)]);
    match after {
        Some(after) => place.gt(from(*after.as_uuid())),
        None => place.gte(from(Uuid::nil())),
    }
}

fn is_of_at_most(engine: EngineId) -> Expr {
    Expr::col(ENGINE_ID).lte(*engine.as_uuid())
}

/// The trees of these roots, ordered by root, all as they were at one moment.
async fn trees(readers: &DatabaseConnection, roots: &Roots) -> Result<Vec<TreeRows>, StoreError> {
    let found = Found::read(readers, roots).await.map_err(unavailable)?;
    if found.roots.is_empty() && matches!(roots, Roots::One { of: Some(_), .. }) {
        return Ok(Vec::new());
    }
    let mut trees = Trees::of(&found.roots)?;
    trees.add::<command_entity::Entity>(&found.commands, |tree, row| {
        tree.commands.push(command(row));
        Ok(())
    })?;
    trees.add::<once_result::Entity>(&found.once_results, |tree, row| {
        tree.once_results.push(once(row)?);
        Ok(())
    })?;
    trees.add::<sleep::Entity>(&found.sleeps, |tree, row| {
        tree.sleeps.push(slept(&row));
        Ok(())
    })?;
    trees.add::<compensation::Entity>(&found.compensations, |tree, row| {
        tree.compensations.push(registered(row));
        Ok(())
    })?;
    trees.add::<event_subscription::Entity>(&found.subscriptions, |tree, row| {
        tree.subscriptions.push(listening(row));
        Ok(())
    })?;
    trees.add::<external_task::Entity>(&found.tasks, |tree, row| {
        tree.tasks.push(outside(row));
        Ok(())
    })?;
    Ok(trees.all())
}

/// What is stored of some trees, not looked into.
struct Found {
    roots: Vec<QueryResult>,
    commands: Vec<QueryResult>,
    once_results: Vec<QueryResult>,
    sleeps: Vec<QueryResult>,
    compensations: Vec<QueryResult>,
    subscriptions: Vec<QueryResult>,
    tasks: Vec<QueryResult>,
}

impl Found {
    async fn read(readers: &DatabaseConnection, roots: &Roots) -> Result<Self, DbErr> {
        use command_entity::Column as OfCommand;
        use compensation::Column as OfCompensation;
        use event_subscription::Column as OfSubscription;
        use external_task::Column as OfTask;
        use once_result::Column as OfOnce;
        let snapshot = snapshot(readers).await?;
        let rows = async |select: SelectStatement| snapshot.query_all(&select).await;
        let found = Self {
            roots: rows(roots.stored()).await?,
            commands: rows(roots.rows::<command_entity::Entity>(OfCommand::RootCommandId)).await?,
            once_results: rows(roots.rows::<once_result::Entity>(OfOnce::RootCommandId)).await?,
            sleeps: rows(roots.rows::<sleep::Entity>(sleep::Column::RootCommandId)).await?,
            compensations: rows(roots.rows::<compensation::Entity>(OfCompensation::RootCommandId))
                .await?,
            subscriptions: rows(
                roots.rows::<event_subscription::Entity>(OfSubscription::RootCommandId),
            )
            .await?,
            tasks: rows(roots.rows::<external_task::Entity>(OfTask::RootCommandId)).await?,
        };
        snapshot.rollback().await?;
        Ok(found)
    }
}

/// Trees, by the identities of their roots.
struct Trees(BTreeMap<Uuid, TreeRows>);

impl Trees {
    fn of(roots: &[QueryResult]) -> Result<Self, StoreError> {
        let roots = roots.iter().map(|row| row.try_get("", "command_id").map_err(unavailable));
        Ok(Self(roots.map(|root| Ok((root?, TreeRows::default()))).collect::<Result<_, _>>()?))
    }

    /// Adds the rows of a table to their trees.
    fn add<E: EntityTrait>(
        &mut self,
        rows: &[QueryResult],
        push: impl Fn(&mut TreeRows, E::Model) -> Result<(), Misfit>,
    ) -> Result<(), StoreError> {
        for row in rows {
            // It was found by that: it can be read.
            let root = row.try_get("", "root_command_id").map_err(unavailable)?;
            let tree = self.0.entry(root).or_default();
            match row::read::<E, _>(row, |model| push(tree, model)) {
                Ok(()) => {}
                Err(StoreError::Unreadable(reason)) => {
                    let command = row::column(row, "command_id").unwrap_or(root);
                    let (root, command) =
                        (CommandId::from_uuid(root), CommandId::from_uuid(command));
                    tree.unreadable.get_or_insert(Unreadable { root, command, reason });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All of them, ordered. One without the row of its root is one that says it is of another
    /// tree: that column cannot be read.
    fn all(self) -> Vec<TreeRows> {
        let whole = |(root, mut tree): (Uuid, TreeRows)| {
            let root = CommandId::from_uuid(root);
            let has_root = tree.commands.iter().any(|row| row.command_id == root);
            if !has_root && tree.unreadable.is_none() {
                let table = command_entity::Entity.table_name();
                let place = format!("the row of `{root}` in `{table}`");
                let reason = format!("{place} cannot be read: `root_command_id` is another");
                tree.unreadable = Some(Unreadable { root, command: root, reason });
            }
            tree
        };
        self.0.into_iter().map(whole).collect()
    }
}
