//! A store in memory, for tests.

/// Keeps everything in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore;
