//! The derives of coco-core, which re-exports them; use them from there.

mod ast;
mod attr;
mod check;
mod errors;
mod expand;
mod fallback;
mod lock_key;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a command: implements `Command` for it and registers it under its stored name.
#[proc_macro_derive(Command, attributes(command, lock))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    expand::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a type the key of a lock.
#[proc_macro_derive(LockKey, attributes(lock_key))]
pub fn derive_lock_key(input: TokenStream) -> TokenStream {
    lock_key::derive(&parse_macro_input!(input as DeriveInput)).into()
}
