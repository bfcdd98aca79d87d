//! The rules that go beyond one key.

mod callback;

use std::time::Duration;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Data, LitStr};

use crate::ast::{Command, LockField, LockScope, Retry};
use crate::attr::{Slot, written};
use crate::duration;
use crate::errors::Errors;

pub(crate) use self::callback::{DEFAULT_EVERY, DEFAULT_MAX};

/// No policy tries more often.
const MOST_ATTEMPTS: u32 = 1000;
/// The pauses of `coco_core::Retry::new`.
const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);
const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Notes everything that is wrong with `command` as a whole.
pub(crate) fn check(command: &Command<'_>, errors: &mut Errors) {
    shape(command, errors);
    name(command, errors);
    needs(command, errors);
    if let Data::Struct(_) = command.input.data {
        locks(command, errors);
    }
    callback::check(command, errors);
    if let Some((key, keys)) = command.keys.retry.spanned() {
        retry(key, keys, errors);
    }
    limits(command, errors);
}

fn shape(command: &Command<'_>, errors: &mut Errors) {
    match &command.input.data {
        Data::Struct(_) => {}
        Data::Enum(data) => errors.push(
            data.enum_token.span,
            "a command is a struct; put the enum in a field of it, or make a struct of each \
             variant",
        ),
        Data::Union(data) => errors.push(data.union_token.span, "a command is a struct"),
    }
    if !command.input.generics.params.is_empty() {
        errors.push(
            command.input.generics.params.span(),
            "a command cannot be generic: its stored name must stand for exactly one type",
        );
    }
}

fn name(command: &Command<'_>, errors: &mut Errors) {
    let name = command.stored_name();
    if is_stored_name(&name) {
        return;
    }
    match command.keys.name.spanned() {
        Some((span, _)) if name.is_empty() => {
            errors.push(span, "the stored name is empty: leave `name` out for the default");
        }
        Some((span, _)) => errors.push(
            span,
            format!("the stored name `{name}` may have only the letters `a-z`, `0-9` and `_`"),
        ),
        None if command.keys.name.key().is_some() => {}
        None => errors.push(
            command.input.ident.span(),
            format!(
                "`{name}` cannot be a stored name, which has only the letters `a-z`, `0-9` and \
                 `_`: give one with `#[command(name = \"…\")]`"
            ),
        ),
    }
}

fn is_stored_name(name: &str) -> bool {
    let allowed = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_');
    !name.is_empty() && name.chars().all(allowed)
}

fn needs(command: &Command<'_>, errors: &mut Errors) {
    let Some((span, types)) = command.keys.needs.spanned() else { return };
    if types.is_empty() {
        errors.push(span, "`needs()` names nothing: write `needs(Storage)`, or leave it out");
    }
    for (i, ty) in types.iter().enumerate() {
        let ty_written = written(ty);
        if types[..i].iter().any(|earlier| written(earlier) == ty_written) {
            errors.push(ty.span(), format!("`{ty_written}` is given twice"));
        }
    }
}

fn retry(key: Span, retry: &Retry, errors: &mut Errors) {
    match retry.attempts.spanned() {
        Some((span, 0 | 1)) => errors.push(
            span,
            "`attempts` counts the first one, so 1 means no retry: leave `retry(…)` out, or write \
             at least `attempts = 2`",
        ),
        Some((span, attempts)) if *attempts > MOST_ATTEMPTS => errors.push(
            span,
            format!("{attempts} attempts are too many: write at most `attempts = {MOST_ATTEMPTS}`"),
        ),
        None if retry.attempts.key().is_none() && retry.sound => errors.push(
            key,
            "say how often it is tried, the first time counted: write `retry(attempts = 5)`",
        ),
        _ => {}
    }
    let (first, longest) = (&retry.backoff, &retry.max_backoff);
    match (first.spanned(), longest.spanned()) {
        (Some((span, first)), Some((_, longest))) if first > longest => errors.push(
            span,
            "the first pause is longer than the longest one: make `backoff` shorter or \
             `max_backoff` longer",
        ),
        (Some((span, first)), None) if longest.key().is_none() && *first > DEFAULT_MAX_BACKOFF => {
            errors.push(
                span,
                "the first pause is longer than the longest one, which is \"5m\" by default: \
                 give `max_backoff` too",
            );
        }
        (None, Some((span, longest))) if first.key().is_none() && *longest < DEFAULT_BACKOFF => {
            errors.push(
                span,
                "the longest pause is shorter than the first one, which is \"1s\" by default: \
                 give `backoff` too",
            );
        }
        _ => {}
    }
}

fn limits(command: &Command<'_>, errors: &mut Errors) {
    if let Some((span, &Duration::ZERO)) = command.keys.timeout.spanned() {
        errors.push(
            span,
            format!(
                "a time-out of zero leaves no time to run: {}, or leave `timeout` out",
                duration::EXAMPLES
            ),
        );
    }
    if let Some((span, 0)) = command.keys.concurrency.spanned() {
        errors.push(
            span,
            "none could run: write `concurrency = 1` for one at a time, or leave it out for any \
             number",
        );
    }
}

fn locks(command: &Command<'_>, errors: &mut Errors) {
    let (scope, wait) = (&command.keys.lock, &command.keys.wait);
    match (scope.spanned(), command.lock_fields.first()) {
        (Some((span, LockScope::None)), Some(_)) => errors.push(
            span,
            "`lock = None` takes no locks, but fields are marked with `#[lock(…)]`: write \
             `lock = Execution` or `lock = Command`, or unmark them",
        ),
        (Some((span, scope @ (LockScope::Execution | LockScope::Command))), None) => errors.push(
            span,
            format!(
                "`lock = {}` has nothing to lock: mark a field with `#[lock(exclusive)]` or \
                 `#[lock(shared)]`, or leave it out and say it in `apply_lock_properties`",
                scope.word(),
            ),
        ),
        (None, Some(field)) if command.has_no_scope() && wait.key().is_none() => errors.push(
            field.attribute,
            "this lock is never taken: say how long it is held with \
             `#[command(lock = Execution)]` (until the work has ended) or \
             `#[command(lock = Command)]` (until the end hook is through)",
        ),
        _ => {}
    }
    if let Some(key) = wait.key() {
        waits_for_something(command, key, errors);
    }
    if let Some((span, Some(Duration::ZERO))) = wait.spanned() {
        errors.push(
            span,
            format!(
                "a wait of zero is none: leave `wait` out to be refused at once, write only \
                 `wait` to wait as long as it takes, or {}",
                duration::EXAMPLES
            ),
        );
    }
    for field in &command.lock_fields {
        lock_field(field, errors);
    }
}

fn waits_for_something(command: &Command<'_>, wait: Span, errors: &mut Errors) {
    let is_marked = !command.lock_fields.is_empty();
    if is_marked && command.has_no_scope() {
        errors.push(
            wait,
            "`wait` has no locks to wait for: say how long they are held with \
             `lock = Execution` (until the work has ended) or `lock = Command` (until the end \
             hook is through)",
        );
    }
    let takes_none = command.keys.lock.value() == Some(&LockScope::None);
    if !is_marked && (takes_none || command.has_no_scope()) {
        errors.push(
            wait,
            "`wait` has no locks to wait for: write `lock = Execution` and mark a field with \
             `#[lock(exclusive)]` or `#[lock(shared)]`, or leave `wait` out and say it in \
             `apply_lock_properties`",
        );
    }
}

fn lock_field(field: &LockField<'_>, errors: &mut Errors) {
    match (field.exclusive.key(), field.shared.key()) {
        (Some(_), Some(shared)) => {
            errors.push(shared, "a lock is either `exclusive` or `shared`");
        }
        (None, None) if field.sound => errors.push(
            field.attribute,
            "write `#[lock(exclusive)]`, or `#[lock(shared)]` when others may hold it as well",
        ),
        _ => {}
    }
    group(&field.group, errors);
}

/// A lock group has a name that can be stored.
pub(crate) fn group(group: &Slot<LitStr>, errors: &mut Errors) {
    let Some((span, text)) = group.spanned() else { return };
    if text.value().is_empty() {
        errors.push(span, "the group is empty: name the kind of thing, like `group = \"disk\"`");
    }
    if text.value().contains('\0') {
        errors.push(span, "the group has a NUL character, which no store takes: leave it out");
    }
}

#[cfg(test)]
mod tests;
