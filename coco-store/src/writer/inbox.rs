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
use crate::batch::inbox::{Audience, InboxChanges};
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
        match B::check_events(&Audience::new(events))? {
            Some(check) => self.fetch(check).await.map(drop),
            None => Ok(()),
        }
    }

    async fn publish(&mut self, events: Events<'_, '_>) -> Result<Vec<Delivered>, WriteError> {
        let mut audience = Audience::new(events);
        let Some(newest) = self.find_listening(&mut audience).await? else {
            return Ok(Vec::new());
        };
        let Some(publish) = B::publish(&audience)? else { return Ok(Vec::new()) };
        let delivered: Vec<_> = audience.deliveries().collect();
        let found = match B::delivered_after(newest)? {
            None => self.returning(publish).await?,
            Some(_) if self.execute(publish).await? == delivered.len() as u64 => {
                return Ok(delivered);
            }
            // Some had been given an event before.
            Some(read) => self.returning(read).await?,
        };
        if found.len() == delivered.len() {
            return Ok(delivered);
        }
        let steps = audience.steps();
        Ok(readable(found.iter().map(|row| delivered_of(row, &steps))).collect())
    }

    /// Finds who listens, and the number of the newest delivery; none where nobody does.
    async fn find_listening(
        &mut self,
        audience: &mut Audience<'_, '_>,
    ) -> Result<Option<i64>, WriteError> {
        let Some(listening) = B::listening(audience)? else { return Ok(None) };
        let found = self.fetch(listening).await?;
        for (place, command, root) in readable(found.iter().map(listens)) {
            audience.listens(place, command, root);
        }
        Ok(found.first().map(|row| row.try_get_by("newest")).transpose()?)
    }

    async fn forget(&mut self, changes: &InboxChanges<'_>) -> Result<(), WriteError> {
        for statement in B::forget(changes)? {
            self.execute(statement).await?;
        }
        Ok(())
    }
}

/// Those that can be read.
fn readable<T>(rows: impl Iterator<Item = Result<T, DbErr>>) -> impl Iterator<Item = T> {
    rows.filter_map(|row| match row {
        Ok(row) => Some(row),
        Err(error) => {
            tracing::error!(%error, "who hears an event cannot be read");
            None
        }
    })
}

fn listens(row: &QueryResult) -> Result<(usize, CommandId, CommandId), DbErr> {
    let place = usize::try_from(row.try_get_by::<i64, _>("key")?).unwrap_or(usize::MAX);
    Ok((place, command_id(row)?, root_id(row)?))
}

fn delivered_of(
    row: &QueryResult,
    steps: &HashMap<(&str, &str), usize>,
) -> Result<Delivered, DbErr> {
    let (event, key): (String, String) =
        (row.try_get_by("event_id")?, row.try_get_by("event_key")?);
    let unknown = || DbErr::RecordNotFound(format!("the event `{event}`"));
    let step = *steps.get(&(&*event, &*key)).ok_or_else(unknown)?;
    Ok(Delivered { step, root: root_id(row)?, command: command_id(row)? })
}

fn root_id(row: &QueryResult) -> Result<CommandId, DbErr> {
    Ok(CommandId::from_uuid(row.try_get_by::<Uuid, _>("root_command_id")?))
}
