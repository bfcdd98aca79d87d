//! The derives of coco-core.

use proc_macro::TokenStream;

/// Makes a struct a command.
#[proc_macro_derive(Command, attributes(command, lock))]
pub fn derive_command(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// Makes a type a lock key.
#[proc_macro_derive(LockKey, attributes(lock_key))]
pub fn derive_lock_key(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
