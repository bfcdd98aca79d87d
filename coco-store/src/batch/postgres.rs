//! The statements of a batch for PostgreSQL: one text for any number of rows, which come as one
//! array a column.

mod commands;
mod inbox;
mod locks;
mod undo;

use coco_core::CommandId;
use coco_core::lock::WaitingRequest;
use sea_orm::sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::Plan;
use super::inbox::{Audience, InboxChanges};
use super::locks::Interest;
use crate::backend::{self, Dialect};
use crate::error::WriteError;
use crate::postgres::Postgres;

type Bound = backend::Bound<PgArguments>;
type Statement = backend::Statement<PgArguments>;

/// A statement for rows, with an array for each of their columns; none for no rows.
macro_rules! bound {
    ($sql:expr, $rows:expr, |$row:pat_param| $($column:expr),+ $(,)?) => {{
        let rows: Vec<_> = $rows.collect();
        if rows.is_empty() {
            None
        } else {
            let mut arguments = PgArguments::default();
            $({
                let mut column = Vec::with_capacity(rows.len());
                #[allow(unused_variables, reason = "a column takes what it needs of a row")]
                for $row in &rows {
                    column.push($column);
                }
                $crate::batch::postgres::bind(&mut arguments, column)?;
            })+
            Some($crate::backend::Bound::new($sql, arguments))
        }
    }};
}
use bound;

/// Binds one value.
fn bind<'q, T>(arguments: &mut PgArguments, value: T) -> Result<(), WriteError>
where
    T: sea_orm::sqlx::Encode<'q, sea_orm::sqlx::Postgres>
        + sea_orm::sqlx::Type<sea_orm::sqlx::Postgres>,
{
    use sea_orm::sqlx::Arguments;
    arguments.add(value).map_err(|error| WriteError::Data(error.to_string()))
}

fn uuid(id: CommandId) -> Uuid {
    *id.as_uuid()
}

impl Dialect for Postgres {
    type Values = PgArguments;

    fn writes(&self, plan: &Plan<'_, '_>) -> Result<Vec<Bound>, WriteError> {
        let statements = [
            locks::delete(plan)?,
            locks::delete_ones(plan)?,
            locks::delete_waiters(plan)?,
            commands::update(plan)?,
            undo::compensated(plan)?,
            undo::undone(plan)?,
            inbox::end_tasks(plan)?,
            inbox::keep_tasks(plan)?,
            commands::insert(plan, *self.engine_id().as_uuid())?,
            locks::insert(plan)?,
            locks::insert_waiters(plan)?,
            commands::insert_once_results(plan)?,
            commands::insert_sleeps(plan)?,
            undo::register(plan)?,
            inbox::subscribe(plan)?,
            inbox::insert_tasks(plan)?,
            commands::insert_audit(plan)?,
        ];
        Ok(statements.into_iter().flatten().collect())
    }

    fn turn() -> Result<Vec<Bound>, WriteError> {
        let nothing = PgArguments::default;
        Ok(vec![Bound::new(locks::TURN, nothing()), Bound::new(locks::LAST_RANK, nothing())])
    }

    fn taken_keys<'k>(keys: impl Iterator<Item = &'k str>) -> Statement {
        Ok(bound!(commands::READ_TAKEN_KEYS, keys, |key| *key))
    }

    fn line(interest: &Interest<'_>) -> Statement {
        locks::line(interest)
    }

    fn holders(interest: &Interest<'_>, waiting: &[WaitingRequest], is_line: bool) -> Statement {
        locks::holders(interest, waiting, is_line)
    }

    fn held(commands: impl Iterator<Item = CommandId>) -> Statement {
        Ok(bound!(locks::READ_HELD, commands, |id| uuid(*id)))
    }

    fn trees(roots: impl Iterator<Item = CommandId>) -> Statement {
        Ok(bound!(locks::READ_TREES, roots, |id| uuid(*id)))
    }

    fn listening(audience: &Audience<'_, '_>) -> Statement {
        inbox::listening(audience)
    }

    fn publish(audience: &Audience<'_, '_>) -> Statement {
        inbox::publish(audience)
    }

    /// Other engines publish as well: what is newer need not be of this one.
    fn delivered_after(_: i64) -> Statement {
        Ok(None)
    }

    fn check_events(audience: &Audience<'_, '_>) -> Statement {
        inbox::check(audience)
    }

    fn forget(changes: &InboxChanges<'_>) -> Result<Vec<Bound>, WriteError> {
        inbox::forget(changes)
    }

    fn release(&self, clean: bool) -> Statement {
        let rows = [(*self.engine_id().as_uuid(), clean)].into_iter();
        Ok(bound!(commands::RELEASE, rows, |row| row.0, row.1))
    }

    fn beat(&self) -> Statement {
        let rows = [*self.engine_id().as_uuid()].into_iter();
        Ok(bound!(commands::BEAT, rows, |id| *id))
    }
}
