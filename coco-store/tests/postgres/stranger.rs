//! Who looks at the database beside the store, and changes it.

use sea_orm::sqlx::postgres::{PgConnection, PgRow};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Row};

pub(crate) struct Stranger(PgConnection);

impl Stranger {
    pub(crate) async fn at(address: &str) -> Self {
        Self(PgConnection::connect(address).await.expect("failed to connect"))
    }

    pub(crate) async fn say(&mut self, sql: impl Into<String>) {
        let sql = sql.into();
        let said = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut self.0).await;
        said.expect(&sql);
    }

    pub(crate) async fn rows(&mut self, sql: impl Into<String>) -> Vec<PgRow> {
        let sql = sql.into();
        let found = sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&mut self.0).await;
        found.expect(&sql)
    }

    pub(crate) async fn count(&mut self, sql: &str) -> i64 {
        let rows = self.rows(format!("SELECT count(*) FROM {sql}")).await;
        rows[0].get(0)
    }

    /// Changes a setting of the database, for connections that are opened after it.
    pub(crate) async fn set(&mut self, setting: &str) {
        self.say(format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
        ))
        .await;
    }

    /// Connections of the store, in this database, in the middle of a transaction in which nothing
    /// happens.
    pub(crate) async fn open_transactions(&mut self) -> i64 {
        self.count(
            "pg_stat_activity WHERE datname = current_database() AND application_name = 'coco' \
             AND state LIKE 'idle in transaction%'",
        )
        .await
    }

    /// Closes the connections of the store.
    pub(crate) async fn cut(&mut self) {
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'coco'",
        )
        .await;
    }
}
