//! A disk with faults, by the pragmas that SQLite has for it.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sqlx::{self, sqlite::SqliteConnection};
use tokio::sync::watch;

/// What the writer's connection suffers from, for tests. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    sql: Mutex<&'static str>,
    transactions: watch::Sender<usize>,
}

impl Faults {
    /// From now on this is executed before every transaction of the writer: with
    /// `PRAGMA max_page_count = 1` the file cannot grow, with `PRAGMA query_only = true` it cannot
    /// be written. A pragma stays with its connection until another one takes it back.
    pub fn set(&self, sql: &'static str) {
        *self.0.sql.lock().unwrap_or_else(PoisonError::into_inner) = sql;
    }

    /// Waits until the writer has begun so many transactions more.
    pub async fn struck(&self, times: usize) {
        let mut transactions = self.0.transactions.subscribe();
        let wanted = *transactions.borrow() + times;
        // The sender lives as long as `self`.
        let _ = transactions.wait_for(|transactions| *transactions >= wanted).await;
    }

    pub(crate) async fn strike(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let sql = *self.0.sql.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.transactions.send_modify(|transactions| *transactions += 1);
        // Even an empty text would go to the connection's thread and back.
        if sql.is_empty() { Ok(()) } else { sqlx::raw_sql(sql).execute(connection).await.map(drop) }
    }
}
