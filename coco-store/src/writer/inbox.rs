//! What a transaction writes of events, when all steps of its batch are decided and written.

use std::collections::HashMap;

use coco_core::CommandId;
use coco_core::entity::Published;
use coco_core::store::Delivered;
use sea_orm::sqlx::sqlite::SqliteRow;
use sea_orm::sqlx::{self, Row};
use uuid::Uuid;

use super::rows::command_id;
use super::transaction::Transaction;
use crate::batch::inbox::InboxChanges;
use crate::batch::sqlite::inbox as sqlite;
use crate::error::WriteError;

type Events<'e, 'a> = &'e [(usize, &'a Published)];

impl Transaction<'_> {
    /// Publishes, and then forgets what is handled or over.
    pub(super) async fn deliver(
        &mut self,
        changes: &InboxChanges<'_>,
    ) -> Result<Vec<Delivered>, WriteError> {
        let delivered = self.publish(&changes.events).await?;
        self.forget(changes).await?;
        Ok(delivered)
    }

    /// The same for a batch in which some steps have failed. Each event is known to be sound; all of
    /// them may be too much to be bound at once.
    pub(super) async fn deliver_apart(
        &mut self,
        changes: &InboxChanges<'_>,
    ) -> Result<Vec<Delivered>, WriteError> {
        let mut delivered = Vec::new();
        let mut parts = vec![&changes.events[..]];
        while let Some(part) = parts.pop() {
            match self.publish(part).await {
                Ok(of_part) => delivered.extend(of_part),
                Err(WriteError::Data(_)) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(error) => return Err(error),
            }
        }
        self.forget(changes).await?;
        Ok(delivered)
    }

    /// Fails where one of the events cannot be published.
    pub(super) async fn check_events(&mut self, events: Events<'_, '_>) -> Result<(), WriteError> {
        let events = sqlite::events(events)?;
        self.read(sqlite::CHECK_EVENTS, events, |_| Ok(())).await.map(drop)
    }

    async fn publish(&mut self, events: Events<'_, '_>) -> Result<Vec<Delivered>, WriteError> {
        let Some(rows) = sqlite::events(events)? else { return Ok(Vec::new()) };
        self.count_statement();
        let query = sqlx::query(sqlite::PUBLISH).bind(rows);
        let found = query.fetch_all(self.connection()).await?;
        // The first of those that are the same is the one that is delivered.
        let mut steps = HashMap::with_capacity(events.len());
        for (step, event) in events {
            steps.entry((&*event.event_id, &*event.key)).or_insert(*step);
        }
        let delivered = found.iter().filter_map(|row| match delivered(row, &steps) {
            Ok(delivered) => Some(delivered),
            Err(error) => {
                tracing::error!(%error, "who has an event in its inbox cannot be read");
                None
            }
        });
        Ok(delivered.collect())
    }

    async fn forget(&mut self, changes: &InboxChanges<'_>) -> Result<(), WriteError> {
        self.run(sqlite::HANDLE, sqlite::handled(changes)?).await?;
        let unsubscribed = sqlite::unsubscribed(changes)?;
        self.run(sqlite::DELETE_SUBSCRIPTIONS, unsubscribed.clone()).await?;
        self.run(sqlite::DELETE_DELIVERIES, unsubscribed).await
    }

    /// Executes a statement for its rows; none for none.
    async fn run(&mut self, sql: &'static str, rows: Option<String>) -> Result<(), WriteError> {
        let Some(rows) = rows else { return Ok(()) };
        self.count_statement();
        sqlx::query(sql).bind(rows).execute(self.connection()).await?;
        Ok(())
    }
}

fn delivered(
    row: &SqliteRow,
    steps: &HashMap<(&str, &str), usize>,
) -> Result<Delivered, sqlx::Error> {
    let event = (row.try_get("event_id")?, row.try_get("event_key")?);
    let step = *steps.get(&event).ok_or(sqlx::Error::RowNotFound)?;
    let root = CommandId::from_uuid(row.try_get::<Uuid, _>("root_command_id")?);
    Ok(Delivered { step, root, command: command_id(row)? })
}
