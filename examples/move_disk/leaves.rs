//! The leaves of a move: each does one thing to the disk, and undoes it where that is needed.
//!
//! A leaf that was cut off runs again, so each one is `idempotent`: it may be done twice, and what
//! it did is on the disk before its end is stored. Once that is stored it says so, in its
//! `end_successfully`. What undoes it does not ask how far it came.

use std::path::PathBuf;

use coco_core::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::commands::Image;
use crate::disk::Disk;
use crate::image::{self, Checksum, Group};
use crate::say;

/// Finds out how large the image is.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct MeasureImage {
    pub image: Image,
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
    pub image: Image,
    pub group: Group,
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
    pub copy: PathBuf,
    pub size: u64,
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

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        let copy = self.copy.clone();
        cx.get::<Disk>().undo(cx, move || image::remove(&copy)).await?;
        say(format_args!("undone: the room is given back"));
        Ok(())
    }
}

/// Copies a group, to where it stands in the image. The image is not written meanwhile, so the
/// same bytes are copied each time.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct CopyGroup {
    pub image: Image,
    pub copy: PathBuf,
    pub group: Group,
}

impl Execute for CopyGroup {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let disk = cx.get::<Disk>();
        for extent in self.group.extents() {
            disk.turn(cx, extent).await;
            let (image, copy) = (self.image.path(), self.copy.clone());
            let copying = move || image::copy_extent(&image, &copy, extent);
            disk.work(cx, Some(extent), copying).await?;
            disk.fail_as_told(extent)?;
        }
        let copy = self.copy.clone();
        Ok(spawn_blocking(move || image::sync(&copy)).await??)
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("copied {}", self.group));
        Ok(())
    }

    /// Cuts the copy off where the group begins: what follows in it goes as well.
    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        let (copy, group) = (self.copy.clone(), self.group);
        cx.get::<Disk>().undo(cx, move || image::cut_off(&copy, group)).await?;
        say(format_args!("undone: the copy of {}", self.group));
        Ok(())
    }
}

/// Compares a group of the copy with the checksum that was recorded.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct VerifyGroup {
    pub copy: PathBuf,
    pub group: Group,
    pub sha256: String,
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

/// Gives the copy its final name.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct Switch {
    pub copy: PathBuf,
    pub target: Image,
}

impl Execute for Switch {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (copy, target) = (self.copy.clone(), self.target.path());
        cx.get::<Disk>().work(cx, None, move || image::rename(&copy, &target)).await
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("switched to {}", self.target));
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        let (copy, target) = (self.copy.clone(), self.target.path());
        cx.get::<Disk>().undo(cx, move || image::rename_back(&copy, &target)).await?;
        say(format_args!("undone: the switch to {}", self.target));
        Ok(())
    }
}

/// Takes the SHA-256 of the whole image in its new place.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct ReadTarget {
    pub target: Image,
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

/// Gives the image at its old place another name. As long as it is not removed, that can be undone.
#[derive(Command, Serialize, Deserialize)]
#[command(idempotent, needs(Disk))]
pub struct SetAside {
    pub image: Image,
    pub aside: PathBuf,
}

impl Execute for SetAside {
    type Output = ();

    async fn execute(&mut self, cx: &Context<Self>) -> Result<()> {
        let (image, aside) = (self.image.path(), self.aside.clone());
        cx.get::<Disk>().work(cx, None, move || image::rename(&image, &aside)).await
    }

    async fn end_successfully(&mut self, (): &(), _: &LeafContext<Self>) -> Result<()> {
        say(format_args!("set {} aside", self.image));
        Ok(())
    }

    async fn compensate(&mut self, _: Option<&()>, cx: &LeafContext<Self>) -> Result<()> {
        let (image, aside) = (self.image.path(), self.aside.clone());
        cx.get::<Disk>().undo(cx, move || image::rename_back(&image, &aside)).await?;
        say(format_args!("undone: {} is back", self.image));
        Ok(())
    }
}
