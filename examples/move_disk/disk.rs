//! What the commands work with: the disk, at a pace, with a ledger of what was done to it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use coco_core::callback::NoCallback;
use coco_core::prelude::*;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::image::Extent;

/// The resource of the commands that touch the disk.
#[derive(Clone, Debug)]
pub struct Disk {
    pace: Option<Arc<Pace>>,
    fail_extent: Option<u64>,
    ledger: Option<Arc<File>>,
    at_work: Arc<AtWork>,
}

impl Disk {
    /// A disk to which at most `rate` MiB a second are copied, on which the extent `fail_extent`
    /// cannot be copied, and whose `ledger`, a file, gets a line for each piece of work.
    pub fn open(
        rate: Option<u32>,
        fail_extent: Option<u64>,
        ledger: Option<&Path>,
    ) -> Result<Self> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            let named = |error| Error::other(format!("{}: {error}", path.display()));
            opened.map(Arc::new).map_err(named)
        };
        Ok(Self {
            pace: rate.map(Pace::new).map(Arc::new),
            fail_extent,
            ledger: ledger.map(open).transpose()?,
            at_work: Arc::default(),
        })
    }

    /// Does a piece of `work` for the command of `cx`, unless that is cancelled.
    ///
    /// The ledger gets its line first, so that nothing happens without one:
    /// `command-id extent attempt`, with `-` for what is about the whole image.
    pub async fn work<C, T>(
        &self,
        cx: &Context<C>,
        extent: Option<Extent>,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T>
    where
        C: Command<Callback = NoCallback>,
        T: Send + 'static,
    {
        if cx.is_cancelled() {
            return Err(Error::other("it was cancelled before all was done"));
        }
        let extent = extent.map_or_else(|| "-".to_owned(), |extent| extent.number.to_string());
        self.enter(cx.id(), format!("{extent} {}", cx.attempt()), work).await
    }

    /// Undoes what the command of `cx` did. Its line is `command-id undo attempt`.
    pub async fn undo<C: Command>(
        &self,
        cx: &LeafContext<C>,
        undo: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        self.enter(cx.id(), format!("undo {}", cx.hook_attempt()), undo).await
    }

    /// Does what is left to do when the command of `cx` has succeeded. Its line is
    /// `command-id end attempt`.
    pub async fn end<C: Command>(
        &self,
        cx: &LeafContext<C>,
        end: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        self.enter(cx.id(), format!("end {}", cx.hook_attempt()), end).await
    }

    /// Works where it holds up nobody else.
    async fn enter<T: Send + 'static>(
        &self,
        id: CommandId,
        line: String,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let ledger = self.ledger.clone();
        let alone = self.at_work.of(id).lock_owned().await;
        let done = spawn_blocking(move || {
            let _alone = alone;
            if let Some(ledger) = ledger {
                (&*ledger).write_all(format!("{id} {line}\n").as_bytes())?;
            }
            work()
        });
        Ok(done.await??)
    }

    /// Waits until the pace allows this extent, or the command of `cx` is cancelled.
    pub async fn turn<C>(&self, cx: &Context<C>, extent: Extent)
    where
        C: Command<Callback = NoCallback>,
    {
        if let Some(pace) = &self.pace {
            tokio::select! {
                () = sleep_until(pace.book(extent.length)) => {}
                () = cx.cancelled() => {}
            }
        }
    }

    /// Fails where the user said so.
    pub fn fail_as_told(&self, extent: Extent) -> Result<()> {
        if self.fail_extent == Some(extent.number) {
            return Err(Error::other(format!("extent {} fails, as was asked for", extent.number)));
        }
        Ok(())
    }
}

/// One lock for each command that a thread works for.
///
/// A thread works on when the future that waits for it is dropped, as that of a cancelled command
/// is when it takes too long. What undoes the command then waits for its end here.
#[derive(Debug, Default)]
struct AtWork(Mutex<HashMap<CommandId, Weak<Lock>>>);

type Lock = tokio::sync::Mutex<()>;

impl AtWork {
    fn of(&self, id: CommandId) -> Arc<Lock> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        locks.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lock = Arc::default();
            locks.insert(id, Arc::downgrade(&lock));
            lock
        })
    }
}

/// So many bytes a second, whoever asks.
#[derive(Debug)]
struct Pace {
    /// In MiB a second.
    rate: u32,
    /// When all that was booked is over.
    free_at: Mutex<Instant>,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { rate, free_at: Mutex::new(Instant::now()) }
    }

    /// Books the next time that is free, and says when it begins.
    fn book(&self, bytes: u64) -> Instant {
        let mib = bytes as f64 / f64::from(1 << 20);
        let takes = Duration::from_secs_f64(mib / f64::from(self.rate));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = Instant::now().max(*free_at);
        *free_at = begins + takes;
        begins
    }
}
