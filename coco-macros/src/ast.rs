//! What was written: a struct, its `#[command(…)]` and the `#[lock(…)]` of its fields.

use std::time::Duration;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Field, LitStr, Member, MetaList, Path, Type};

use crate::attr::{Attr, Slot};
use crate::errors::Errors;

const COMMAND: Attr = Attr {
    name: "command",
    keys: &[
        "name",
        "lock",
        "callback",
        "needs",
        "idempotent",
        "retry",
        "timeout",
        "concurrency",
        "crate",
    ],
};
const RETRY: Attr = Attr { name: "retry", keys: &["attempts", "backoff", "max_backoff"] };
const LOCK: Attr = Attr { name: "lock", keys: &["exclusive", "shared", "group"] };

/// One `#[derive(Command)]`.
pub(crate) struct Command<'a> {
    pub(crate) input: &'a DeriveInput,
    pub(crate) keys: Keys,
    pub(crate) lock_fields: Vec<LockField<'a>>,
}

/// The keys of `#[command(…)]`.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) name: Slot<LitStr>,
    pub(crate) lock: Slot<LockScope>,
    pub(crate) callback: Slot<Callback>,
    pub(crate) needs: Slot<Vec<Type>>,
    pub(crate) idempotent: Slot<()>,
    pub(crate) retry: Slot<Retry>,
    pub(crate) timeout: Slot<Duration>,
    pub(crate) concurrency: Slot<u32>,
    pub(crate) crate_path: Slot<Path>,
}

/// The words after `lock =`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockScope {
    None,
    Execution,
    Command,
}

/// The words after `callback =`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callback {
    SerialChildren,
}

/// The keys of `retry(…)`.
#[derive(Default)]
pub(crate) struct Retry {
    pub(crate) attempts: Slot<u32>,
    pub(crate) backoff: Slot<Duration>,
    pub(crate) max_backoff: Slot<Duration>,
    /// False when a key could not be read.
    pub(crate) sound: bool,
}

/// A field with `#[lock(…)]`.
pub(crate) struct LockField<'a> {
    /// The first `#[lock(…)]` of the field.
    pub(crate) attribute: Span,
    pub(crate) member: Member,
    pub(crate) ty: &'a Type,
    pub(crate) exclusive: Slot<()>,
    pub(crate) shared: Slot<()>,
    pub(crate) group: Slot<LitStr>,
    /// False when a key of the attribute could not be read.
    pub(crate) sound: bool,
}

impl<'a> Command<'a> {
    pub(crate) fn read(input: &'a DeriveInput, errors: &mut Errors) -> Self {
        let mut keys = Keys::default();
        for attribute in &input.attrs {
            if COMMAND.is(attribute) {
                keys.read(attribute, errors);
            } else if LOCK.is(attribute) {
                errors.push(
                    attribute.path().span(),
                    "`#[lock(…)]` belongs on a field; how long locks are held is said with \
                     `#[command(lock = Execution)]`",
                );
            }
        }
        let mut lock_fields = Vec::new();
        for (member, field) in members(&input.data) {
            for attribute in field.attrs.iter().filter(|attribute| COMMAND.is(attribute)) {
                errors.push(attribute.path().span(), "`#[command(…)]` belongs on the struct");
            }
            lock_fields.extend(LockField::read(member, field, errors));
        }
        Self { input, keys, lock_fields }
    }

    /// The name that stands for the type in the store.
    pub(crate) fn stored_name(&self) -> String {
        match self.keys.name.value() {
            Some(name) => name.value(),
            None => snake_case(&self.input.ident.unraw().to_string()),
        }
    }
}

impl Keys {
    fn read(&mut self, attribute: &Attribute, errors: &mut Errors) {
        COMMAND.read(attribute, errors, |name, key| match name {
            "name" => key.text(&mut self.name),
            "lock" => key.word("lock scope", LockScope::WORDS, &mut self.lock),
            "callback" => key.word("callback", Callback::WORDS, &mut self.callback),
            "needs" => key.types(&mut self.needs),
            "idempotent" => key.flag(&mut self.idempotent),
            "retry" => key.list("attempts = 5, backoff = \"1s\"", &mut self.retry, Retry::read),
            "timeout" => key.duration(&mut self.timeout),
            "concurrency" => key.number(4, &mut self.concurrency),
            _ => key.path(&mut self.crate_path),
        });
    }
}

impl LockScope {
    const WORDS: &'static [(&'static str, Self)] =
        &[("None", Self::None), ("Execution", Self::Execution), ("Command", Self::Command)];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Execution => "Execution",
            Self::Command => "Command",
        }
    }
}

impl Callback {
    const WORDS: &'static [(&'static str, Self)] = &[("SerialChildren", Self::SerialChildren)];
}

impl Retry {
    fn read(list: &MetaList, errors: &mut Errors) -> syn::Result<Self> {
        let mut this = Self::default();
        let before = errors.count();
        RETRY.read_list(list, errors, |name, key| match name {
            "attempts" => key.number(5, &mut this.attempts),
            "backoff" => key.duration(&mut this.backoff),
            _ => key.duration(&mut this.max_backoff),
        })?;
        this.sound = errors.count() == before;
        Ok(this)
    }
}

impl<'a> LockField<'a> {
    fn read(member: Member, field: &'a Field, errors: &mut Errors) -> Option<Self> {
        let mut attributes = field.attrs.iter().filter(|attribute| LOCK.is(attribute));
        let attribute = attributes.next()?;
        for second in attributes {
            errors.push(second.path().span(), "a field has one `#[lock(…)]`");
        }
        let mut this = Self {
            attribute: attribute.path().span(),
            member,
            ty: &field.ty,
            exclusive: Slot::default(),
            shared: Slot::default(),
            group: Slot::default(),
            sound: true,
        };
        let before = errors.count();
        LOCK.read(attribute, errors, |name, key| match name {
            "exclusive" => key.flag(&mut this.exclusive),
            "shared" => key.flag(&mut this.shared),
            _ => key.text(&mut this.group),
        });
        this.sound = errors.count() == before;
        Some(this)
    }
}

/// `MoveDisk` is `move_disk`, `HTTPFetch2` is `http_fetch2`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let starts_word = before.is_some_and(|before| {
            let ends_capitals =
                before.is_uppercase() && letters.get(i + 1).is_some_and(|next| next.is_lowercase());
            before != '_' && (!before.is_uppercase() || ends_capitals)
        });
        if letter.is_uppercase() && starts_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// All fields of a struct.
pub(crate) fn members(data: &Data) -> Vec<(Member, &Field)> {
    let Data::Struct(data) = data else { return Vec::new() };
    data.fields.members().zip(&data.fields).collect()
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn default_names() {
        for (name, expected) in [
            ("MoveDisk", "move_disk"),
            ("HTTPFetch2", "http_fetch2"),
            ("Sha256Sum", "sha256_sum"),
            ("StartVM", "start_vm"),
            ("VMStart", "vm_start"),
            ("AToB", "a_to_b"),
            ("A", "a"),
            ("move_disk", "move_disk"),
            ("Move_Disk", "move_disk"),
            ("Vm2Vm", "vm2_vm"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }
}
