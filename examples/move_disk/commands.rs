//! The command: a flow that awaits its leaves, one after the other or a few side by side.
//!
//! ```text
//! MoveDisk ─► MeasureImage ─► RecordChecksum … ─► MakeRoom ─► CopyGroup … ─► VerifyGroup …
//!          ─► Switch ─► ReadTarget ─► SetAside            and then the old image is removed
//! ```
//!
//! When one of them fails, or the move is cancelled, what was done is undone, newest first. Nothing
//! can fail any more when the flow has succeeded: only then the old image is removed.

use std::fmt;
use std::path::{Path, PathBuf};

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::disk::Disk;
use crate::image;
use crate::leaves::{
    CopyGroup, MakeRoom, MeasureImage, ReadTarget, RecordChecksum, SetAside, Switch, VerifyGroup,
};
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
#[command(lock = Command, callback = SerialChildren, needs(Disk))]
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
        cx.child(SetAside { image: image.clone(), aside: self.aside(cx.id()) }).await?;
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

    /// Removes the image from its old place: a move that has succeeded is not undone any more.
    async fn end_successfully(&mut self, _: &Moved, cx: &LeafContext<Self>) -> Result<()> {
        let aside = self.aside(cx.id());
        cx.get::<Disk>().end(cx, move || image::remove(&aside)).await?;
        say(format_args!("removed {}", self.image));
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

    /// Where the image waits for the end of the move `id`.
    fn aside(&self, id: CommandId) -> PathBuf {
        self.image.path().with_file_name(format!(".move-{id}.old"))
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
