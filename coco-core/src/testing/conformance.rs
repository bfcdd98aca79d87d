//! What a store has to do.
