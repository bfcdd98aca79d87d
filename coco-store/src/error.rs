//! What went wrong, by what can be done about it.

use coco_core::store::{CommitError, StoreError};
use sea_orm::sqlx::{self, error::DatabaseError};

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
            sqlx::Error::Database(database) if is_about_data(database.as_ref()) => {
                Self::Data(database.message().to_owned())
            }
            sqlx::Error::Encode(_) => Self::Data(error.to_string()),
            _ => Self::Commit(CommitError::Unavailable(error.to_string())),
        }
    }
}

/// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT` and `SQLITE_MISMATCH`; the rest is about the database.
fn is_about_data(error: &dyn DatabaseError) -> bool {
    let extended: Option<u32> = error.code().and_then(|code| code.parse().ok());
    matches!(extended.map(|code| code & 0xff), Some(18..=20))
}

/// The errors of sqlx and of sea-orm alike, where no more can be said.
pub(crate) fn unavailable(error: impl std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
