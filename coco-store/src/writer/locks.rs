//! What a transaction reads of the locks.

use sea_orm::sqlx::sqlite::SqliteRow;
use sea_orm::sqlx::{self, Row};

use super::rows::{NO_NUMBER, command_id, held_lock, key, waiter};
use super::transaction::Transaction;
use crate::batch::locks::{Interest, Known};
use crate::batch::sqlite;
use crate::error::WriteError;

impl Transaction<'_> {
    /// What decides a batch of this interest, but for cycles. Where nobody waits, nothing is read
    /// of the line.
    pub(super) async fn locks(&mut self, interest: &Interest<'_>) -> Result<Known, WriteError> {
        let mut known = Known {
            last_rank: self.last_rank,
            cycles: self.last_rank.is_none(),
            ..Known::default()
        };
        if self.last_rank.is_some() && !interest.is_empty() {
            let rows = self.fetch(sqlite::READ_LINE, &sqlite::line(interest)?).await?;
            add_line(&mut known, &rows);
        }
        let is_line = self.last_rank.is_some();
        if let Some(values) = sqlite::holders(interest, &known.rows.waiting, is_line)? {
            let rows = self.fetch(sqlite::READ_HOLDERS, &values).await?;
            add_holders(&mut known, interest, &rows)?;
        }
        let owners = sqlite::array(interest.known.iter().copied().map(sqlite::Id))?;
        let held = self.read(sqlite::READ_HELD, owners, held_lock).await?;
        known.rows.held.extend(held);
        Ok(known)
    }

    /// Adds the trees that a cycle may go through.
    pub(super) async fn add_cycles(
        &mut self,
        known: &mut Known,
        interest: &Interest<'_>,
    ) -> Result<(), WriteError> {
        let roots = sqlite::array(interest.roots.iter().copied().map(sqlite::Id))?;
        let roots = roots.into_iter().collect::<Vec<_>>();
        let rows = self.fetch(sqlite::READ_TREES, &roots).await?;
        let waits = |row: &&SqliteRow| !matches!(row.try_get::<Option<i64>, _>("place"), Ok(None));
        let (waiting, held): (Vec<_>, Vec<_>) = rows.iter().partition(waits);
        add_line(known, waiting);
        add_holders(known, interest, held)?;
        known.cycles = true;
        Ok(())
    }
}

fn add_line<'r>(known: &mut Known, rows: impl IntoIterator<Item = &'r SqliteRow>) {
    let mut waiters = Vec::new();
    for row in rows {
        match waiter(row) {
            Ok(waiter) => {
                if waiter.request.number == NO_NUMBER {
                    known.unreadable.insert(waiter.request.owner);
                }
                waiters.push(waiter);
            }
            Err(error) => {
                tracing::error!(%error, "a request for a lock has lost its rank in line");
                known.unreadable.extend(command_id(row));
            }
        }
    }
    known.add_waiters(waiters);
}

/// A holder that cannot be read refuses those who ask for its key; who waits for it goes on waiting.
fn add_holders<'r>(
    known: &mut Known,
    interest: &Interest<'_>,
    rows: impl IntoIterator<Item = &'r SqliteRow>,
) -> Result<(), sqlx::Error> {
    for row in rows {
        match (held_lock(row), key(row)) {
            (Ok(held), _) => known.rows.held.push(held),
            (Err(_), Ok((group, key))) if !interest.asks_for(&group, &key) => {
                known.add_unreadable_holder(command_id(row).ok(), group, key);
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}
