//! What was written: a struct, its `#[command(…)]` and the `#[lock(…)]` of its fields.

use std::time::Duration;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Field, GenericArgument, LitStr, Member, MetaList, Path,
    PathArguments, Type,
};

use crate::attr::{Attr, Slot, nearest};
use crate::errors::Errors;

const COMMAND: Attr = Attr {
    name: "command",
    keys: &[
        "name",
        "lock",
        "wait",
        "callback",
        "needs",
        "idempotent",
        "retry",
        "timeout",
        "poll",
        "event_timeout",
        "concurrency",
        "crate",
    ],
};
const RETRY: Attr = Attr { name: "retry", keys: &["attempts", "backoff", "max_backoff"] };
const POLL: Attr = Attr { name: "poll", keys: &["every", "max"] };
const LOCK: Attr = Attr { name: "lock", keys: &["exclusive", "shared", "group"] };

/// The callbacks that we know by a word.
const CALLBACKS: &[&str] = &["SerialChildren", "ConcurrentChildren", "NextOperation", "Polling"];

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
    /// How long at most, if that is said.
    pub(crate) wait: Slot<Option<Duration>>,
    pub(crate) callback: Slot<Callback>,
    pub(crate) needs: Slot<Vec<Type>>,
    pub(crate) idempotent: Slot<()>,
    pub(crate) retry: Slot<Retry>,
    pub(crate) timeout: Slot<Duration>,
    pub(crate) poll: Slot<Poll>,
    pub(crate) event_timeout: Slot<Duration>,
    pub(crate) concurrency: Slot<u32>,
    pub(crate) crate_path: Slot<Path>,
    /// False when an attribute of the struct could not be read, so that a key which seems to be
    /// left out may be there.
    pub(crate) sound: bool,
}

/// The words after `lock =`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockScope {
    None,
    Execution,
    Command,
}

/// What stands after `callback =`.
pub(crate) enum Callback {
    SerialChildren,
    ConcurrentChildren,
    NextOperation,
    Polling,
    /// One of the program's own.
    Custom(Path),
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

/// The keys of `poll(…)`.
#[derive(Default)]
pub(crate) struct Poll {
    pub(crate) every: Slot<Duration>,
    pub(crate) max: Slot<Duration>,
    /// False when a key could not be read.
    pub(crate) sound: bool,
}

/// A field with `#[lock(…)]`.
pub(crate) struct LockField<'a> {
    /// The first `#[lock(…)]` of the field.
    pub(crate) attribute: Span,
    pub(crate) member: Member,
    /// The type of the key, or of each key in a container.
    pub(crate) key: &'a Type,
    pub(crate) is_container: bool,
    pub(crate) exclusive: Slot<()>,
    pub(crate) shared: Slot<()>,
    pub(crate) group: Slot<LitStr>,
    /// False when the attribute could not be read, or is not the only one.
    pub(crate) sound: bool,
}

/// What a field may hold several keys in.
const CONTAINERS: [&str; 3] = ["Option", "Vec", "BTreeSet"];

impl<'a> Command<'a> {
    pub(crate) fn read(input: &'a DeriveInput, errors: &mut Errors) -> Self {
        let mut keys = Keys::default();
        let before = errors.count();
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
        keys.sound = errors.count() == before;
        let mut lock_fields = Vec::new();
        for (member, field) in members(&input.data) {
            for attribute in field.attrs.iter().filter(|attribute| COMMAND.is(attribute)) {
                errors.push(attribute.path().span(), "`#[command(…)]` belongs on the struct");
            }
            lock_fields.extend(LockField::read(member, field, errors));
        }
        Self { input, keys, lock_fields }
    }

    /// Whether it was not said how long locks are held.
    pub(crate) const fn has_no_scope(&self) -> bool {
        self.keys.lock.key().is_none() && self.keys.sound
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
            "wait" => key.flag_or_duration(&mut self.wait),
            "callback" => key.path_of(CALLBACKS, &mut self.callback, Callback::of),
            "needs" => key.types(&mut self.needs),
            "idempotent" => key.flag(&mut self.idempotent),
            "retry" => key.list("attempts = 5, backoff = \"1s\"", &mut self.retry, Retry::read),
            "timeout" => key.duration(&mut self.timeout),
            "poll" => key.list("every = \"1s\", max = \"10s\"", &mut self.poll, Poll::read),
            "event_timeout" => key.duration(&mut self.event_timeout),
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
    /// What `path` stands for. A word that is nearly one that we know is taken for that one: a
    /// callback of such a name is written with more of its path.
    fn of(path: Path, errors: &mut Errors) -> Option<Self> {
        let (first, last) = (path.segments.first()?, path.segments.last()?);
        let is_word = path.segments.len() == 1 && path.leading_colon.is_none();
        if !is_word && first.ident != "coco_core" {
            return Some(Self::Custom(path));
        }
        let written = last.ident.to_string();
        let known = match written.as_str() {
            "SerialChildren" => Some(Self::SerialChildren),
            "ConcurrentChildren" => Some(Self::ConcurrentChildren),
            "NextOperation" => Some(Self::NextOperation),
            "Polling" => Some(Self::Polling),
            _ => None,
        };
        let wrong = match (known, nearest(&written, CALLBACKS)) {
            (Some(known), _) if is_word && last.arguments.is_none() => return Some(known),
            (Some(_), _) => format!("write only the word: `callback = {written}`"),
            (None, Some(near)) => format!("unknown callback `{written}`; did you mean `{near}`?"),
            (None, None) if written == "None" => {
                "a command without a callback has none to name: leave `callback` out".to_owned()
            }
            (None, None) => return Some(Self::Custom(path)),
        };
        errors.push_error(syn::Error::new_spanned(&path, wrong));
        None
    }
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

impl Poll {
    fn read(list: &MetaList, errors: &mut Errors) -> syn::Result<Self> {
        let mut this = Self::default();
        let before = errors.count();
        POLL.read_list(list, errors, |name, key| match name {
            "every" => key.duration(&mut this.every),
            _ => key.duration(&mut this.max),
        })?;
        this.sound = errors.count() == before;
        Ok(this)
    }
}

impl<'a> LockField<'a> {
    fn read(member: Member, field: &'a Field, errors: &mut Errors) -> Option<Self> {
        let mut attributes = field.attrs.iter().filter(|attribute| LOCK.is(attribute));
        let attribute = attributes.next()?;
        let before = errors.count();
        for second in attributes {
            errors.push(second.path().span(), "a field has one `#[lock(…)]`");
        }
        let contained = contained(&field.ty);
        let mut this = Self {
            attribute: attribute.path().span(),
            member,
            key: contained.unwrap_or(&field.ty),
            is_container: contained.is_some(),
            exclusive: Slot::default(),
            shared: Slot::default(),
            group: Slot::default(),
            sound: true,
        };
        LOCK.read(attribute, errors, |name, key| match name {
            "exclusive" => key.flag(&mut this.exclusive),
            "shared" => key.flag(&mut this.shared),
            _ => key.text(&mut this.group),
        });
        this.sound = errors.count() == before;
        Some(this)
    }
}

/// The `K` of a container of keys. A macro sees no further than the name, so an alias is none.
fn contained(ty: &Type) -> Option<&Type> {
    let last = match ty {
        // What a `macro_rules` has captured.
        Type::Group(group) => return contained(&group.elem),
        Type::Path(ty) => ty.path.segments.last()?,
        _ => return None,
    };
    let is_container = CONTAINERS.iter().any(|name| last.ident == name);
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(key) if is_container && arguments.args.len() == 1 => Some(key),
        _ => None,
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
    use proc_macro2::{Delimiter, Group, TokenStream};
    use quote::quote;
    use syn::Type;

    use super::{contained, snake_case};
    use crate::attr::written;

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

    fn key_in(ty: TokenStream) -> Option<String> {
        contained(&syn::parse2::<Type>(ty).unwrap()).map(written)
    }

    #[test]
    fn containers_are_known_by_their_name() {
        for ty in [
            quote!(Option<disk::Id>),
            quote!(Vec<disk::Id>),
            quote!(std::vec::Vec<disk::Id>),
            quote!(::std::collections::BTreeSet<disk::Id,>),
        ] {
            assert_eq!(key_in(ty.clone()).as_deref(), Some("disk::Id"), "{ty}");
        }
        assert_eq!(key_in(quote!(Option<Vec<u8>>)).as_deref(), Some("Vec<u8>"));
        let captured = Group::new(Delimiter::None, quote!(Vec<u8>));
        assert_eq!(key_in(quote!(#captured)).as_deref(), Some("u8"));
    }

    #[test]
    fn other_types_are_keys_themselves() {
        for ty in [
            quote!(DiskId),
            quote!(Vec),
            quote!(Vec::<u8>::Key),
            quote!(Vec<u8, Arena>),
            quote!(Vec<'a>),
            quote!(HashSet<u8>),
            quote!([u8; 4]),
            quote!((Vec<u8>, u8)),
        ] {
            assert_eq!(key_in(ty.clone()), None, "{ty}");
        }
    }
}
