//! `kill -9` at random moments of `move_disk`: nothing is lost, and nothing that is stored as
//! ended is done again.
//!
//! `COCO_KILLS` sets how often (100), `COCO_SEED` repeats the moments of an earlier run.
#![cfg(unix)]

#[path = "kill/binary.rs"]
mod binary;
#[path = "kill/moment.rs"]
mod moment;
#[path = "kill/process.rs"]
mod process;
#[path = "kill/stored.rs"]
mod stored;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use self::moment::{LINES, Random};
use self::process::Ended;

const EXTENTS: usize = 16;
const SIZE: usize = EXTENTS * (4 << 20);
/// What a whole move puts down: three leaves for each extent, and five for the image.
const LEDGER_LINES: usize = 3 * EXTENTS + 5;

#[test]
fn a_move_survives_kill_9_at_any_moment() {
    let wanted = number_from("COCO_KILLS").unwrap_or(100);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number_from("COCO_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    println!("{wanted} kills with COCO_SEED={seed}");

    let example = binary::move_disk();
    let mut random = Random::new(seed);
    let image: Vec<u8> = (0..SIZE / 8).flat_map(|_| random.number().to_le_bytes()).collect();
    let sha256 = sha256(&image);

    let began = Instant::now();
    Move::new(&example, &image).finish(&sha256);
    let life = began.elapsed();

    let (mut kills, mut moves, mut by_progress) = (0, 0, [0_usize; 4]);
    while kills < wanted {
        let mut one = Move::new(&example, &image);
        while kills < wanted {
            let moment = match one.kills.last() {
                Some(last) if !last.progress => random.moment_of_progress(),
                Some(last) => random.moment(life, LINES.saturating_sub(last.ended_count())),
                None => random.moment(life, LINES),
            };
            let ended = process::run(one.command(), Some(moment));
            if !ended.was_killed() {
                break;
            }
            kills += 1;
            let ended = one.look_at_the_dead();
            by_progress[match ended {
                0 => 0,
                1..EXTENTS => 1,
                _ if ended <= LEDGER_LINES - 4 => 2,
                _ => 3,
            }] += 1;
        }
        one.finish(&sha256);
        moves += 1;
    }
    let [nothing, few, many, last] = by_progress;
    println!(
        "{kills} kills over {moves} moves in {:.1?}; what had ended: nothing {nothing} times, \
         a part of the first reading {few}, more {many}, all but the last steps {last}",
        began.elapsed()
    );
}

/// A move of one image, with all that was seen of it.
struct Move {
    example: PathBuf,
    folder: TempDir,
    kills: Vec<Kill>,
}

/// What was there after a kill.
struct Kill {
    /// The commands whose end was stored.
    ended: BTreeSet<String>,
    /// Bytes of the ledger.
    ledger: usize,
    /// True when more had ended than at the kill before.
    progress: bool,
}

impl Kill {
    fn ended_count(&self) -> u32 {
        u32::try_from(self.ended.len()).unwrap_or(u32::MAX)
    }
}

impl Move {
    fn new(example: &Path, image: &[u8]) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(folder.path().join("disk.img"), image).unwrap();
        fs::create_dir(folder.path().join("to")).unwrap();
        Self { example: example.to_owned(), folder, kills: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.example);
        command.arg("--db").arg(self.path("coco.db")).arg("--image").arg(self.path("disk.img"));
        command.arg("--to").arg(self.path("to")).arg("--ledger").arg(self.path("ledger"));
        command
    }

    fn ledger(&self) -> String {
        let ledger = fs::read_to_string(self.path("ledger")).unwrap_or_default();
        assert!(ledger.is_empty() || ledger.ends_with('\n'), "a line was written in part");
        ledger
    }

    /// Checks what a killed process left behind, and remembers it. Gives how many commands had
    /// ended.
    fn look_at_the_dead(&mut self) -> usize {
        let ended = stored::read(&self.path("coco.db")).unwrap_or_default().ended;
        let before = self.kills.last().map_or(0, |kill| kill.ended.len());
        let (count, progress) = (ended.len(), ended.len() > before);
        self.kills.push(Kill { ended, ledger: self.ledger().len(), progress });
        count
    }

    /// Lets it come to its end, and checks all that was promised.
    fn finish(self, sha256: &str) {
        for words in ["has SHA-256", "was moved before"] {
            let Ended { status, lines } = process::run(self.command(), None);
            assert!(status.success(), "{status}: {lines:#?}");
            let last = lines.last().expect("it says that it is done");
            assert!(last.contains(words) || last.contains("was moved before"), "{last}");
            assert!(last.ends_with(sha256), "the target is not the source: {last}");
        }
        let target = fs::read(self.path("to/disk.img")).unwrap();
        assert_eq!(self::sha256(&target), sha256);
        assert!(!self.path("disk.img").exists(), "the source is still there");
        assert_eq!(fs::read_dir(self.path("to")).unwrap().count(), 1, "a copy was left behind");

        let stored = stored::read(&self.path("coco.db")).expect("the commands are stored");
        assert_eq!(stored.others, [], "all have succeeded");
        assert_eq!((stored.roots, stored.locks), (1, 0));
        assert_eq!(stored.ended.len(), LEDGER_LINES + 1, "the leaves and the flow");

        let ledger = self.ledger();
        let id = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        assert!(ledger.lines().all(|line| stored.ended.contains(&id(line))), "who wrote there?");
        for (n, kill) in self.kills.iter().enumerate() {
            let mut later = ledger[kill.ledger..].lines();
            let again = later.find(|line| kill.ended.contains(&id(line)));
            assert_eq!(again, None, "it had ended before kill {}, and ran again", n + 1);
        }
        let work: BTreeSet<_> =
            ledger.lines().filter_map(|line| line.rsplit_once(' ')).map(|(what, _)| what).collect();
        assert_eq!(work.len(), LEDGER_LINES, "each leaf has one name over all restarts");
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
