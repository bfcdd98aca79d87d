//! `#[derive(LockKey)]`: a struct around one value names a thing that can be locked.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, LitStr, Member, Path};

use crate::ast::members;
use crate::attr::{Attr, Slot};
use crate::check;
use crate::errors::Errors;

const LOCK_KEY: Attr = Attr { name: "lock_key", keys: &["group", "crate"] };

#[derive(Default)]
struct Keys {
    group: Slot<LitStr>,
    crate_path: Slot<Path>,
}

/// The whole derive. Beside errors it still implements the trait, with what could be read.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let keys = read(input, &mut errors);
    check(input, &keys, &mut errors);
    let implementation = implementation(input, &keys);
    let errors = errors.to_compile_errors();
    quote!(#errors #implementation)
}

fn read(input: &DeriveInput, errors: &mut Errors) -> Keys {
    let mut keys = Keys::default();
    for attribute in input.attrs.iter().filter(|attribute| LOCK_KEY.is(attribute)) {
        LOCK_KEY.read(attribute, errors, |name, key| match name {
            "group" => key.text(&mut keys.group),
            _ => key.path(&mut keys.crate_path),
        });
    }
    keys
}

fn check(input: &DeriveInput, keys: &Keys, errors: &mut Errors) {
    if keys.group.key().is_none() && errors.is_empty() {
        errors.push(
            input.ident.span(),
            format!(
                "say what kind of thing `{0}` names: put `#[lock_key(group = \"…\")]` on it",
                input.ident
            ),
        );
    }
    check::group(&keys.group, errors);
    if !input.generics.params.is_empty() {
        errors.push(
            input.generics.params.span(),
            "a lock key cannot be generic: its group must stand for exactly one type",
        );
    }
    let one_field =
        "a lock key has exactly one field; implement `LockKey` by hand for another form";
    match &input.data {
        Data::Enum(data) => errors.push(data.enum_token.span, one_field),
        Data::Union(data) => errors.push(data.union_token.span, one_field),
        Data::Struct(data) => match data.fields.iter().nth(1) {
            Some(second) => errors.push(second.span(), one_field),
            None if data.fields.is_empty() => errors.push(input.ident.span(), one_field),
            None => {}
        },
    }
}

fn implementation(input: &DeriveInput, keys: &Keys) -> TokenStream {
    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let coco = match keys.crate_path.value() {
        Some(path) => path.to_token_stream(),
        None => quote!(::coco_core),
    };
    let group = keys.group.value().map(LitStr::value).unwrap_or_default();
    let key = match members(&input.data).as_slice() {
        [(member, field)] if input.generics.params.is_empty() => key(&coco, member, field),
        _ => quote!(::std::string::String::new()),
    };
    quote! {
        #[automatically_derived]
        impl #impl_generics #coco::lock::LockKey for #ident #type_generics #where_clause {
            const GROUP: &'static str = #group;
            fn key(&self) -> ::std::string::String {
                #key
            }
        }
    }
}

fn key(coco: &TokenStream, member: &Member, field: &Field) -> TokenStream {
    let ty = &field.ty;
    // At the type, but not of it: a type that a `macro_rules` was given does not know our `self`.
    let span = ty.span().resolved_at(Span::call_site());
    quote_spanned! {span=> #coco::__private::key_text::<#ty>(&self.#member) }
}
