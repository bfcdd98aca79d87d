//! The rows of a batch as the JSON that a statement binds: an array of arrays.

use std::io;

use coco_core::CommandId;
use coco_core::entity::{Audit, CommandEntity, Compensation, OnceResult, Progress, Sleep, Undo};
use serde::ser::{Error, SerializeTuple};
use serde::{Serialize, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

/// The rows as the JSON that a statement binds; nothing for no rows.
pub(crate) fn array<T: Serialize>(
    rows: impl Iterator<Item = T>,
) -> Result<Option<String>, serde_json::Error> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(None);
    }
    let mut json = Vec::with_capacity(4096);
    serde_json::Serializer::with_formatter(&mut json, NoNul).collect_seq(rows)?;
    String::from_utf8(json).map(Some).map_err(serde_json::Error::custom)
}

/// Writes no NUL: SQLite would cut a text there.
struct NoNul;

impl Formatter for NoNul {
    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::AsciiControl(0) => Err(io::Error::other("a text contains a NUL character")),
            escape => CompactFormatter.write_char_escape(writer, escape),
        }
    }
}

/// The identities of rows, as a statement binds those that are not in the JSON.
pub(super) fn bytes<const N: usize>(
    rows: impl ExactSizeIterator<Item = [CommandId; N]>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * N * size_of::<CommandId>());
    for id in rows.flatten() {
        bytes.extend_from_slice(id.as_uuid().as_bytes());
    }
    bytes
}

/// An identity, as `unhex` takes it.
pub(crate) struct Id(pub(crate) CommandId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = [0; 32];
        serializer.serialize_str(self.0.as_uuid().simple().encode_lower(&mut buffer))
    }
}

/// Writes an array of mixed values: `row!(serializer, 2, a, b)`.
macro_rules! row {
    ($serializer:expr, $count:literal, $($value:expr),+ $(,)?) => {{
        let mut row = $serializer.serialize_tuple($count)?;
        $(row.serialize_element(&$value)?;)+
        row.end()
    }};
}
pub(super) use row;

pub(super) struct Start<'a>(pub(super) &'a CommandEntity);

impl Serialize for Start<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            7,
            row.command_type,
            row.position,
            *row.command_parameters,
            row.created_at,
            row.callback_enabled,
            row.progress.status.as_str(),
            row.progress.attempt,
        )
    }
}

pub(super) struct Command<'a>(pub(super) &'a CommandEntity);

impl Serialize for Command<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (row, progress) = (self.0, &self.0.progress);
        row!(
            serializer,
            28,
            row.command_type,
            row.position,
            *row.command_parameters,
            row.created_at,
            row.callback_enabled,
            progress.status.as_str(),
            progress.attempt,
            progress.started_at,
            progress.executed,
            progress.callback_notified,
            progress.hook_attempt,
            progress.deaths,
            progress.deaths_end_order,
            row.submit_key.as_deref(),
            row.resubmit_of.map(Id),
            row.retry.as_deref(),
            progress.stuck_from.map(|status| status.as_str()),
            progress.stuck_reason.as_deref(),
            progress.wake_at,
            progress.cancelled.as_deref(),
            progress.undo.map(Undo::as_str),
            progress.compensated_at,
            progress.state.as_deref(),
            progress.return_value.as_deref(),
            progress.failure.as_deref(),
            progress.end_order,
            progress.ended_at,
            progress.seen,
        )
    }
}

pub(super) struct End<'a>(pub(super) &'a Progress);

impl Serialize for End<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let progress = self.0;
        row!(
            serializer,
            7,
            progress.status.as_str(),
            progress.attempt,
            progress.executed,
            progress.callback_notified,
            progress.return_value.as_deref(),
            progress.end_order,
            progress.ended_at,
        )
    }
}

pub(super) struct Update<'a>(pub(super) &'a Progress);

impl Serialize for Update<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let progress = self.0;
        row!(
            serializer,
            20,
            progress.status.as_str(),
            progress.attempt,
            progress.executed,
            progress.callback_notified,
            progress.return_value.as_deref(),
            progress.end_order,
            progress.ended_at,
            progress.started_at,
            progress.state.as_deref(),
            progress.failure.as_deref(),
            progress.cancelled.as_deref(),
            progress.undo.map(Undo::as_str),
            progress.compensated_at,
            progress.stuck_from.map(|status| status.as_str()),
            progress.stuck_reason.as_deref(),
            progress.hook_attempt,
            progress.wake_at,
            progress.deaths,
            progress.deaths_end_order,
            progress.seen,
        )
    }
}

pub(super) struct Once<'a>(pub(super) &'a OnceResult);

impl Serialize for Once<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            8,
            Id(row.command_id),
            Id(row.root_command_id),
            row.position,
            *row.name,
            row.end_order,
            row.ended_at,
            row.return_value.as_deref(),
            row.failure.as_deref(),
        )
    }
}

/// One that may be the answer to a request for a lock.
pub(super) struct Answer<'a>(pub(super) &'a OnceResult);

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        let lock = row.lock.as_ref().map(serde_json::to_string).transpose();
        row!(
            serializer,
            9,
            Id(row.command_id),
            Id(row.root_command_id),
            row.position,
            *row.name,
            row.end_order,
            row.ended_at,
            row.return_value.as_deref(),
            row.failure.as_deref(),
            lock.map_err(Error::custom)?,
        )
    }
}

pub(super) struct Slept<'a>(pub(super) &'a Sleep);

impl Serialize for Slept<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            5,
            Id(row.command_id),
            Id(row.root_command_id),
            row.position,
            row.micros,
            row.wake_at,
        )
    }
}

pub(super) struct Registered<'a>(pub(super) &'a Compensation);

impl Serialize for Registered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            8,
            Id(row.command_id),
            Id(row.root_command_id),
            row.position,
            row.command_type,
            *row.command_parameters,
            row.end_order,
            row.created_at,
            row.compensated_at,
        )
    }
}

pub(super) struct Audited<'a>(pub(super) &'a Audit);

impl Serialize for Audited<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        row!(
            serializer,
            7,
            row.at,
            row.action,
            Id(row.command_id),
            Id(row.root_command_id),
            row.status.as_str(),
            *row.reason,
            row.linked.map(Id),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_and_what_looks_like_one_is_not() {
        let json = |text: &str| array([text].into_iter());
        assert!(json("a\0b").is_err());
        assert!(json("\\\0").is_err());
        assert_eq!(json("\\u0000").unwrap().unwrap(), r#"["\\u0000"]"#);
        assert_eq!(array::<u8>(std::iter::empty()).unwrap(), None);
    }
}
