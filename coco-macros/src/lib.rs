//! The derives of coco-core, which re-exports them: use them from there.
//!
//! The way of a derive, a file a step: `attr` reads keys and values, `ast` holds what was written,
//! `check` knows the rules, `expand` writes the implementation. Mistakes are collected in `errors`
//! and reported together; `fallback` puts an implementation beside them.

mod ast;
mod attr;
mod check;
mod duration;
mod errors;
mod expand;
mod fallback;
mod lock_key;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a command: declares it to the engine and registers it under its stored name.
///
/// ```text
/// #[derive(Command, Serialize, Deserialize)]
/// #[command(lock = Execution, callback = SerialChildren)]
/// struct MoveDisk {
///     #[lock(exclusive)]
///     disk: DiskId,
///     #[lock(shared, group = "domain")]
///     target: String,
/// }
/// ```
///
/// The struct also needs `Serialize`, `Deserialize` and an `impl Execute`. It cannot be generic.
///
/// # `#[command(…)]` on the struct
///
/// | key | meaning | default |
/// |---|---|---|
/// | `name = "…"` | the name that stands for the type in the store, of the letters `a-z`, `0-9` and `_`; what is stored is found again by it | snake_case of the struct |
/// | `lock = …` | how long the locks of its fields are held: `None`, `Execution` (until the work has succeeded, or has failed and ended) or `Command` (until the end hook is through) | `None` |
/// | `wait`, `wait = "30s"` | a command that cannot have all of its locks now waits for them in line, at most that long | is refused at once |
/// | `callback = …` | what happens beyond `execute`: see below | a leaf, which is over when `execute` is |
/// | `needs(T, …)` | the resources that `cx.get::<T>()` gives; a coordinator does not start without them | none |
/// | `idempotent` | a command whose `execute` was interrupted by the death of the process runs it again, where it else fails; not for flows, which do in any case | fails |
/// | `retry(attempts = 5, backoff = "1s", max_backoff = "5m")` | a command whose `execute` fails runs it again, after pauses that double from `backoff` up to `max_backoff`; `attempts`, 2 to 1000, counts the first run too; not for flows | fails at once; `backoff` is `"1s"`, `max_backoff` `"5m"` |
/// | `timeout = "10m"` | how long it may take from its first start, over restarts, before it fails | as long as it takes |
/// | `poll(every = "1s", max = "10s")` | at what intervals it is polled, with `Polling`, `NextOperation` or a callback of your own: first after `every`, then each time after double the pause, up to `max` | these |
/// | `event_timeout = "5m"` | how long a command that waits for an event is not polled, with `Polling` or a callback of your own | `"5m"` |
/// | `concurrency = 4` | how many of its type run at a time, per engine | any number |
/// | `crate = path` | where coco-core is, for a crate that has it under another name | `::coco_core` |
///
/// A duration is a number and a unit, `"500ms"`, `"1.5s"`, `"10m"`, `"2h"` or `"1d"`, or a sum
/// like `"1h30m"`; the longest is 365 days.
///
/// # `callback = …`
///
/// | value | what happens | you write |
/// |---|---|---|
/// | `SerialChildren` | a flow: `execute` awaits children, and runs again after a restart | nothing |
/// | `ConcurrentChildren` | `execute` starts children; when all have ended, it is called once more | `impl ConcurrentChildren` |
/// | `NextOperation` | one operation after the other, each when all that the one before has started has ended | `impl NextOperation` |
/// | `Polling` | `execute` begins some work outside, and is then asked whether that is done | `impl Polling` |
/// | `path::To::Callback` | what a callback of your own says, a type that may have arguments: `AnyOf<3>` | `impl CommandCallback` |
///
/// A word that is nearly one of these four is taken for a slip: a callback of your own with such a
/// name is written with a path, `self::…`.
///
/// # `#[lock(…)]` on a field
///
/// | key | meaning |
/// |---|---|
/// | `exclusive` | nobody else may hold the lock |
/// | `shared` | others may hold it shared |
/// | `group = "…"` | the kind of thing, for a key of any type with `Display`; without it the key implements `LockKey` |
///
/// The field is a key, or an `Option`, a `Vec` or a `BTreeSet` of keys, written out: a macro does
/// not see what an alias stands for. Without a key there is no lock, and a key that is named twice
/// is locked once, exclusively if one of its fields says so.
#[proc_macro_derive(Command, attributes(command, lock))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    expand::derive(&parse_macro_input!(input as DeriveInput)).into()
}

/// Makes a struct with one field the key of a lock; the field's type implements `Display`.
///
/// ```text
/// #[derive(LockKey, Serialize, Deserialize, Clone, Copy)]
/// #[lock_key(group = "disk")]
/// struct DiskId(Uuid);
/// ```
///
/// # `#[lock_key(…)]`
///
/// | key | meaning | default |
/// |---|---|---|
/// | `group = "…"` | the kind of thing; keys of two groups never meet | must be given |
/// | `crate = path` | where coco-core is, for a crate that has it under another name | `::coco_core` |
#[proc_macro_derive(LockKey, attributes(lock_key))]
pub fn derive_lock_key(input: TokenStream) -> TokenStream {
    lock_key::derive(&parse_macro_input!(input as DeriveInput)).into()
}
