//! A disk image of our own, for who has none at hand.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::options::Job;

const SIZE: u64 = 64 << 20;

/// A folder of its own with an image in it, a directory to move it to and a database.
pub struct Sample {
    folder: PathBuf,
}

impl Sample {
    /// Makes all that, among the temporary files.
    pub fn make() -> io::Result<Self> {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let folder = std::env::temp_dir().join(format!("coco-move-disk-{seed}"));
        fs::create_dir(&folder)?;
        let sample = Self { folder };
        fs::create_dir(sample.folder.join("moved"))?;
        let mut image = BufWriter::new(File::create_new(sample.image())?);
        let mut state = seed as u64;
        for _ in 0..SIZE / 8 {
            image.write_all(&random(&mut state).to_le_bytes())?;
        }
        image.flush()?;
        Ok(sample)
    }

    /// To move the image.
    pub fn job(&self) -> Job {
        let db = self.folder.join("coco.db").to_string_lossy().into_owned();
        Job { db, images: vec![self.image()], to: self.folder.join("moved") }
    }

    /// Removes all that.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(self.folder)
    }

    fn image(&self) -> PathBuf {
        self.folder.join("sample.img")
    }
}

/// The next number of SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
