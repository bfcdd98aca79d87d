//! What stands beside the errors: an implementation of what could be read, so that the rest of
//! the crate is not told that the type is no command. It is registered nowhere.

use proc_macro2::TokenStream;
use quote::quote;

use crate::ast::Command;
use crate::errors::Errors;
use crate::expand;

/// The errors, and the implementation.
pub(crate) fn command(command: &Command<'_>, errors: &Errors) -> TokenStream {
    let errors = errors.to_compile_errors();
    let implementation = expand::implementation(command);
    quote! {
        #errors
        const _: () = {
            #implementation
        };
    }
}
