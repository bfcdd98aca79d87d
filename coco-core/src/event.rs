//! Events from outside: how they are named, and who hears them.
//!
//! A key is 1 to 6 segments, joined by `|`, like `host-7|storage|create_disk`. An event has such a key;
//! a command subscribes with one in which `*` stands for any one segment:
//!
//! ```
//! use coco_core::event::EventKey;
//!
//! let key: EventKey = "host-7|storage|*".parse()?;
//! assert!(key.matches("host-7|storage|create_disk"));
//! assert!(!key.matches("host-7|storage"));
//! # Ok::<(), coco_core::event::EventKeyError>(())
//! ```
//!
//! [`Coordinator::publish`](crate::Coordinator::publish) puts an event into the inbox of every command
//! that has a subscription which matches, in one commit. Events are heard in the order in which they
//! were published, and each once: an event is the same where its `id` is, so one that the outside tells
//! twice may be published twice. One that comes before the subscription, or when the command has
//! ended, is not kept: so [subscribe](crate::Context::subscribe) first, and then do what makes it
//! happen. An event that came between the two is heard.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;

/// The most segments of a key.
const MOST_SEGMENTS: usize = 6;
/// The longest key, in bytes.
const LONGEST_KEY: usize = 1024;
/// What stands for any segment.
const ANY: &str = "*";

/// Something that has happened outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which event it is: the same one is heard once by each command. At most 1,024 bytes.
    pub id: String,
    /// What it is about: 1 to 6 segments, joined by `|`. At most 1,024 bytes.
    pub key: String,
    /// What there is to say of it, as JSON.
    pub payload: Value,
}

impl Event {
    /// An event with a payload that is written as JSON.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON.
    pub fn new(
        id: impl Into<String>,
        key: impl Into<String>,
        payload: impl Serialize,
    ) -> Result<Self> {
        let payload = serde_json::to_value(payload)?;
        Ok(Self { id: id.into(), key: key.into(), payload })
    }
}

/// What a command subscribes to: the keys of events, where `*` stands for any one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventKey(String);

/// Why an event, or what a command subscribes to, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventKeyError {
    /// It has too many segments.
    #[error(
        "the key `{key}` has {segments} segments; a key has 1 to {MOST_SEGMENTS}, joined by `|`"
    )]
    Segments {
        /// The key.
        key: String,
        /// How many it has.
        segments: usize,
    },
    /// One of its segments is empty.
    #[error("the key `{0}` has an empty segment; write `*` for any")]
    Empty(String),
    /// An event has happened to one thing, so its key has no `*`.
    #[error("the event key `{0}` has a `*`, which only a subscription can have")]
    Wildcard(String),
    /// It is longer than what is stored.
    #[error("{what} has {bytes} bytes; at most {LONGEST_KEY} are stored")]
    TooLong {
        /// The key or the id.
        what: String,
        /// How long it is.
        bytes: usize,
    },
    /// It has a character that cannot be stored.
    #[error("{0} has a NUL character, which no store takes")]
    Nul(String),
}

impl EventKey {
    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an event with this key is meant.
    pub fn matches(&self, key: &str) -> bool {
        let mut own = self.0.split('|');
        let mut of_event = key.split('|');
        loop {
            match (own.next(), of_event.next()) {
                (None, None) => return true,
                (Some(own), Some(segment)) if own == ANY || own == segment => {}
                _ => return false,
            }
        }
    }
}

impl FromStr for EventKey {
    type Err = EventKeyError;

    fn from_str(key: &str) -> Result<Self, EventKeyError> {
        check(key, "the key")?;
        let segments = key.split('|').count();
        if segments > MOST_SEGMENTS {
            return Err(EventKeyError::Segments { key: key.to_owned(), segments });
        }
        if key.split('|').any(str::is_empty) {
            return Err(EventKeyError::Empty(key.to_owned()));
        }
        Ok(Self(key.to_owned()))
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an event can be stored and heard.
///
/// # Errors
/// What is wrong with its key or its identity.
pub(crate) fn publishable(event: &Event) -> Result<(), EventKeyError> {
    let key: EventKey = event.key.parse()?;
    check(&event.id, "the event's id")?;
    let has_wildcard = key.0.split('|').any(|segment| segment == ANY);
    if has_wildcard { Err(EventKeyError::Wildcard(key.0)) } else { Ok(()) }
}

fn check(text: &str, what: &str) -> Result<(), EventKeyError> {
    if text.contains('\0') {
        return Err(EventKeyError::Nul(what.to_owned()));
    }
    if text.len() > LONGEST_KEY {
        return Err(EventKeyError::TooLong { what: what.to_owned(), bytes: text.len() });
    }
    Ok(())
}

/// All subscriptions that match an event with this key, so that a store can look them up: each
/// segment is itself or `*`.
pub fn subscriptions_for(key: &str) -> Vec<String> {
    let segments: Vec<_> = key.split('|').take(MOST_SEGMENTS).collect();
    let all = (0..1_u32 << segments.len()).map(|wild| {
        let word = |(n, segment): (usize, &&'_ str)| {
            if wild & (1 << n) == 0 { (*segment).to_owned() } else { ANY.to_owned() }
        };
        segments.iter().enumerate().map(word).collect::<Vec<_>>().join("|")
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> EventKey {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stands_for_one_segment() {
        for (subscription, event, matches) in [
            ("a|b", "a|b", true),
            ("a|*", "a|b", true),
            ("*|*", "a|b", true),
            ("*", "a|b", false),
            ("a|*", "a", false),
            ("a|*", "a|b|c", false),
            ("a|b", "a|c", false),
            ("a*|b", "ax|b", false),
        ] {
            assert_eq!(key(subscription).matches(event), matches, "{subscription} {event}");
            let is_found = subscriptions_for(event).iter().any(|found| found == subscription);
            assert_eq!(is_found, matches, "{subscription} {event}");
        }
        assert_eq!(subscriptions_for("a|b|c|d|e|f").len(), 64);
    }

    #[test]
    fn what_is_no_key_says_why() {
        let text = |key: &str| key.parse::<EventKey>().unwrap_err().to_string();
        assert_eq!(
            text("a|b|c|d|e|f|g"),
            "the key `a|b|c|d|e|f|g` has 7 segments; a key has 1 to 6, joined by `|`"
        );
        assert_eq!(text("a||b"), "the key `a||b` has an empty segment; write `*` for any");
        assert_eq!(text(""), "the key `` has an empty segment; write `*` for any");
        assert_eq!(text("a\0"), "the key has a NUL character, which no store takes");
        let long = "x".repeat(1025);
        assert_eq!(text(&long), "the key has 1025 bytes; at most 1024 are stored");
        let event = |id: &str, key: &str| Event::new(id, key, ()).unwrap();
        let text = |event: Event| publishable(&event).unwrap_err().to_string();
        assert_eq!(
            text(event("1", "a|*")),
            "the event key `a|*` has a `*`, which only a subscription can have"
        );
        assert_eq!(
            text(event(&long, "a")),
            "the event's id has 1025 bytes; at most 1024 are stored"
        );
        assert_eq!(publishable(&event("1", "a|b*")), Ok(()));
    }
}
