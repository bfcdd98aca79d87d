//! The commands: one flow, and the leaves that it awaits.
//!
//! ```text
//! MoveDisk ─► MeasureImage ─► RecordChecksum … ─► MakeRoom ─► CopyGroup … ─► VerifyGroup …
//!          ─► Switch ─► ReadTarget ─► RemoveSource
//! ```
//!
//! A leaf that was cut off runs again, so each one is `idempotent`: it may be done twice, and what
//! it did is on the disk before its end is stored. Once that is stored it says so, in its
//! `end_successfully`.

use std::fmt;
use std::path::{Path, PathBuf};

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::disk::Disk;
use crate::image::{self, Checksum, Group};
use crate::say;

/// How many groups are worked on at a time.
const SIDE_BY_SIDE: usize = 4;

/// A disk image, by its canonical path.
#[derive(Clone, Debug, PartialEq, LockKey, Serialize, Deserialize)]
#[lock_key(group = "image")]
pub struct Image(String);

/// A directory for disk images, by its canonical path.
#[derive(Clone, Debug, LockKey, Serialize, Deserialize)]
#[lock_key(group = "directory")]
pub struct Directory(String);

/// Moves a disk image into another directory.
///
/// Meanwhile nobody else may move the image, nor bring another one to its new place; other images
/// may be moved to the same directory.
#[derive(Command, Serialize, Deserialize)]
#[command(lock = Execution, callback = SerialChildren)]
pub struct MoveDisk {
    #[lock(exclusive)]
    pub image: Image,
    #[lock(exclusive)]
    pub target: Image,
    #[lock(shared)]
    directory: Directory,
}

/// What became of an image.
#[derive(Debug, Serialize, Deserialize)]
pub struct Moved {
    /// Where it was.
    pub image: Image,
    /// Where it is.
    pub target: Image,
    /// Its SHA-256 there.
    pub sha256: String,
}

impl Execute for MoveDisk {
    type Output = Moved;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<Moved> {
        let (image, target, copy) = (&self.image, &self.target, &self.copy(cx.id()));

        let size = cx.child(MeasureImage { image: image.clone() }).await?;
        let groups = || image::groups(size);
        let record = |group| RecordChecksum { image: image.clone(), group };
        let checksums = side_by_side(cx, groups().map(record)).await?;

        cx.child(MakeRoom { copy: copy.clone(), size }).await?;
        let copy_group = |group| CopyGroup { image: image.clone(), copy: copy.clone(), group };
        side_by_side(cx, groups().map(copy_group)).await?;
        let verify = |(group, sha256)| VerifyGroup { copy: copy.clone(), group, sha256 };
        side_by_side(cx, groups().zip(checksums).map(verify)).await?;

        cx.child(Switch { copy: copy.clone(), target: target.clone() }).await?;
        let sha256 = cx.child(ReadTarget { target: target.clone() }).await?;
        cx.child(RemoveSource { image: image.clone() }).await?;
        Ok(Moved { image: image.clone(), target: target.clone(), sha256 })
    }

    async fn validate(&self, _cx: &LeafContext<Self>) -> Result<()> {
        let (image, target) = (self.image.clone(), self.target.clone());
        spawn_blocking(move || {
            let found = image.path().symlink_metadata();
            if !found.map_err(|error| Error::other(format!("{image}: {error}")))?.is_file() {
                return Err(Error::other(format!("{image} is not a regular file")));
            }
            if target.path().symlink_metadata().is_ok() {
                return Err(Error::other(format!("{target} exists already")));
            }
            Ok(())
        })
        .await?
    }

    /// Removes what was copied. A move that has failed stays failed, so it is only said when
    /// that does not work.
    async fn end_with_failure(&mut self, _: &Failure, cx: &LeafContext<Self>) -> Result<()> {
        let copy = self.copy(cx.id());
        spawn_blocking(move || {
            if let Err(error) = image::remove(&copy) {
                say(format_args!("the copy is left behind: {error}"));
            }
        })
        .await?;
        Ok(())
    }
}

impl MoveDisk {
    /// Moves the file `image` into the directory `to`.
    ///
    /// The file may be gone, as it is after a move; where it was has to be there.
    pub fn new(image: &Path, to: &Path) -> Result<Self> {
        let Some(name) = image.file_name() else {
            return Err(Error::other(format!("{} names no file", image.display())));
        };
        let from = match image.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let to = canonical(to)?;
        Ok(Self {
            image: Image(text(&canonical(from)?.join(name))?),
            target: Image(text(&to.join(name))?),
            directory: Directory(text(&to)?),
        })
    }

    /// Where the copy of the move `id` grows until it is whole.
    fn copy(&self, id: CommandId) -> PathBuf {
        Path::new(&self.directory.0).join(format!(".move-{id}.part"))
    }
}

/// Gives a path the one form that is locked and stored.
fn canonical(directory: &Path) -> Result<PathBuf> {
    let failed = |error| Error::other(format!("{}: {error}", directory.display()));
    let path = directory.canonicalize().map_err(failed)?;
    if path.is_dir() {
        Ok(path)
    } else {
        Err(Error::other(format!("{} is not a directory", directory.display())))
    }
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::other(format!("{} is not UTF-8", path.display())))
}

/// Runs `children`, a few at a time.
async fn side_by_side<C: Command>(
    cx: &Context<MoveDisk>,
    mut children: impl Iterator<Item = C> + Send,
) -> Result<Vec<C::Output>> {
    let mut outputs = Vec::new();
    loop {
        let next: Vec<_> = children.by_ref().take(SIDE_BY_SIDE).collect();
        if next.is_empty() {
            return Ok(outputs);
        }
        outputs.extend(cx.children(next).await?);
    }
}

/// Finds out how large the image is.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct MeasureImage {
    image: Image,
}

impl Execute for MeasureImage {
    type Output = u64;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<u64> {
        let image = self.image.path();
        cx.get::<Disk>().work(cx, None, move || image::size(&image)).await
    }

    async fn end_successfully(&mut self, size: &u64, _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("measured {}: {size} bytes", self.image));
        Ok(())
    }
}

/// Takes the SHA-256 of a group, by which its copy is verified.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct RecordChecksum {
    image: Image,
    group: Group,
}

impl Execute for RecordChecksum {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let mut checksum = Checksum::default();
        for extent in self.group.extents() {
            let (image, before) = (self.image.path(), checksum);
            let with = move || before.with(&image, extent);
            checksum = cx.get::<Disk>().work(cx, Some(extent), with).await?;
        }
        Ok(checksum.into_text())
    }

    async fn end_successfully(&mut self, _: &String, _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("recorded {}", self.group));
        Ok(())
    }
}

/// Makes the file that the groups are copied to. No group is copied before it has ended.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct MakeRoom {
    copy: PathBuf,
    size: u64,
}

impl Execute for MakeRoom {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (copy, size) = (self.copy.clone(), self.size);
        cx.get::<Disk>().work(cx, None, move || image::make_room(&copy, size)).await
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("made room for {} bytes", self.size));
        Ok(())
    }
}

/// Copies a group, to where it stands in the image. The image is not written meanwhile, so the
/// same bytes are copied each time.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct CopyGroup {
    image: Image,
    copy: PathBuf,
    group: Group,
}

impl Execute for CopyGroup {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let disk = cx.get::<Disk>();
        for extent in self.group.extents() {
            disk.turn(extent).await;
            let (image, copy) = (self.image.path(), self.copy.clone());
            let copying = move || image::copy_extent(&image, &copy, extent);
            disk.work(cx, Some(extent), copying).await?;
        }
        let copy = self.copy.clone();
        Ok(spawn_blocking(move || image::sync(&copy)).await??)
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("copied {}", self.group));
        Ok(())
    }
}

/// Compares a group of the copy with the checksum that was recorded.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct VerifyGroup {
    copy: PathBuf,
    group: Group,
    sha256: String,
}

impl Execute for VerifyGroup {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let mut checksum = Checksum::default();
        for extent in self.group.extents() {
            let (copy, before) = (self.copy.clone(), checksum);
            let with = move || before.with(&copy, extent);
            checksum = cx.get::<Disk>().work(cx, Some(extent), with).await?;
        }
        if checksum.into_text() == self.sha256 {
            Ok(())
        } else {
            Err(Error::other(format!("the copy of {} differs from the image", self.group)))
        }
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("verified {}", self.group));
        Ok(())
    }
}

/// Gives the copy its final name. Where it was cut off after that, there is no copy any more.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct Switch {
    copy: PathBuf,
    target: Image,
}

impl Execute for Switch {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (copy, target) = (self.copy.clone(), self.target.path());
        cx.get::<Disk>().work(cx, None, move || image::switch(&copy, &target)).await
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("switched to {}", self.target));
        Ok(())
    }
}

/// Takes the SHA-256 of the whole image in its new place.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct ReadTarget {
    target: Image,
}

impl Execute for ReadTarget {
    type Output = String;

    async fn execute(&mut self, cx: &Context<Self>) -> Result<String> {
        let target = self.target.path();
        let read = move || Checksum::of(&target).map(Checksum::into_text);
        cx.get::<Disk>().work(cx, None, read).await
    }

    async fn end_successfully(&mut self, _: &String, _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("read {}", self.target));
        Ok(())
    }
}

/// Removes the image from its old place. Where it was cut off, the image may be gone already.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct RemoveSource {
    image: Image,
}

impl Execute for RemoveSource {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let image = self.image.path();
        cx.get::<Disk>().work(cx, None, move || image::remove(&image)).await
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("removed {}", self.image));
        Ok(())
    }
}

impl Image {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
