//! What went wrong, by what can be done about it.

use std::error::Error;

use coco_core::store::{CommitError, StoreError};
use sea_orm::RuntimeErr;
use sea_orm::sqlx;

/// Why the writer could not apply a batch.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The data itself: the same batch fails again, parts of it may not.
    Data(String),
    /// Anything else that the caller is told.
    Commit(CommitError),
}

impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if Code::of(&error).is_some_and(Code::is_data) => {
                Self::Data(database.message().to_owned())
            }
            sqlx::Error::Encode(_) => Self::Data(error.to_string()),
            // A lock or a key that is stored, and that decides this very step.
            sqlx::Error::ColumnDecode { .. } => {
                Self::Data(format!("a row that decides about it cannot be read: {error}"))
            }
            _ => unavailable(error).into(),
        }
    }
}

/// A row that is no JSON.
impl From<serde_json::Error> for WriteError {
    fn from(error: serde_json::Error) -> Self {
        Self::Data(error.to_string())
    }
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Commit(match error {
            StoreError::Damaged(reason) => CommitError::Damaged(reason),
            StoreError::Unavailable(reason) => CommitError::Unavailable(reason),
            other => CommitError::Unavailable(other.to_string()),
        })
    }
}

/// The errors of sqlx and of sea-orm alike. Most pass, such as a full disk or the lock of another;
/// damage does not.
pub(crate) fn unavailable(error: impl Error + 'static) -> StoreError {
    let reason = error.to_string();
    if Code::of(&error).is_some_and(Code::is_damage) {
        StoreError::Damaged(reason)
    } else {
        StoreError::Unavailable(reason)
    }
}

/// An extended result code of SQLite.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code(u32);

impl Code {
    /// The code that `error` has, or what it comes from.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let of_sqlx = match error.downcast_ref() {
                Some(RuntimeErr::SqlxError(error)) => Some(error.as_ref()),
                _ => error.downcast_ref::<sqlx::Error>(),
            };
            if let Some(error) = of_sqlx {
                return error.as_database_error()?.code()?.parse().ok().map(Self);
            }
            cause = error.source();
        }
        None
    }

    const fn primary(self) -> u32 {
        self.0 & 0xff
    }

    /// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT`, `SQLITE_MISMATCH`.
    const fn is_data(self) -> bool {
        matches!(self.primary(), 18..=20)
    }

    /// `SQLITE_CORRUPT`, `SQLITE_NOTADB`.
    pub(crate) const fn is_damage(self) -> bool {
        matches!(self.primary(), 11 | 26)
    }

    /// `SQLITE_FULL`, and `SQLITE_IOERR_WRITE`, which is also what a quota says. A commit that
    /// cannot be written whole is none: its last page makes it one.
    pub(crate) const fn is_unwritten(self) -> bool {
        matches!(self.0, 13 | 778)
    }
}
