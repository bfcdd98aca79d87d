//! All commands of the program, by their stored names.
//!
//! The derive registers each command at link time, so a crate of commands must be named by the
//! binary: `use its_crate as _;`. What is wrong with the set is found before anything runs, and
//! listed whole.

use std::collections::BTreeMap;
use std::fmt;

use crate::command::{Descriptor, Need};
use crate::context::Resources;

/// What generated code submits. Used by generated code only.
#[doc(hidden)]
#[derive(Debug)]
pub struct Registration(pub &'static Descriptor);

inventory::collect!(Registration);

/// The commands that this program knows.
#[derive(Debug)]
pub(crate) struct Registry {
    by_name: BTreeMap<&'static str, &'static Descriptor>,
    /// Names that stand for two types.
    clashes: Vec<String>,
}

/// All that is wrong with the commands of a program, with file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryError {
    problems: Vec<String>,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the commands of this program cannot run:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for RegistryError {}

impl Registry {
    /// All commands that were linked, and `more`.
    pub(crate) fn collect(more: &[&'static Descriptor]) -> Self {
        let linked = inventory::iter::<Registration>.into_iter().map(|registration| registration.0);
        Self::of(linked.chain(more.iter().copied()))
    }

    fn of(all: impl Iterator<Item = &'static Descriptor>) -> Self {
        let mut by_name = BTreeMap::<_, Vec<&Descriptor>>::new();
        for descriptor in all {
            let same_name = by_name.entry(descriptor.spec.name).or_default();
            if !same_name.iter().any(|other| other.place() == descriptor.place()) {
                same_name.push(descriptor);
            }
        }
        let same_names = by_name.values_mut().filter(|same_name| same_name.len() > 1);
        let clashes = same_names.map(|same_name| clash(same_name)).collect();
        let first = |(name, same_name): (_, Vec<_>)| (name, same_name[0]);
        Self { by_name: by_name.into_iter().map(first).collect(), clashes }
    }

    /// The command that is stored as `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&'static Descriptor> {
        self.by_name.get(name).copied()
    }

    /// The stored names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }

    /// Checks that each name stands for one type, and that everything that a command needs is
    /// among `resources`, where they are known.
    ///
    /// # Errors
    /// Lists all that is wrong.
    pub(crate) fn check(&self, resources: Option<&Resources>) -> Result<(), RegistryError> {
        let mut problems = self.clashes.clone();
        for descriptor in self.by_name.values() {
            let is_missing = |need: &&Need| resources.is_some_and(|all| !all.has((need.type_id)()));
            for need in descriptor.needs.iter().filter(is_missing) {
                problems.push(format!(
                    "{} at {}:{} needs `{}`, which nobody provides; call `.provide(…)` before `.start()`",
                    descriptor.rust_path, descriptor.file, descriptor.line, (need.type_name)(),
                ));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(RegistryError { problems }) }
    }
}

impl Descriptor {
    /// Where the type is defined: one type may be registered twice, by link and by hand.
    const fn place(&self) -> (&'static str, u32, &'static str) {
        (self.file, self.line, self.rust_path)
    }
}

fn clash(same_name: &mut [&Descriptor]) -> String {
    same_name.sort_by_key(|descriptor| descriptor.place());
    let mut text = format!("two commands are stored as `{}`:", same_name[0].spec.name);
    for descriptor in same_name {
        text += &format!("\n  {} at {}:{}", descriptor.rust_path, descriptor.file, descriptor.line);
    }
    text + "\n  give one of them `#[command(name = \"…\")]`"
}

/// Panics when the commands of this program cannot run together: for a test of yours.
///
/// # Panics
/// When two commands have one stored name; the message lists them all.
pub fn assert_registry() {
    if let Err(error) = Registry::collect(&[]).check(None) {
        panic!("{error}");
    }
}

/// The stored names of all commands that are linked into this program, sorted: for a test that
/// compares them with a list in your repository, so that a rename shows in review.
///
/// # Panics
/// As [`assert_registry`].
pub fn stored_names() -> Vec<&'static str> {
    assert_registry();
    Registry::collect(&[]).names().collect()
}
