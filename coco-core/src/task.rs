//! Tasks outside: work that another system does, and that the engine follows to its end.
//!
//! A command stores a task **before** it begins it outside ([`Context::task`](crate::Context::task)).
//! In the task's fields is the name under which the other system knows it, one that the command has
//! chosen, from its fields or its own [`CommandId`], and the same one where its code comes again. So
//! whatever dies when, there is somebody who can ask what has become of it. The engine
//!
//! - asks for its [`status`](ExternalTask::status) at the intervals of the command's `poll(…)`, once
//!   `execute` has returned, until it is over;
//! - [stops](ExternalTask::stop) it when the command fails or is cancelled;
//! - [clears](ExternalTask::clear) it, so that the other system forgets it, when the outcome of the
//!   command stands.
//!
//! A command is settled when its tasks are: while one runs, its callback is not polled, and it does not
//! end, nor is what it did undone. When all have succeeded its rounds go on.
//!
//! # When the process dies
//!
//! What is stored when `cx.task` is back is a placeholder. The task is **kept** with the end of the
//! round, or of the `execute`, that has added it: in one step with what that has changed and started.
//! When the process dies before, nobody knows whether the work was begun. So that round, or an
//! `idempotent` `execute`, runs again **before** the placeholder is asked, with the fields as they were.
//! It adds the task again, which finds the placeholder, and begins the work under the same name: as
//! whatever it does outside, that has to bear a second time.
//!
//! | the process dies | then |
//! |---|---|
//! | before `cx.task` is stored | the round comes again: there is no task |
//! | before the work is begun, or before the end of the round is stored | the round comes again, and the task is the same |
//! | after that | the task is asked |
//!
//! A placeholder that the round does not add again, since it takes another way now, may run outside all
//! the same: it is followed like the others. But where the outside does not know it, it is over, and
//! nothing has failed.

use std::any::{Any, type_name};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What `#[typetag::serde]` on an `impl ExternalTask` needs in scope: `use coco_core::task::typetag;`.
pub use typetag;

use crate::caught::caught;
use crate::context::Resources;
use crate::error::{Error, Result};
use crate::id::CommandId;

/// What a method of a task returns: write `Box::pin(async move { … })`.
pub type TaskFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Work that another system does for a command. It is stored as JSON, with the `name` of its type
/// beside it: that is data, and stays when the struct is renamed.
///
/// ```
/// use coco_core::prelude::*;
/// use coco_core::task::{ExternalTask, TaskContext, TaskFuture, TaskStatus, typetag};
/// use serde::{Deserialize, Serialize};
///
/// # struct Storage;
/// # impl Storage {
/// #     async fn copy_status(&self, _: &str) -> Result<Option<bool>> { Ok(None) }
/// #     async fn cancel_copy(&self, _: &str) -> Result<()> { Ok(()) }
/// # }
/// /// A copy that the storage makes by itself.
/// #[derive(Serialize, Deserialize)]
/// struct Copy { name: String }
///
/// #[typetag::serde(name = "copy")]
/// impl ExternalTask for Copy {
///     fn status<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, TaskStatus> {
///         Box::pin(async move {
///             Ok(match cx.get::<Storage>()?.copy_status(&self.name).await? {
///                 None => TaskStatus::Unknown,
///                 Some(false) => TaskStatus::Running,
///                 Some(true) => TaskStatus::Succeeded,
///             })
///         })
///     }
///
///     fn stop<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()> {
///         Box::pin(async move { cx.get::<Storage>()?.cancel_copy(&self.name).await })
///     }
/// }
/// ```
#[typetag::serde(tag = "task", content = "parameters")]
pub trait ExternalTask: Send + Sync {
    /// What has become of it. Called again and again while it is open, also after a restart.
    ///
    /// # Errors
    /// Then nothing is known: it is asked again.
    fn status<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, TaskStatus>;

    /// Makes it end: the command has failed or is cancelled. After that it is asked for its status
    /// until it is over. Called at least once, also for a task that was never begun.
    ///
    /// # Errors
    /// It is logged, and the task is asked for its status all the same.
    fn stop<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()>;

    /// Lets the outside forget it: the outcome of the command stands. Called at least once. Without a
    /// body of your own nothing is done.
    ///
    /// # Errors
    /// It is called again after a pause, and after the last attempt the command is stuck, as with an
    /// end hook.
    fn clear<'a>(&'a self, cx: &'a TaskContext) -> TaskFuture<'a, ()> {
        let _ = cx;
        Box::pin(async { Ok(()) })
    }
}

/// What has become of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// It goes on.
    Running,
    /// It is done.
    Succeeded,
    /// It has failed, for this reason: so does its command.
    Failed(String),
    /// The other system does not know it: it was never begun, or is forgotten. It is over, and its
    /// command fails; but not for one whose code was interrupted, or has failed and was tried again,
    /// and has not added it again.
    Unknown,
}

/// What the methods of a task can reach.
pub struct TaskContext {
    pub(crate) command: CommandId,
    pub(crate) resources: Arc<Resources>,
}

impl TaskContext {
    /// The command that has the task.
    pub fn command(&self) -> CommandId {
        self.command
    }

    /// A resource of the program, given to the coordinator by `provide`. A task does not say what it
    /// needs: the command that has it should, with `needs(T)`.
    ///
    /// # Errors
    /// When nobody provides it.
    pub fn get<T: Any + Send + Sync>(&self) -> Result<&T> {
        let missing = || Error::other(format!("nobody provides a `{}`", type_name::<T>()));
        self.resources.get().ok_or_else(missing)
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskContext").field(&self.command).finish()
    }
}

/// The task that `json` stands for.
pub(crate) fn decode(json: &str) -> Result<Box<dyn ExternalTask>> {
    caught(|| serde_json::from_str(json)).map_err(Error::other)?.map_err(Into::into)
}
