//! What a transaction writes of events, when all steps of its batch are decided and written.

use std::collections::HashMap;

use coco_core::CommandId;
use coco_core::entity::Published;
use coco_core::store::Delivered;
use sea_orm::{DbErr, QueryResult};
use uuid::Uuid;

use super::rows::command_id;
use super::transaction::Transaction;
use crate::backend::Backend;
use crate::batch::inbox::InboxChanges;
use crate::error::WriteError;

type Events<'e, 'a> = &'e [(usize, &'a Published)];

impl<B: Backend> Transaction<'_, B> {
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
        self.read(B::check_events(events)?, |_| Ok(())).await.map(drop)
    }

    async fn publish(&mut self, events: Events<'_, '_>) -> Result<Vec<Delivered>, WriteError> {
        let Some(publish) = B::publish(events)? else { return Ok(Vec::new()) };
        let found = self.returning(publish).await?;
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
        for statement in B::forget(changes)? {
            self.execute(statement).await?;
        }
        Ok(())
    }
}

fn delivered(row: &QueryResult, steps: &HashMap<(&str, &str), usize>) -> Result<Delivered, DbErr> {
    let (event, key): (String, String) =
        (row.try_get_by("event_id")?, row.try_get_by("event_key")?);
    let unknown = || DbErr::RecordNotFound(format!("the event `{event}`"));
    let step = *steps.get(&(&*event, &*key)).ok_or_else(unknown)?;
    let root = CommandId::from_uuid(row.try_get_by::<Uuid, _>("root_command_id")?);
    Ok(Delivered { step, root, command: command_id(row)? })
}
