//! The tables, one file each.

pub(crate) mod audit;
pub(crate) mod command_entity;
pub(crate) mod command_lock;
pub(crate) mod compensation;
pub(crate) mod event_delivery;
pub(crate) mod event_subscription;
pub(crate) mod external_task;
pub(crate) mod lock_waiter;
pub(crate) mod migration;
pub(crate) mod once_result;
pub(crate) mod sleep;
