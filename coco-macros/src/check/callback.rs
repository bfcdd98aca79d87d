//! What goes with which callback.

use std::time::Duration;

use proc_macro2::Span;

use crate::ast::{Callback, Command, Poll};
use crate::duration;
use crate::errors::Errors;

/// The intervals of `coco_core::callback::Pace::DEFAULT`.
pub(crate) const DEFAULT_EVERY: Duration = Duration::from_secs(1);
pub(crate) const DEFAULT_MAX: Duration = Duration::from_secs(10);

pub(super) fn check(command: &Command<'_>, errors: &mut Errors) {
    if let Some(Callback::SerialChildren) = command.keys.callback.value() {
        flow(command, errors);
    }
    if let Some(key) = command.keys.poll.key() {
        is_polled(command, key, errors);
    }
    if let Some(key) = command.keys.event_timeout.key() {
        hears_events(command, key, errors);
    }
    if let Some((key, poll)) = command.keys.poll.spanned() {
        pace(key, poll, errors);
    }
}

/// What only a command can have whose `execute` runs once.
fn flow(command: &Command<'_>, errors: &mut Errors) {
    if let Some(idempotent) = command.keys.idempotent.key() {
        errors.push(
            idempotent,
            "the code of a flow always runs again after a restart: leave `idempotent` out, and \
             put it on the children that may run again",
        );
    }
    if let Some(retry) = command.keys.retry.key() {
        errors.push(
            retry,
            "a flow is not retried as a whole: put `retry(…)` on the children that may be tried \
             again, or write `cx.child(c).retry(…)`",
        );
    }
}

/// Whether there is something to do at intervals.
fn is_polled(command: &Command<'_>, poll: Span, errors: &mut Errors) {
    let callback = &command.keys.callback;
    let wrong = match callback.value() {
        Some(Callback::NextOperation | Callback::Polling | Callback::Custom(_)) => return,
        Some(Callback::SerialChildren) => {
            "a flow is not polled: leave `poll(…)` out, and write `cx.sleep(…)` where it has to wait"
        }
        Some(Callback::ConcurrentChildren) => {
            "this callback is called when all children have ended, not at intervals: leave \
             `poll(…)` out, or write `callback = Polling` or `callback = NextOperation`"
        }
        None if callback.key().is_none() && command.keys.sound => {
            "a command without a callback is not polled: add `callback = Polling`, or leave \
             `poll(…)` out"
        }
        None => return,
    };
    errors.push(poll, wrong);
}

/// Whether there is somebody who hears of events.
fn hears_events(command: &Command<'_>, event_timeout: Span, errors: &mut Errors) {
    let callback = &command.keys.callback;
    let is_left_out = callback.key().is_none() && command.keys.sound;
    let hears = matches!(callback.value(), Some(Callback::Polling | Callback::Custom(_)));
    if is_left_out || (callback.value().is_some() && !hears) {
        errors.push(
            event_timeout,
            "this command hears of no events: leave `event_timeout` out, or write \
             `callback = Polling` and an `on_event`",
        );
    }
}

fn pace(key: Span, poll: &Poll, errors: &mut Errors) {
    let (every, max) = (&poll.every, &poll.max);
    let mut has_zero = false;
    for (span, pause) in [every.spanned(), max.spanned()].into_iter().flatten() {
        if pause.is_zero() {
            has_zero = true;
            errors.push(
                span,
                format!("an interval of zero would poll without a pause: {}", duration::EXAMPLES),
            );
        }
    }
    if has_zero {
        return;
    }
    match (every.spanned(), max.spanned()) {
        (Some((span, every)), Some((_, max))) if every > max => errors.push(
            span,
            "the first interval is longer than the longest one: make `every` shorter or `max` \
             longer",
        ),
        (Some((span, every)), None) if max.key().is_none() && *every > DEFAULT_MAX => {
            errors.push(
                span,
                "the first interval is longer than the longest one, which is \"10s\" by default: \
                 give `max` too",
            );
        }
        (None, Some((span, max))) if every.key().is_none() && *max < DEFAULT_EVERY => {
            errors.push(
                span,
                "the longest interval is shorter than the first one, which is \"1s\" by default: \
                 give `every` too",
            );
        }
        (None, None) if every.key().is_none() && max.key().is_none() && poll.sound => errors.push(
            key,
            "`poll()` says nothing: write `poll(every = \"1s\", max = \"10s\")`, or leave it out \
             for just these intervals",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
