//! What a sound command becomes: the implementation, and its registration.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, Generics, Type, parse_quote};

use crate::ast::{Callback, Command, LockField, LockScope};
use crate::attr::written;
use crate::check::{DEFAULT_EVERY, DEFAULT_MAX, check};
use crate::errors::Errors;
use crate::fallback;

/// The whole derive.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let command = Command::read(input, &mut errors);
    check(&command, &mut errors);
    if errors.is_empty() { registered(&command) } else { fallback::command(&command, &errors) }
}

fn registered(command: &Command<'_>) -> TokenStream {
    let coco = command.coco();
    let ident = &command.input.ident;
    let name = command.stored_name();
    let implementation = implementation(command);
    quote! {
        const _: () = {
            // The expansion of `typetag::serde` names its crate by this word.
            use #coco::__private::typetag;
            #implementation
            #[automatically_derived]
            #[typetag::serde(name = #name)]
            impl #coco::DynCommand for #ident {}
            #coco::__private::inventory::submit! {
                #coco::__private::Registration(<#ident as #coco::Declaration>::DESCRIPTOR)
            }
        };
    }
}

/// `impl Command`, of what could be read.
pub(crate) fn implementation(command: &Command<'_>) -> TokenStream {
    let coco = command.coco();
    let ident = &command.input.ident;
    let generics = generics(command);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let callback = callback(command);
    let name = command.stored_name();
    let rust_name = ident.unraw().to_string();
    let idempotent = command.keys.idempotent.value().is_some();
    let scope = command.keys.lock.value().unwrap_or(&LockScope::None).word();
    let scope = format_ident!("{scope}");
    let wait = wait(command);
    let retry = optional(retry(command));
    let timeout = optional(command.keys.timeout.value().map(duration));
    // Of 0, `NonZeroU32::new` makes the None that stands for no limit.
    let concurrency = command.keys.concurrency.value().unwrap_or(&0);
    let pace = pace(command);
    let event_timeout = match command.keys.event_timeout.value() {
        Some(event_timeout) => duration(event_timeout),
        None => quote!(#coco::callback::EVENT_TIMEOUT),
    };
    let needs = command.needs();
    let locks = locks(command);
    quote! {
        #[automatically_derived]
        impl #impl_generics #coco::Command for #ident #type_generics #where_clause {}
        #[automatically_derived]
        impl #impl_generics #coco::Declaration for #ident #type_generics #where_clause {
            type Callback = #callback;
            const DESCRIPTOR: &'static #coco::Descriptor = &#coco::Descriptor::of::<Self>(
                #coco::Spec {
                    name: #name,
                    callback: <Self::Callback as #coco::callback::Callback>::KIND,
                    idempotent: #idempotent,
                    scope: #coco::lock::LockScope::#scope,
                    wait: #coco::lock::LockWait::#wait,
                    retry: #retry,
                    timeout: #timeout,
                    poll: #pace,
                    event_timeout: #event_timeout,
                    concurrency: ::core::num::NonZeroU32::new(#concurrency),
                },
                ::core::concat!(::core::module_path!(), "::", #rust_name),
                ::core::file!(),
                ::core::line!(),
                &[#(#coco::Need::of::<#needs>()),*],
            );
            fn locks(&self) -> ::std::vec::Vec<#coco::lock::Lock> {
                #coco::__private::all_locks([#(#locks),*])
            }
            fn only_the_derive_implements_command(_: #coco::__private::Derived) {}
        }
        #(
            #[automatically_derived]
            impl #impl_generics #coco::Needs<#needs> for #ident #type_generics #where_clause {
                fn only_the_derive_implements_needs(_: #coco::__private::Derived) {}
            }
        )*
    }
}

/// The generics of the type, which a sound command does not have. With an error beside it, it is
/// a command wherever it could be one.
fn generics(command: &Command<'_>) -> Generics {
    let mut generics = command.input.generics.clone();
    if !generics.params.is_empty() {
        let coco = command.coco();
        generics
            .make_where_clause()
            .predicates
            .push(parse_quote!(Self: #coco::Execute + #coco::Stored));
    }
    generics
}

/// The type that stands for the callback, at what was written: there the compiler says what is
/// missing of it. With an error beside it, one that may be there is not asked for.
fn callback(command: &Command<'_>) -> TokenStream {
    let coco = command.coco();
    if !command.input.generics.params.is_empty() {
        return quote!(#coco::callback::Unread);
    }
    let written = &command.keys.callback;
    let Some((span, callback)) = written.spanned() else {
        let is_left_out = written.key().is_none() && command.keys.sound;
        let word = if is_left_out { quote!(NoCallback) } else { quote!(Unread) };
        return quote!(#coco::callback::#word);
    };
    let coco = command.coco_at(span);
    match callback {
        Callback::SerialChildren => quote_spanned!(span=> #coco::callback::SerialChildren),
        Callback::ConcurrentChildren => quote_spanned!(span=> #coco::callback::ConcurrentChildren),
        Callback::NextOperation => quote_spanned!(span=> #coco::callback::NextOperation),
        Callback::Polling => quote_spanned!(span=> #coco::callback::Polling),
        Callback::Custom(path) => {
            let last = path.to_token_stream().into_iter().last().map_or(span, |last| last.span());
            let end = quote_spanned!(last=> >);
            quote_spanned!(span=> #coco::callback::Custom<#path #end)
        }
    }
}

/// The intervals, with the default for what was not written.
fn pace(command: &Command<'_>) -> TokenStream {
    let coco = command.coco();
    let Some(poll) = command.keys.poll.value() else {
        return quote!(#coco::callback::Pace::DEFAULT);
    };
    let every = duration(poll.every.value().unwrap_or(&DEFAULT_EVERY));
    let max = duration(poll.max.value().unwrap_or(&DEFAULT_MAX));
    quote!(#coco::callback::Pace::new(#every, #max))
}

/// The variant of `LockWait`.
fn wait(command: &Command<'_>) -> TokenStream {
    match command.keys.wait.value() {
        None => quote!(No),
        Some(None) => quote!(Yes),
        Some(Some(longest)) => {
            let longest = duration(longest);
            quote!(AtMost(#longest))
        }
    }
}

/// The policy, with the defaults of `Retry::new` for what was not written.
fn retry(command: &Command<'_>) -> Option<TokenStream> {
    let coco = command.coco();
    let retry = command.keys.retry.value()?;
    let attempts = retry.attempts.value()?;
    let backoff = retry.backoff.value().map(duration).map(|backoff| quote!(.backoff(#backoff)));
    let max_backoff =
        retry.max_backoff.value().map(duration).map(|longest| quote!(.max_backoff(#longest)));
    Some(quote!(#coco::Retry::new(#attempts) #backoff #max_backoff))
}

fn duration(duration: &Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

fn optional(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// The locks, field by field. With an error beside them, only what was read of a field is asked of
/// its type, and nothing of one that may be a parameter.
fn locks(command: &Command<'_>) -> Vec<TokenStream> {
    let is_generic = !command.input.generics.params.is_empty();
    let fields = command.lock_fields.iter().filter(|field| field.sound && !is_generic);
    fields.filter_map(|field| lock(command, field)).collect()
}

/// The locks of one field; what the compiler has to say of a key is said at its type.
fn lock(command: &Command<'_>, field: &LockField<'_>) -> Option<TokenStream> {
    let coco = command.coco();
    let LockField { member, key, exclusive, shared, group, .. } = field;
    let mode = match (exclusive.value(), shared.value()) {
        (Some(()), _) => quote!(#coco::lock::LockMode::Exclusive),
        (None, Some(())) => quote!(#coco::lock::LockMode::Shared),
        (None, None) => return None,
    };
    // At the type, but not of it: a type that a `macro_rules` was given does not know our `self`.
    let span = key.span().resolved_at(Span::call_site());
    let keys = if field.is_container {
        quote_spanned!(span=> &self.#member)
    } else {
        quote_spanned!(span=> [&self.#member])
    };
    Some(match group.value() {
        Some(group) => quote_spanned! {span=>
            #coco::__private::locks_in::<#key>(#group, #keys, #mode)
        },
        None => quote_spanned!(span=> #coco::__private::locks::<#key>(#keys, #mode)),
    })
}

impl Command<'_> {
    /// The path to coco-core.
    fn coco(&self) -> TokenStream {
        match self.keys.crate_path.value() {
            Some(path) => path.to_token_stream(),
            None => quote!(::coco_core),
        }
    }

    /// The same, of which messages point at `span`.
    fn coco_at(&self, span: Span) -> TokenStream {
        let Some(path) = self.keys.crate_path.value() else {
            return quote_spanned!(span=> ::coco_core);
        };
        let located = path.to_token_stream().into_iter().map(|mut token| {
            // It means what it meant where it was written: a `$crate` is that of its macro.
            token.set_span(token.span().located_at(span));
            token
        });
        located.collect()
    }

    /// The resources, each once.
    fn needs(&self) -> Vec<&Type> {
        let mut needs: Vec<&Type> = Vec::new();
        for ty in self.keys.needs.value().into_iter().flatten() {
            if !needs.iter().any(|earlier| written(*earlier) == written(ty)) {
                needs.push(ty);
            }
        }
        needs
    }
}
