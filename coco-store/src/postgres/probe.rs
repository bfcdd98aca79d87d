//! Whether a server is what it says. Some speak the protocol and accept the words, and do nothing:
//! who has stubs for locks, or for what became of a transaction, is not trusted with the rest.

use std::sync::atomic::Ordering;

use coco_core::store::StoreError;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};
use uuid::Uuid;

use super::server::Server;
use crate::error::unavailable;
use crate::options::Durability;

/// The first version with `pg_current_xact_id`.
const OLDEST: i32 = 130_000;

/// Takes a lock for which nobody waits. Engines that start at the same time take others.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock(1668243311, $1)";

/// Makes sure that the server can be trusted; once for each store that is opened.
///
/// # Errors
/// [`StoreError::Unsuitable`], with what it does not do.
pub(super) async fn probe(
    server: &Server,
    connection: &mut PgConnection,
) -> Result<(), StoreError> {
    if server.is_proven.load(Ordering::Relaxed) {
        return Ok(());
    }
    let unsuitable = |reason: String| Err(StoreError::Unsuitable(reason));
    let version = show(connection, "server_version_num").await?;
    if version.parse::<i32>().map_or(true, |version| version < OLDEST) {
        return unsuitable(format!("its version is {version}, and 130000 is the oldest"));
    }
    let synchronous = show(connection, "synchronous_commit").await?;
    if synchronous == "off" && server.options.durability == Durability::Full {
        return unsuitable(
            "`synchronous_commit` is off: what is committed may be lost with the server; \
             set it on, or choose `Durability::Relaxed`"
                .to_owned(),
        );
    }
    let mut other = server.writer().await?;
    let found = behaviour(connection, &mut other).await.map_err(|error| {
        // What is not there at all.
        let is_missing = error.as_database_error().and_then(|error| error.code());
        match is_missing.as_deref() {
            Some("42883" | "42704" | "42601" | "0A000") => {
                StoreError::Unsuitable(error.to_string())
            }
            _ => unavailable(error),
        }
    })?;
    match found {
        None => {
            server.is_proven.store(true, Ordering::Relaxed);
            Ok(())
        }
        Some(reason) => unsuitable(reason.to_owned()),
    }
}

async fn show(connection: &mut PgConnection, setting: &str) -> Result<String, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).map_err(unavailable)
}

/// What it does not do.
async fn behaviour(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<Option<&'static str>, sqlx::Error> {
    run(one, "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let isolation: String = value(one, "SHOW transaction_isolation").await?;
    let first: String = value(one, "SELECT pg_current_xact_id()::text").await?;
    // The locks of the store itself have small numbers.
    let [a, b, c, d, ..] = *Uuid::new_v4().as_bytes();
    let key = i32::from_be_bytes([a, b, c, d]) | i32::MIN;
    let is_taken = try_lock(one, key).await?;
    let is_taken_twice = try_lock(other, key).await?;
    let during = status(other, &first).await?;
    run(one, "ROLLBACK").await?;
    let after_rollback = status(other, &first).await?;
    let is_freed = try_lock(other, key).await?;
    run(one, "BEGIN").await?;
    let second: String = value(one, "SELECT pg_current_xact_id()::text").await?;
    run(one, "COMMIT").await?;
    let after_commit = status(other, &second).await?;
    Ok(if isolation != "read committed" {
        Some("a transaction that is begun with READ COMMITTED has another isolation level")
    } else if !is_taken || is_taken_twice || !is_freed {
        Some("its advisory locks do not lock: `pg_try_advisory_xact_lock`")
    } else if during != "in progress" || after_rollback != "aborted" || after_commit != "committed"
    {
        Some("it does not know what became of a transaction: `pg_xact_status`")
    } else {
        None
    })
}

async fn run(connection: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

async fn value<T>(connection: &mut PgConnection, sql: &'static str) -> Result<T, sqlx::Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    sqlx::query(sql).fetch_one(connection).await?.try_get(0)
}

async fn try_lock(connection: &mut PgConnection, key: i32) -> Result<bool, sqlx::Error> {
    sqlx::query(TRY_LOCK).bind(key).fetch_one(connection).await?.try_get(0)
}

async fn status(connection: &mut PgConnection, transaction: &str) -> Result<String, sqlx::Error> {
    let status = sqlx::query("SELECT coalesce(pg_xact_status($1::text::xid8), '')");
    status.bind(transaction).fetch_one(connection).await?.try_get(0)
}
