//! What a transaction reads of the locks.

use sea_orm::{DbErr, QueryResult};

use super::rows::{NO_NUMBER, command_id, held_lock, key, waiter};
use super::transaction::Transaction;
use crate::backend::Backend;
use crate::batch::locks::{Interest, Known};
use crate::error::WriteError;

impl<B: Backend> Transaction<'_, B> {
    /// What decides a batch of this interest, but for cycles. Where nobody waits, nothing is read
    /// of the line.
    pub(super) async fn locks(&mut self, interest: &Interest<'_>) -> Result<Known, WriteError> {
        if !interest.is_empty() {
            self.take_turn().await?;
        }
        let is_line = self.last_rank.is_some();
        let mut known = Known { last_rank: self.last_rank, cycles: !is_line, ..Known::default() };
        if let Some(line) = B::line(interest)?.filter(|_| is_line) {
            let rows = self.fetch(line).await?;
            add_line(&mut known, &rows);
        }
        if let Some(holders) = B::holders(interest, &known.rows.waiting, is_line)? {
            let rows = self.fetch(holders).await?;
            add_holders(&mut known, interest, &rows)?;
        }
        let held = self.read(B::held(interest.known.iter().copied())?, held_lock).await?;
        known.rows.held.extend(held);
        Ok(known)
    }

    /// Adds the trees that a cycle may go through.
    pub(super) async fn add_cycles(
        &mut self,
        known: &mut Known,
        interest: &Interest<'_>,
    ) -> Result<(), WriteError> {
        let rows = match B::trees(interest.roots.iter().copied())? {
            Some(trees) => self.fetch(trees).await?,
            None => Vec::new(),
        };
        let waits =
            |row: &&QueryResult| !matches!(row.try_get_by::<Option<i64>, _>("place"), Ok(None));
        let (waiting, held): (Vec<_>, Vec<_>) = rows.iter().partition(waits);
        add_line(known, waiting);
        add_holders(known, interest, held)?;
        known.cycles = true;
        Ok(())
    }
}

fn add_line<'r>(known: &mut Known, rows: impl IntoIterator<Item = &'r QueryResult>) {
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
    rows: impl IntoIterator<Item = &'r QueryResult>,
) -> Result<(), DbErr> {
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
