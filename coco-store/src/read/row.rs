//! One row: SQLite lets anybody put anything into a column, so each may be one that cannot be read.

use std::fmt::Write;

use coco_core::store::StoreError;
use sea_orm::sqlx;
use sea_orm::{DbErr, EntityTrait, FromQueryResult, QueryResult, RuntimeErr, TryGetable};
use uuid::Uuid;

use crate::error::unavailable;

/// Reads a row of `E`.
///
/// # Errors
/// [`StoreError::Unreadable`] where a column holds what is not of its type.
pub(super) fn model<E: EntityTrait>(row: &QueryResult) -> Result<E::Model, StoreError> {
    read::<E, _>(row, Ok)
}

/// Reads a row of `E` as what `convert` makes of it, or the column that it cannot, and why.
///
/// # Errors
/// [`StoreError::Unreadable`] where a column holds what is not of its type.
pub(super) fn read<E: EntityTrait, T>(
    row: &QueryResult,
    convert: impl FnOnce(E::Model) -> Result<T, Misfit>,
) -> Result<T, StoreError> {
    let misfit = match E::Model::from_query_result(row, "") {
        Ok(model) => {
            convert(model).map_err(|Misfit { column, reason }| format!("`{column}`: {reason}"))
        }
        Err(error) => Err(misfit(&error).ok_or_else(|| unavailable(error))?),
    };
    misfit.map_err(|misfit| {
        let place = place(row, E::default().table_name());
        StoreError::Unreadable(format!("{place} cannot be read: {misfit}"))
    })
}

/// A column whose text is not what it should be.
pub(super) struct Misfit {
    pub(super) column: &'static str,
    pub(super) reason: String,
}

/// What is in a column, where that can be read.
pub(super) fn column<T: TryGetable>(row: &QueryResult, name: &str) -> Option<T> {
    row.try_get("", name).ok()
}

/// Which row it is.
fn place(row: &QueryResult, table: &str) -> String {
    let mut place = if let Some(command) = column::<Uuid>(row, "command_id") {
        format!("the row of `{command}` in `{table}`")
    } else if let Some(root) = column::<Uuid>(row, "root_command_id") {
        format!("a row of the tree `{root}` in `{table}`")
    } else {
        format!("a row in `{table}`")
    };
    if let Some(position) = column::<i32>(row, "position") {
        let _ = write!(place, " at position {position}");
    }
    place
}

/// Which column is not of its type, and in what way.
fn misfit(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Query(RuntimeErr::SqlxError(error)) => match error.as_ref() {
            sqlx::Error::ColumnDecode { index, source } => {
                Some(format!("`{}`: {source}", index.trim_matches('"')))
            }
            _ => None,
        },
        // A null where there must be a value.
        DbErr::Type(reason) => Some(reason.replace(['"', '\''], "`")),
        _ => None,
    }
}
