//! Identities: random for roots, derived for all that a replay has to name again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity of a command.
///
/// A root gets a UUID v7 when it is submitted. A child gets a UUID v8 of its root's 48-bit time
/// and a fixed hash of its parent and position, so a flow that runs again names the same children
/// and keys stay ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(Uuid);

impl CommandId {
    /// The command that has this UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID of this command.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }

    /// The child that `self` asks for at `position`, in the tree of `root`.
    pub(crate) fn child(self, root: Self, position: i32) -> Self {
        let mut bytes = self.derive("child", position).into_bytes();
        bytes[..6].copy_from_slice(&root.0.as_bytes()[..6]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// A UUID that stands for `position` of this command on every run of it.
    pub(crate) fn derive(self, purpose: &str, position: i32) -> Uuid {
        Uuid::new_v5(&self.0, format!("{purpose}/{position}").as_bytes())
    }
}

/// The identity of an engine in its store, kept over restarts. Where one engine at a time owns a
/// store, all have the same, [`ONLY`](Self::ONLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(Uuid);

impl EngineId {
    /// The engine of a store that has no other.
    pub const ONLY: Self = Self(Uuid::nil());

    /// The engine that has this UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID of this engine.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CommandId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_named_alike_on_every_run_and_apart_from_its_siblings() {
        let root = CommandId(Uuid::now_v7());
        let child = root.child(root, 0);
        assert_eq!(child, root.child(root, 0));
        assert_ne!(child, root.child(root, 1));
        assert_ne!(child.child(root, 0), child);
        assert_eq!(child.0.get_version_num(), 8);
        assert_eq!(child.0.as_bytes()[..6], root.0.as_bytes()[..6]);
    }
}
