//! What went wrong, by what can be done about it.

use std::error::Error;
use std::sync::Arc;

use coco_core::store::{CommitError, StoreError};
use sea_orm::sqlx;
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr};

/// The index by which a submit key is taken once.
const SUBMIT_KEY: &str = "idx_command_entities_submit_key";

/// What sqlx says of an address that asks for TLS, where it was built without.
const NO_TLS: &str = "built without TLS support";

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
            // Another engine took the submit key meanwhile: the same batch again finds that.
            sqlx::Error::Database(database) if database.constraint() == Some(SUBMIT_KEY) => {
                unavailable(error).into()
            }
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

/// What the rows of a transaction hold.
impl From<DbErr> for WriteError {
    fn from(error: DbErr) -> Self {
        match error {
            DbErr::Query(RuntimeErr::SqlxError(error)) => match Arc::try_unwrap(error) {
                Ok(error) => error.into(),
                Err(shared) => unavailable(DbErr::Query(RuntimeErr::SqlxError(shared))).into(),
            },
            DbErr::Type(_) => {
                Self::Data(format!("a row that decides about it cannot be read: {error}"))
            }
            error => unavailable(error).into(),
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
    let mut reason = error.to_string();
    if reason.contains(NO_TLS) {
        reason += "; switch on the feature `tls` of coco-store";
    }
    if Code::of(&error).is_some_and(Code::is_damage) {
        StoreError::Damaged(reason)
    } else {
        StoreError::Unavailable(reason)
    }
}

/// What a database calls an error.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    /// An extended result code.
    Sqlite(u32),
    /// A SQLSTATE.
    #[cfg(feature = "postgres")]
    Postgres([u8; 5]),
}

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
                return Self::of_database(error.as_database_error()?);
            }
            cause = error.source();
        }
        None
    }

    fn of_database(error: &dyn DatabaseError) -> Option<Self> {
        let code = error.code()?;
        #[cfg(feature = "postgres")]
        if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
            return code.as_bytes().try_into().ok().map(Self::Postgres);
        }
        code.parse().ok().map(Self::Sqlite)
    }

    /// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT`, `SQLITE_MISMATCH`; data exceptions, integrity
    /// constraints, a row that comes twice, and what is too large.
    fn is_data(self) -> bool {
        match self {
            Self::Sqlite(code) => matches!(code & 0xff, 18..=20),
            #[cfg(feature = "postgres")]
            Self::Postgres(state) => matches!(&state[..2], b"22" | b"23" | b"21" | b"54"),
        }
    }

    /// `SQLITE_CORRUPT`, `SQLITE_NOTADB`; `data_corrupted`, `index_corrupted`.
    pub(crate) fn is_damage(self) -> bool {
        match self {
            Self::Sqlite(code) => matches!(code & 0xff, 11 | 26),
            #[cfg(feature = "postgres")]
            Self::Postgres(state) => matches!(&state, b"XX001" | b"XX002"),
        }
    }

    /// `SQLITE_FULL`, and `SQLITE_IOERR_WRITE`, which is also what a quota says. A commit that
    /// cannot be written whole is none: its last page makes it one.
    pub(crate) fn is_unwritten(self) -> bool {
        matches!(self, Self::Sqlite(13 | 778))
    }

    /// Whether the server has ended the connection, or is about to; or can only be read by it, which
    /// another one may be spared.
    #[cfg(feature = "postgres")]
    pub(crate) fn ends_connection(self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(state) => {
                matches!(&state[..3], b"57P" | b"25P" | b"080") || &state == b"25006"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_tls_is_told_how_to_have_it() {
        let without = "TLS upgrade required by connect options but SQLx was built without TLS \
                       support enabled";
        let error = unavailable(sqlx::Error::Tls(without.into())).to_string();
        assert!(error.ends_with("switch on the feature `tls` of coco-store"), "{error}");
        let refused = unavailable(sqlx::Error::Tls("server does not support TLS".into()));
        assert!(!refused.to_string().contains("feature"), "{refused}");
    }
}
