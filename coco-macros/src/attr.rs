//! Reads `#[name(key, key = value, key(…))]`.
//!
//! A wrong key or value does not end the reading: it is noted, its value is skipped, and the next
//! key is read. Only what is no list of keys at all ends the attribute.

use proc_macro2::{Span, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Ident, LitStr, Meta, Path, Token, Type, parenthesized, token};

use crate::errors::Errors;

/// An attribute and the keys that it knows.
pub(crate) struct Attr {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [&'static str],
}

/// What was written for one key. A key whose value could not be read counts as written, so that
/// one mistake is not reported as two.
pub(crate) struct Slot<T> {
    key: Option<Span>,
    value: Option<(Span, T)>,
}

/// A key that was just read, with the rest of its attribute.
pub(crate) struct Key<'a> {
    name: &'static str,
    span: Span,
    input: ParseStream<'a>,
    errors: &'a mut Errors,
}

impl Attr {
    pub(crate) fn is(&self, attribute: &Attribute) -> bool {
        attribute.path().is_ident(self.name)
    }

    /// Gives each known key of `attribute` to `read`, which takes its value. Without parentheses
    /// there are no keys.
    pub(crate) fn read(
        &self,
        attribute: &Attribute,
        errors: &mut Errors,
        mut read: impl FnMut(&'static str, Key<'_>) -> syn::Result<()>,
    ) {
        if matches!(attribute.meta, Meta::Path(_)) {
            return;
        }
        let result = attribute.parse_nested_meta(|meta| {
            let span = meta.path.span();
            if let Some(name) = self.keys.iter().find(|name| meta.path.is_ident(name)) {
                return read(name, Key { name, span, input: meta.input, errors });
            }
            let written = written(&meta.path);
            let hint = hint(&written, self.keys);
            errors.push(span, format!("unknown key `{written}` in `#[{}(…)]`; {hint}", self.name));
            skip_value(meta.input)
        });
        if let Err(error) = result {
            errors.push_error(error);
        }
    }
}

impl<T> Slot<T> {
    /// Where the key was written.
    pub(crate) const fn key(&self) -> Option<Span> {
        self.key
    }

    /// The value, if it could be read.
    pub(crate) fn value(&self) -> Option<&T> {
        self.value.as_ref().map(|(_, value)| value)
    }

    /// The value, if it could be read, and where it was written.
    pub(crate) fn spanned(&self) -> Option<(Span, &T)> {
        self.value.as_ref().map(|(span, value)| (*span, value))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { key: None, value: None }
    }
}

impl Key<'_> {
    /// `key`
    pub(crate) fn flag(self, slot: &mut Slot<()>) -> syn::Result<()> {
        if !(self.input.is_empty() || self.input.peek(Token![,])) {
            self.errors.push(self.input.span(), format!("`{}` takes no value", self.name));
            skip_value(self.input)?;
        }
        let value = Some((self.span, ()));
        self.fill(slot, value);
        Ok(())
    }

    /// `key = "text"`
    pub(crate) fn text(mut self, slot: &mut Slot<LitStr>) -> syn::Result<()> {
        let value = self.assigned("\"…\"", |input| input.parse::<LitStr>())?;
        self.fill(slot, value.map(|text| (text.span(), text)));
        Ok(())
    }

    /// `key = some::path`
    pub(crate) fn path(mut self, slot: &mut Slot<Path>) -> syn::Result<()> {
        let value = self.assigned("some::path", Path::parse_mod_style)?;
        self.fill(slot, value.map(|path| (path.span(), path)));
        Ok(())
    }

    /// `key = Word`, one of `words`; `what` says what kind of word.
    pub(crate) fn word<T: Copy>(
        mut self,
        what: &str,
        words: &[(&'static str, T)],
        slot: &mut Slot<T>,
    ) -> syn::Result<()> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let word = self.assigned(&names.join("|"), Ident::parse_any)?;
        let value = word.and_then(|word| {
            let known = words.iter().find(|(name, _)| word == name);
            if known.is_none() {
                let hint = hint(&word.to_string(), &names);
                self.errors.push(word.span(), format!("unknown {what} `{word}`; {hint}"));
            }
            known.map(|(_, value)| (word.span(), *value))
        });
        self.fill(slot, value);
        Ok(())
    }

    /// `key(Type, …)`
    pub(crate) fn types(self, slot: &mut Slot<Vec<Type>>) -> syn::Result<()> {
        if !self.input.peek(token::Paren) {
            self.errors.push(self.span, format!("write `{}(Type, …)`", self.name));
            skip_value(self.input)?;
            self.fill(slot, None);
            return Ok(());
        }
        let list;
        parenthesized!(list in self.input);
        let types = Punctuated::<Type, Token![,]>::parse_terminated(&list)?;
        let value = (self.span, types.into_iter().collect());
        self.fill(slot, Some(value));
        Ok(())
    }

    /// The value after `=`, or none when there is no such value.
    fn assigned<T>(
        &mut self,
        example: &str,
        parse: impl FnOnce(ParseStream<'_>) -> syn::Result<T>,
    ) -> syn::Result<Option<T>> {
        let mut wrong = self.span;
        if self.input.peek(Token![=]) {
            self.input.parse::<Token![=]>()?;
            wrong = self.input.span();
            if let Ok(value) = parse(self.input) {
                return Ok(Some(value));
            }
        }
        self.errors.push(wrong, format!("write `{} = {example}`", self.name));
        skip_value(self.input)?;
        Ok(None)
    }

    fn fill<T>(self, slot: &mut Slot<T>, value: Option<(Span, T)>) {
        if slot.key.is_some() {
            self.errors.push(self.span, format!("`{}` is given twice", self.name));
            return;
        }
        *slot = Slot { key: Some(self.span), value };
    }
}

/// Everything up to the next key.
fn skip_value(input: ParseStream<'_>) -> syn::Result<()> {
    while !(input.is_empty() || input.peek(Token![,])) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}

/// Source text without the spaces that tokens are printed with.
pub(crate) fn written(tokens: &impl ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

/// The nearest known word, or all of them.
fn hint(written: &str, known: &[&str]) -> String {
    let near = |word: &&&str| {
        let longest = written.len().max(word.len());
        distance(&written.to_lowercase(), &word.to_lowercase()) <= (longest / 3).max(1)
    };
    let nearest = known
        .iter()
        .filter(near)
        .min_by_key(|word| distance(&written.to_lowercase(), &word.to_lowercase()));
    match (nearest, known) {
        (Some(word), _) => format!("did you mean `{word}`?"),
        (None, [only]) => format!("expected `{only}`"),
        (None, _) => format!("expected one of `{}`", known.join("`, `")),
    }
}

/// How many letters must be added, dropped or replaced to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    const ATTR: Attr = Attr { name: "command", keys: &["name", "lock", "needs", "idempotent"] };

    #[derive(Default)]
    struct Read {
        name: Slot<LitStr>,
        lock: Slot<u8>,
        needs: Slot<Vec<Type>>,
        idempotent: Slot<()>,
        errors: Errors,
    }

    fn read(attribute: &Attribute) -> Read {
        let mut read = Read::default();
        let Read { name, lock, needs, idempotent, errors } = &mut read;
        ATTR.read(attribute, errors, |key_name, key| match key_name {
            "name" => key.text(name),
            "lock" => key.word("lock scope", &[("None", 0), ("Execution", 1)], lock),
            "needs" => key.types(needs),
            _ => key.flag(idempotent),
        });
        read
    }

    #[test]
    fn every_form() {
        let read = read(
            &parse_quote!(#[command(name = "a", lock = Execution, needs(u8, Vec<u8>), idempotent)]),
        );
        assert_eq!(read.errors.texts(), [""; 0]);
        assert_eq!(read.name.value().map(LitStr::value).as_deref(), Some("a"));
        assert_eq!(read.lock.value(), Some(&1));
        assert_eq!(read.needs.value().map(Vec::len), Some(2));
        assert!(read.idempotent.value().is_some());
    }

    #[test]
    fn all_mistakes_of_one_attribute() {
        let read = read(&parse_quote!(
            #[command(lok = Execution, lock = Exec, name = 5, wait(a, b), name = "b", needs)]
        ));
        assert_eq!(
            read.errors.texts(),
            [
                "unknown key `lok` in `#[command(…)]`; did you mean `lock`?",
                "unknown lock scope `Exec`; expected one of `None`, `Execution`",
                "write `name = \"…\"`",
                "unknown key `wait` in `#[command(…)]`; expected one of `name`, `lock`, `needs`, \
                 `idempotent`",
                "`name` is given twice",
                "write `needs(Type, …)`",
            ]
        );
        assert!(read.lock.key().is_some() && read.lock.value().is_none());
    }

    #[test]
    fn values_of_the_wrong_form() {
        for (attribute, text) in [
            (parse_quote!(#[command(idempotent = true)]), "`idempotent` takes no value"),
            (parse_quote!(#[command(name)]), "write `name = \"…\"`"),
            (parse_quote!(#[command(name("a"))]), "write `name = \"…\"`"),
            (parse_quote!(#[command(lock = "None")]), "write `lock = None|Execution`"),
            (parse_quote!(#[command(needs = u8)]), "write `needs(Type, …)`"),
        ] {
            let attribute: Attribute = attribute;
            assert_eq!(read(&attribute).errors.texts(), [text]);
        }
    }

    #[test]
    fn a_path_is_no_key() {
        let read = read(&parse_quote!(#[command(my::name = "a")]));
        assert_eq!(
            read.errors.texts(),
            ["unknown key `my::name` in `#[command(…)]`; expected one of `name`, `lock`, \
              `needs`, `idempotent`"]
        );
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("lock", "lock", 0), ("lok", "lock", 1), ("", "ab", 2), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
