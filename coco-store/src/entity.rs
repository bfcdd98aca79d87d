//! The tables, one file each.

pub(crate) mod command_entity;
pub(crate) mod migration;
pub(crate) mod once_result;
