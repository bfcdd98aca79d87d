//! How a server is reached.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use coco_core::store::StoreError;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sea_orm::sqlx::{ConnectOptions, Connection};
use sea_orm::{ConnectionTrait, DatabaseConnection, SqlxPostgresConnector};
use tokio::time::timeout;

use crate::error::unavailable;
use crate::options::{Durability, Options};

/// Readers at the same time.
const READERS: u32 = 4;

/// How statements are planned: each finds its rows by an index, however the tables have grown since
/// the server last counted them. A plan is made once, and would else read a table from end to end
/// for as long as the connection lasts, because it was empty then.
const PLANNING: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Where the database is, and how its connections are opened.
#[derive(Clone)]
pub(crate) struct Server {
    connections: PgConnectOptions,
    pub(super) options: Options,
    /// Whether it was found to do what the store depends on.
    pub(super) is_proven: Arc<AtomicBool>,
}

/// Without the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Server {
    /// The server that `address` names.
    pub(crate) fn parse(address: &str, options: Options) -> Result<Self, StoreError> {
        let connections = PgConnectOptions::from_str(address).map_err(|error| {
            StoreError::Address { address: without_password(address), reason: error.to_string() }
        })?;
        let limit = options.limits.statement_timeout.as_millis().to_string();
        let idle = options
            .limits
            .statement_timeout
            .min(options.limits.lease * 3 / 4)
            .as_millis()
            .to_string();
        let connections = connections
            .application_name("coco")
            .options([
                ("statement_timeout", limit.as_str()),
                // Who stalls in the middle of a transaction holds up the engine that comes after.
                ("idle_in_transaction_session_timeout", idle.as_str()),
                ("client_min_messages", "warning"),
            ])
            .options(PLANNING)
            .disable_statement_logging();
        let connections = match options.durability {
            Durability::Full => connections,
            Durability::Relaxed => connections.options([("synchronous_commit", "off")]),
        };
        Ok(Self { connections, options, is_proven: Arc::default() })
    }

    /// The connections that read. They hold nobody up, so they may be slow.
    pub(crate) fn readers(&self) -> DatabaseConnection {
        let idle = self.options.limits.statement_timeout.as_millis().to_string();
        let reading = self.connections.clone().options([
            ("default_transaction_read_only", "on"),
            ("idle_in_transaction_session_timeout", idle.as_str()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(self.options.limits.connect_timeout)
            .connect_lazy_with(reading);
        SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
    }

    /// After so long a read has no answer.
    pub(crate) fn longest_read(&self) -> Duration {
        self.options.limits.connect_timeout
            + self.options.limits.statement_timeout
            + Duration::from_secs(1)
    }

    /// What the server answers when an engine starts, as long as it does.
    pub(super) async fn in_time<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.longest_read();
        let late = || StoreError::Unavailable(format!("no answer within {limit:?}"));
        timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// One connection for the schema, while no other has one.
    pub(crate) async fn migrator(&self) -> Result<DatabaseConnection, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.options.limits.connect_timeout)
            .connect_with(self.connections.clone().options([("statement_timeout", "0")]))
            .await
            .map_err(unavailable)?;
        let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        connection
            .execute_unprepared("SELECT pg_advisory_lock(1668243311, 0)")
            .await
            .map_err(unavailable)?;
        Ok(connection)
    }

    /// A connection that writes.
    pub(crate) async fn writer(&self) -> Result<PgConnection, StoreError> {
        let limit = self.options.limits.connect_timeout;
        match timeout(limit, PgConnection::connect_with(&self.connections)).await {
            Ok(connection) => connection.map_err(unavailable),
            Err(_) => Err(StoreError::Unavailable(format!("no connection within {limit:?}"))),
        }
    }
}

/// An address as it may be shown.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let Some((user, place)) = rest.rsplit_once('@') else { return address.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:…@{place}"),
        None => address.to_owned(),
    }
}
