//! Reads `#[name(key, key = value, key(…))]`.
//!
//! A wrong key or value does not end the reading: it is noted, its value is skipped, and the next
//! key is read. Only what is no list of keys at all ends the attribute.

use std::time::Duration;

use proc_macro2::{Group, Span, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Ident, LitInt, LitStr, MacroDelimiter, Meta, MetaList, Path, Token, Type,
    parenthesized, token,
};

use crate::duration;
use crate::errors::Errors;

/// An attribute, or a key with keys of its own, and the keys that it knows.
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
        let place = format!("#[{}(…)]", self.name);
        let result = attribute.parse_nested_meta(|meta| self.key(&meta, &place, errors, &mut read));
        if let Err(error) = result {
            errors.push_error(error);
        }
    }

    /// The same for the keys in the `list` of a key.
    pub(crate) fn read_list(
        &self,
        list: &MetaList,
        errors: &mut Errors,
        mut read: impl FnMut(&'static str, Key<'_>) -> syn::Result<()>,
    ) -> syn::Result<()> {
        let place = format!("{}(…)", self.name);
        list.parse_nested_meta(|meta| self.key(&meta, &place, errors, &mut read))
    }

    fn key(
        &self,
        meta: &ParseNestedMeta<'_>,
        place: &str,
        errors: &mut Errors,
        read: &mut impl FnMut(&'static str, Key<'_>) -> syn::Result<()>,
    ) -> syn::Result<()> {
        let span = meta.path.span();
        if let Some(name) = self.keys.iter().find(|name| meta.path.is_ident(name)) {
            return read(name, Key { name, span, input: meta.input, errors });
        }
        let written = written(&meta.path);
        let hint = hint(&written, self.keys);
        errors.push(span, format!("unknown key `{written}` in `{place}`; {hint}"));
        skip_value(meta.input)
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

    /// `key = 5`; `example` is such a number.
    pub(crate) fn number(mut self, example: u32, slot: &mut Slot<u32>) -> syn::Result<()> {
        let value = self.assigned(&example.to_string(), |input| {
            let literal = input.parse::<LitInt>()?;
            let is_plain = literal.suffix().is_empty();
            let value = literal.base10_parse::<u32>().ok().filter(|_| is_plain);
            value.map(|value| (literal.span(), value)).ok_or_else(|| input.error("no number"))
        })?;
        self.fill(slot, value);
        Ok(())
    }

    /// `key = "30s"`
    pub(crate) fn duration(mut self, slot: &mut Slot<Duration>) -> syn::Result<()> {
        let value = self.assigned_duration("\"30s\"")?;
        self.fill(slot, value);
        Ok(())
    }

    /// `key`, or `key = "30s"`
    pub(crate) fn flag_or_duration(mut self, slot: &mut Slot<Option<Duration>>) -> syn::Result<()> {
        let value = if self.input.is_empty() || self.input.peek(Token![,]) {
            Some((self.span, None))
        } else {
            let or_flag = format!("\"30s\"`, or only `{}", self.name);
            self.assigned_duration(&or_flag)?.map(|(span, duration)| (span, Some(duration)))
        };
        self.fill(slot, value);
        Ok(())
    }

    /// `key = some::path`
    pub(crate) fn path(mut self, slot: &mut Slot<Path>) -> syn::Result<()> {
        let value = self.assigned("some::path", Path::parse_mod_style)?;
        self.fill(slot, value.map(|path| (path.span(), path)));
        Ok(())
    }

    /// `key = Word`, one of `words`, or `key = some::path<…>`; `read` says what it stands for, or
    /// notes what is wrong with it.
    pub(crate) fn path_of<T>(
        mut self,
        words: &[&str],
        slot: &mut Slot<T>,
        read: impl FnOnce(Path, &mut Errors) -> Option<T>,
    ) -> syn::Result<()> {
        let example = format!("{}|some::path", words.join("|"));
        let value = self.assigned(&example, Path::parse)?.and_then(|path| {
            let span = path.span();
            read(path, self.errors).map(|value| (span, value))
        });
        self.fill(slot, value);
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
    pub(crate) fn types(mut self, slot: &mut Slot<Vec<Type>>) -> syn::Result<()> {
        if !self.opens("Type, …")? {
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

    /// `key(key = value, …)`, whose keys `read` takes; `example` is such a list.
    pub(crate) fn list<T>(
        mut self,
        example: &str,
        slot: &mut Slot<T>,
        read: impl FnOnce(&MetaList, &mut Errors) -> syn::Result<T>,
    ) -> syn::Result<()> {
        if !self.opens(example)? {
            self.fill(slot, None);
            return Ok(());
        }
        let group: Group = self.input.parse()?;
        let list = MetaList {
            path: Ident::new(self.name, self.span).into(),
            delimiter: MacroDelimiter::Paren(token::Paren { span: group.delim_span() }),
            tokens: group.stream(),
        };
        let value = match read(&list, self.errors) {
            Ok(value) => Some((self.span, value)),
            Err(error) => {
                self.errors.push(error.span(), format!("write `{}({example})`", self.name));
                None
            }
        };
        self.fill(slot, value);
        Ok(())
    }

    /// Whether the value is in parentheses; any other is skipped.
    fn opens(&mut self, example: &str) -> syn::Result<bool> {
        let opens = self.input.peek(token::Paren);
        if !opens {
            self.errors.push(self.span, format!("write `{}({example})`", self.name));
            skip_value(self.input)?;
        }
        Ok(opens)
    }

    /// The duration after `=`, or none when there is no sound one.
    fn assigned_duration(&mut self, example: &str) -> syn::Result<Option<(Span, Duration)>> {
        let text = self.assigned(example, |input| input.parse::<LitStr>())?;
        Ok(text.and_then(|text| match duration::parse(&text.value()) {
            Ok(duration) => Some((text.span(), duration)),
            Err(wrong) => {
                self.errors.push(text.span(), wrong);
                None
            }
        }))
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
    match (nearest(written, known), known) {
        (Some(word), _) => format!("did you mean `{word}`?"),
        (None, [only]) => format!("expected `{only}`"),
        (None, _) => format!("expected one of `{}`", known.join("`, `")),
    }
}

/// The known word that is nearly `written`, if there is one.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |word: &str| distance(&written.to_lowercase(), &word.to_lowercase());
    let near = |word: &&&str| distance(word) <= (written.len().max(word.len()) / 3).max(1);
    known.iter().filter(near).min_by_key(|word| distance(word)).copied()
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
mod tests;
