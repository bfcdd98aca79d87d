//! The rules that go beyond one key.

use syn::spanned::Spanned;
use syn::{Data, LitStr};

use crate::ast::{Callback, Command, LockField, LockScope};
use crate::attr::{Slot, written};
use crate::errors::Errors;

/// Notes everything that is wrong with `command` as a whole.
pub(crate) fn check(command: &Command<'_>, errors: &mut Errors) {
    shape(command, errors);
    name(command, errors);
    needs(command, errors);
    locks(command, errors);
    if let (Some(idempotent), Some(Callback::SerialChildren)) =
        (command.keys.idempotent.key(), command.keys.callback.value())
    {
        errors.push(
            idempotent,
            "the code of a flow always runs again after a restart: leave `idempotent` out, and \
             put it on the children that may run again",
        );
    }
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

fn locks(command: &Command<'_>, errors: &mut Errors) {
    let scope = &command.keys.lock;
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
                 `#[lock(shared)]`",
                scope.word(),
            ),
        ),
        (None, Some(field)) if scope.key().is_none() => errors.push(
            field.attribute,
            "this lock is never taken: say how long it is held with \
             `#[command(lock = Execution)]` (until the work has ended) or \
             `#[command(lock = Command)]` (until the end hook is through)",
        ),
        _ => {}
    }
    for field in &command.lock_fields {
        lock_field(field, errors);
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

/// A lock group has a name.
pub(crate) fn group(group: &Slot<LitStr>, errors: &mut Errors) {
    if let Some((span, text)) = group.spanned()
        && text.value().is_empty()
    {
        errors.push(span, "the group is empty: name the kind of thing, like `group = \"disk\"`");
    }
}

#[cfg(test)]
mod tests {
    use syn::{DeriveInput, parse_quote};

    use super::*;

    fn mistakes(input: &DeriveInput) -> Vec<String> {
        let mut errors = Errors::default();
        check(&Command::read(input, &mut errors), &mut errors);
        errors.texts()
    }

    #[test]
    fn nothing_wrong() {
        for input in [
            parse_quote!(
                struct A;
            ),
            parse_quote!(
                struct A(u8);
            ),
            parse_quote!(
                #[command]
                struct A {}
            ),
            parse_quote!(
                #[command(lock = None)]
                struct A;
            ),
            parse_quote!(
                #[command(lock = Command)]
                struct A(#[lock(shared)] u8);
            ),
            parse_quote!(
                #[command(name = "a_1", needs(u8, u16), idempotent)]
                struct Ä;
            ),
        ] {
            assert_eq!(mistakes(&input), [""; 0]);
        }
    }

    #[test]
    fn one_message_a_mistake() {
        for (input, start) in [
            (
                parse_quote!(
                    enum A {}
                ),
                "a command is a struct; put the enum",
            ),
            (parse_quote!(union A { a: u8 }), "a command is a struct"),
            (
                parse_quote!(
                    struct A<'a>(&'a u8);
                ),
                "a command cannot be generic",
            ),
            (
                parse_quote!(
                    struct A<const N: usize>;
                ),
                "a command cannot be generic",
            ),
            (
                parse_quote!(
                    #[command(name = "")]
                    struct A;
                ),
                "the stored name is empty",
            ),
            (
                parse_quote!(
                    #[command(name = "a-b")]
                    struct A;
                ),
                "the stored name `a-b` may",
            ),
            (
                parse_quote!(
                    struct Größe;
                ),
                "`größe` cannot be a stored name",
            ),
            (
                parse_quote!(
                    #[command(needs())]
                    struct A;
                ),
                "`needs()` names nothing",
            ),
            (
                parse_quote!(
                    #[command(needs(Vec<u8>, Vec<u8>))]
                    struct A;
                ),
                "`Vec<u8>` is given",
            ),
            (
                parse_quote!(
                    #[command(lock = Command)]
                    struct A;
                ),
                "`lock = Command` has nothing",
            ),
            (
                parse_quote!(
                    struct A(#[lock(shared)] u8);
                ),
                "this lock is never taken",
            ),
            (
                parse_quote!(
                    #[command(lock = None)]
                    struct A(#[lock(shared)] u8);
                ),
                "`lock = None` takes no locks",
            ),
            (
                parse_quote!(
                    #[command(lock = Command)]
                    struct A(#[lock] u8);
                ),
                "write `#[lock(exclusive)]`",
            ),
            (
                parse_quote!(
                    #[command(lock = Command)]
                    struct A(#[lock(shared, exclusive)] u8);
                ),
                "a lock is either",
            ),
            (
                parse_quote!(
                    #[command(lock = Command)]
                    struct A(#[lock(shared, group = "")] u8);
                ),
                "the group is empty",
            ),
            (
                parse_quote!(
                    #[command(idempotent, callback = SerialChildren)]
                    struct A;
                ),
                "the code of a flow always runs again",
            ),
            (
                parse_quote!(
                    #[lock(shared)]
                    struct A;
                ),
                "`#[lock(…)]` belongs on a field",
            ),
            (
                parse_quote!(
                    struct A(#[command(secret)] u8);
                ),
                "`#[command(…)]` belongs on",
            ),
        ] {
            let found = mistakes(&input);
            assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:?}");
        }
    }

    #[test]
    fn one_mistake_is_not_two() {
        for input in [
            parse_quote!(
                #[command(lock = Exec)]
                struct A(#[lock(shared)] u8);
            ),
            parse_quote!(
                #[command(lock = Command)]
                struct A(#[lock(exclusve)] u8);
            ),
            parse_quote!(
                #[command(lock = Command)]
                struct A(
                    #[lock(shared)]
                    #[lock(shared)]
                    u8,
                );
            ),
            parse_quote!(
                #[command(name = 5)]
                struct Größe;
            ),
            parse_quote!(
                #[command(needs)]
                struct A;
            ),
            parse_quote!(
                #[command(callback = Serial, idempotent)]
                struct A;
            ),
        ] {
            let found = mistakes(&input);
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}
