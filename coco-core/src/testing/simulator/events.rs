//! What commands listen for, and the events that are published.

use std::sync::Arc;

use serde_json::{Value, json};

use super::commands::spec_of;
use super::dice::{Dice, mix};
use crate::callback::CallbackKind;
use crate::entity::Published;
use crate::time::Timestamp;

/// How many keys events have.
const KEYS: u64 = 4;

fn key(bits: u64) -> Arc<str> {
    format!("wire|{}", bits % KEYS).into()
}

/// The keys that a command subscribes to while so many of its rounds have got somewhere; none:
/// in its `execute`.
pub(super) fn subscriptions(name: &str, fields: &Value, rounds: Option<usize>) -> Vec<Arc<str>> {
    let hears = matches!(spec_of(name).callback, CallbackKind::Polling | CallbackKind::Custom);
    let bits = mix(fields["seed"].as_u64().unwrap_or(0) ^ 0xE4E7);
    if !hears || bits & 3 > 1 {
        return Vec::new();
    }
    match rounds {
        None if bits & 12 == 0 => vec![key(bits >> 8), key(bits >> 10)],
        None if bits & 12 < 12 => vec![key(bits >> 8)],
        Some(1) if bits & 16 == 0 => vec![key(bits >> 12)],
        _ => Vec::new(),
    }
}

/// The ids of the events that a command has heard, in their order.
pub(super) fn heard(fields: &Value) -> Vec<String> {
    let heard = fields["heard"].as_array().into_iter().flatten();
    heard.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

/// The fields of a command that has heard one more.
pub(super) fn hears(fields: &Value, id: &str) -> Value {
    let mut heard = heard(fields);
    heard.push(id.to_owned());
    let mut fields = fields.clone();
    fields["heard"] = json!(heard);
    fields
}

/// The next event: a new one, or one of the last few again, also about something else.
pub(super) fn next(dice: &mut Dice, published: &mut u64, now: Timestamp) -> Published {
    *published += 1;
    let number = match dice.below(4) {
        0 => published.saturating_sub(dice.roll() % 5),
        _ => *published,
    };
    let key = key(if dice.one_in(4) { dice.roll() } else { mix(number) });
    Published {
        event_id: format!("event {number}").into(),
        key,
        payload: "null".into(),
        published_at: now,
    }
}
