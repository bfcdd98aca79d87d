//! Disk images as files: groups of extents, checksums, copies. Knows nothing of commands.
//!
//! Whatever changes something here may be done again after a crash at any point, with the same
//! result, and is on the disk when it returns.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Take};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The unit in which an image is read and written.
pub const EXTENT: u64 = 4 << 20;
/// Into how many groups an image is cut at most, so that a move stays small to store however
/// large the image is.
const MOST_GROUPS: u64 = 64;
/// How much is read at a time.
const BUFFER: usize = 256 << 10;

/// Bytes of an image, a whole number of extents; the last extent of an image may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    start: u64,
    end: u64,
}

/// One extent of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Which one, from 0.
    pub number: u64,
    start: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// The groups of an image of `size` bytes; none, when it is empty.
pub fn groups(size: u64) -> impl Iterator<Item = Group> {
    let extents_a_group = size.div_ceil(EXTENT).div_ceil(MOST_GROUPS).max(1);
    let bytes_a_group = extents_a_group.saturating_mul(EXTENT);
    (0..size.div_ceil(bytes_a_group)).map(move |n| {
        let start = n * bytes_a_group;
        Group { start, end: size.min(start.saturating_add(bytes_a_group)) }
    })
}

impl Group {
    /// Its extents, in order.
    pub fn extents(self) -> impl Iterator<Item = Extent> {
        (self.start / EXTENT..self.end.div_ceil(EXTENT)).map(move |number| {
            let start = number * EXTENT;
            Extent { number, start, length: EXTENT.min(self.end - start) }
        })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.start / EXTENT, self.end.saturating_sub(1) / EXTENT);
        if first == last {
            write!(f, "extent {first}")
        } else {
            write!(f, "extents {first} to {last}")
        }
    }
}

/// A SHA-256, taken extent by extent.
#[derive(Default)]
pub struct Checksum(Sha256);

impl Checksum {
    /// Of a whole image.
    pub fn of(image: &Path) -> io::Result<Self> {
        let mut extents = groups(size(image)?).flat_map(Group::extents);
        extents.try_fold(Self::default(), |checksum, extent| checksum.with(image, extent))
    }

    /// Goes on with an extent of `image`.
    pub fn with(mut self, image: &Path, extent: Extent) -> io::Result<Self> {
        about(image, || {
            let mut bytes = read(image, extent)?;
            let mut buffer = vec![0; BUFFER];
            loop {
                match bytes.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => self.0.update(&buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            whole(extent, extent.length - bytes.limit())
        })?;
        Ok(self)
    }

    /// As it is written: 64 hexadecimal digits.
    pub fn into_text(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How many bytes `image` has.
pub fn size(image: &Path) -> io::Result<u64> {
    about(image, || Ok(image.metadata()?.len()))
}

/// Makes the file `copy`, `size` bytes long.
pub fn make_room(copy: &Path, size: u64) -> io::Result<()> {
    about(copy, || {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(copy)?;
        file.set_len(size)?;
        file.sync_all()?;
        sync_names(copy)
    })
}

/// Copies an extent to the same place in `copy`. It is on the disk after [`sync`].
pub fn copy_extent(image: &Path, copy: &Path, extent: Extent) -> io::Result<()> {
    let mut bytes = about(image, || read(image, extent))?;
    about(copy, || {
        let mut to = OpenOptions::new().write(true).open(copy)?;
        to.seek(SeekFrom::Start(extent.start))?;
        let copied = io::copy(&mut bytes, &mut to)?;
        whole(extent, copied)
    })
}

/// Puts all that was written to `copy` on the disk.
pub fn sync(copy: &Path) -> io::Result<()> {
    about(copy, || OpenOptions::new().write(true).open(copy)?.sync_all())
}

/// Cuts `copy` off where `group` begins, unless it is shorter already, or gone.
pub fn cut_off(copy: &Path, group: Group) -> io::Result<()> {
    about(copy, || match OpenOptions::new().write(true).open(copy) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        file => {
            let file = file?;
            if file.metadata()?.len() > group.start {
                file.set_len(group.start)?;
            }
            file.sync_all()
        }
    })
}

/// Gives a file another name in its directory, which nothing may have yet.
pub fn rename(old: &Path, new: &Path) -> io::Result<()> {
    about(new, || {
        match (old.try_exists()?, new.try_exists()?) {
            (true, true) => return Err(ErrorKind::AlreadyExists.into()),
            (true, false) => fs::rename(old, new)?,
            // It was renamed before.
            (false, true) => {}
            (false, false) => return Err(ErrorKind::NotFound.into()),
        }
        sync_names(new)
    })
}

/// Undoes a [`rename`] that may not have happened, or is undone already.
pub fn rename_back(old: &Path, new: &Path) -> io::Result<()> {
    about(old, || {
        if !old.try_exists()? && new.try_exists()? {
            fs::rename(new, old)?;
        }
        sync_names(old)
    })
}

/// Removes a file, which may be gone already.
pub fn remove(file: &Path) -> io::Result<()> {
    about(file, || match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => sync_names(file),
    })
}

/// Names the file with which some work failed.
fn about<T>(file: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    work().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// Puts the names in the directory of `file` on the disk.
fn sync_names(file: &Path) -> io::Result<()> {
    match file.parent() {
        // Elsewhere a directory cannot be opened, and its names are on the disk with its files.
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

fn read(image: &Path, extent: Extent) -> io::Result<Take<File>> {
    let mut file = File::open(image)?;
    file.seek(SeekFrom::Start(extent.start))?;
    Ok(file.take(extent.length))
}

fn whole(extent: Extent, length: u64) -> io::Result<()> {
    if length == extent.length {
        return Ok(());
    }
    let Extent { number, length: expected, .. } = extent;
    Err(io::Error::new(
        ErrorKind::UnexpectedEof,
        format!("extent {number} has {length} bytes instead of {expected}: the file was cut short"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_an_image_of_any_size_and_are_few() {
        let terabyte = 1 << 40;
        for size in [0, 1, EXTENT, EXTENT + 1, 64 * EXTENT, 64 * EXTENT + 1, terabyte + 5, u64::MAX]
        {
            let groups: Vec<_> = groups(size).collect();
            assert!(groups.len() <= 64, "{size}");
            let mut covered = 0;
            for group in groups {
                assert_eq!((group.start, group.start % EXTENT), (covered, 0), "{size}");
                assert!(group.end > group.start);
                covered = group.end;
            }
            assert_eq!(covered, size);
        }
    }

    #[test]
    fn the_extents_of_a_group_are_numbered_over_the_image_and_the_last_may_be_short() {
        let groups: Vec<_> = groups(65 * EXTENT + 1).collect();
        assert_eq!(groups.len(), 33);
        let last: Vec<_> = groups[32].extents().map(|e| (e.number, e.length)).collect();
        assert_eq!(last, [(64, EXTENT), (65, 1)]);
        assert_eq!(groups[1].to_string(), "extents 2 to 3");
    }
}
