//! What the commands work with: the disk, at a pace, with a ledger of what was done to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coco_core::callback::NoCallback;
use coco_core::prelude::*;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::image::Extent;

/// The resource of the commands that touch the disk.
#[derive(Debug)]
pub struct Disk {
    pace: Option<Pace>,
    ledger: Option<Arc<File>>,
}

impl Disk {
    /// A disk to which at most `rate` MiB a second are copied, and whose `ledger`, a file, gets a
    /// line for each piece of work.
    pub fn open(rate: Option<u32>, ledger: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            let named = |error| Error::other(format!("{}: {error}", path.display()));
            opened.map(Arc::new).map_err(named)
        };
        Ok(Self { pace: rate.map(Pace::new), ledger: ledger.map(open).transpose()? })
    }

    /// Does a piece of `work` for the command of `cx`, where it holds up nobody else.
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
        let extent = extent.map_or_else(|| "-".to_owned(), |extent| extent.number.to_string());
        let line = format!("{} {extent} {}\n", cx.id(), cx.attempt());
        let ledger = self.ledger.clone();
        let done = spawn_blocking(move || {
            if let Some(ledger) = ledger {
                (&*ledger).write_all(line.as_bytes())?;
            }
            work()
        });
        Ok(done.await??)
    }

    /// Waits until the pace allows this extent.
    pub async fn turn(&self, extent: Extent) {
        if let Some(pace) = &self.pace {
            sleep_until(pace.book(extent.length)).await;
        }
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
