//! `kill -9` at random moments of `move_disk`: nothing is lost, nothing that is stored as ended is
//! done again, and a move that fails or is cancelled is undone whole.
//!
//! `COCO_KILLS` sets how often (100 and 30), `COCO_SEED` repeats the moments of an earlier run.
#![cfg(unix)]

#[path = "kill/binary.rs"]
mod binary;
#[path = "kill/moment.rs"]
mod moment;
#[path = "kill/process.rs"]
mod process;
#[path = "kill/promises.rs"]
mod promises;
#[path = "kill/stored.rs"]
mod stored;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use self::moment::{LAST_STEPS, LINES, LINES_BACK, Moment, Random, STEPS, STEPS_BACK};
use self::process::{Ended, Signal};
use self::promises::Ledger;
use self::stored::Stored;

const EXTENTS: usize = 16;
const SIZE: usize = EXTENTS * (4 << 20);

#[test]
fn a_move_survives_kill_9_at_any_moment() {
    kill_moves(100, |_| Trouble::None);
}

#[test]
fn a_move_that_fails_or_is_cancelled_is_undone_whatever_kills_it() {
    kill_moves(30, |random| match random.below(3) {
        0 => Trouble::Fails(random.below(EXTENTS as u64)),
        _ => Trouble::Cancelled,
    });
}

/// What a move meets besides being killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// This extent cannot be copied.
    Fails(u64),
    /// Somebody presses Ctrl-C.
    Cancelled,
}

/// Kills one move after the other, so and so often in all.
fn kill_moves(in_ci: u64, trouble: fn(&mut Random) -> Trouble) {
    let wanted = number_from("COCO_KILLS").unwrap_or(in_ci);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number_from("COCO_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    println!("{wanted} kills with COCO_SEED={seed}");

    let example = binary::example("move_disk");
    let mut random = Random::new(seed);
    let image: Vec<u8> = (0..SIZE / 8).flat_map(|_| random.number().to_le_bytes()).collect();
    let sha256 = sha256(&image);

    let began = Instant::now();
    Move::new(&example, &image, Trouble::None).finish(&mut random, &sha256);
    let life = began.elapsed();

    let (mut moves, mut tally) = (0, Tally::default());
    while tally.kills < wanted {
        let trouble = trouble(&mut random);
        let mut one = Move::new(&example, &image, trouble);
        while tally.kills < wanted {
            let kill = (Signal::Kill, one.next_kill(&mut random, life));
            let signals: Vec<_> =
                one.next_interrupt(&mut random).into_iter().chain([kill]).collect();
            if !process::run(one.command(), &signals).was_killed() {
                break;
            }
            one.look_at_the_dead(&mut tally);
        }
        tally.undone += u64::from(one.finish(&mut random, &sha256));
        moves += 1;
    }
    println!("{moves} moves in {:.1?}: {tally:?}", began.elapsed());
}

/// What was seen.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// Nothing had ended.
    at_the_beginning: u64,
    /// Something was to undo.
    while_undoing: u64,
    /// And the switch, or more, was undone.
    after_the_switch: u64,
    /// Moves that were undone.
    undone: u64,
}

/// A move of one image, with all that was seen of it.
struct Move {
    example: PathBuf,
    folder: TempDir,
    trouble: Trouble,
    kills: Vec<Kill>,
}

/// What was there after a kill.
struct Kill {
    /// The commands whose end was stored.
    ended: BTreeSet<String>,
    /// Lines of the ledger.
    ledger: usize,
    /// How many steps were stored that show progress.
    steps: usize,
    /// True when there were more than at the kill before.
    progress: bool,
    /// True when Ctrl-C was heard.
    cancelled: bool,
    /// True when there is something to undo.
    undoing: bool,
}

impl Move {
    fn new(example: &Path, image: &[u8], trouble: Trouble) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("from")).unwrap();
        fs::create_dir(folder.path().join("to")).unwrap();
        fs::write(folder.path().join("from/disk.img"), image).unwrap();
        Self { example: example.to_owned(), folder, trouble, kills: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.example);
        command
            .arg("--db")
            .arg(self.path("coco.db"))
            .arg("--image")
            .arg(self.path("from/disk.img"));
        command.arg("--to").arg(self.path("to")).arg("--ledger").arg(self.path("ledger"));
        if let Trouble::Fails(extent) = self.trouble {
            command.arg("--fail-extent").arg(extent.to_string());
        }
        command
    }

    fn next_kill(&self, random: &mut Random, life: Duration) -> Moment {
        match self.kills.last() {
            Some(last) if !last.progress => random.moment_of_progress(),
            Some(last) if last.undoing => random.line(LINES_BACK),
            _ if self.trouble != Trouble::None && random.below(3) > 0 => random.step(&STEPS_BACK),
            last => random.moment(life, last.map_or(LINES, Kill::lines_to_come)),
        }
    }

    /// Ctrl-C, unless it was heard before.
    fn next_interrupt(&self, random: &mut Random) -> Option<(Signal, Moment)> {
        let was_heard = self.kills.last().is_some_and(|kill| kill.cancelled);
        if self.trouble != Trouble::Cancelled || was_heard {
            return None;
        }
        let steps = if random.below(2) == 0 { &STEPS[..] } else { &LAST_STEPS };
        Some((Signal::Interrupt, random.step(steps)))
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.path("ledger")).unwrap_or_default()
    }

    fn stored(&self) -> Option<Stored> {
        stored::read(&self.path("coco.db"))
    }

    /// Checks what a killed process left behind, and remembers it.
    fn look_at_the_dead(&mut self, tally: &mut Tally) {
        let (stored, ledger) = (self.stored().unwrap_or_default(), self.ledger());
        let ledger = Ledger::read(&ledger);
        promises::hold_always(&stored, &ledger);

        let undone =
            |name| stored.commands.values().any(|row| row.is_compensated && row.name == name);
        let undoing = stored.roots().any(|(_, root)| root.status == "failed");
        tally.kills += 1;
        tally.at_the_beginning += u64::from(stored.ended().is_empty());
        tally.while_undoing += u64::from(undoing);
        tally.after_the_switch += u64::from(undoing && undone("switch"));

        let ended = stored.ended();
        let steps = ended.len() + stored.commands.values().filter(|row| row.is_compensated).count();
        self.kills.push(Kill {
            ended,
            ledger: ledger.len(),
            progress: steps > self.kills.last().map_or(0, |kill| kill.steps),
            steps,
            undoing,
            cancelled: stored.roots().any(|(_, root)| root.is_cancelled),
        });
    }

    /// Lets it come to its end, and checks all that was promised. True when it was undone.
    fn finish(mut self, random: &mut Random, sha256: &str) -> bool {
        let interrupt = self.next_interrupt(random);
        let mut ended = process::run(self.command(), interrupt.as_slice());
        if ended.was_interrupted() {
            ended = process::run(self.command(), &[]);
        }
        let stored = self.stored().expect("the commands are stored");
        let ledger = self.ledger();
        let failures = promises::hold_at_the_end(&stored, &Ledger::read(&ledger));
        self.repeats_nothing(&Ledger::read(&ledger));
        let why = match self.trouble {
            Trouble::None => "nothing can fail".to_owned(),
            Trouble::Fails(extent) => format!("extent {extent} fails, as was asked for"),
            Trouble::Cancelled => "it was cancelled".to_owned(),
        };
        assert!(failures.iter().all(|failure| failure.contains(&why)), "{failures:?}");

        let is_undone = !ended.status.success();
        if is_undone {
            let is_told = |words| ended.errors.contains(words);
            let has_failed = is_told("failed and is undone") && is_told(&why);
            assert!(has_failed || is_told("is not moved: Ctrl-C"), "{}", ended.errors);
            assert_eq!(self.files(), ["from/disk.img"], "as it was before");
            assert_eq!(self::sha256(&fs::read(self.path("from/disk.img")).unwrap()), sha256);
        } else {
            assert!(
                !matches!(self.trouble, Trouble::Fails(_)),
                "it was to fail: {:?}",
                ended.lines
            );
            has_moved(&ended, sha256);
        }
        // Undone, it can be moved; moved, there is nothing to do.
        self.trouble = Trouble::None;
        has_moved(&process::run(self.command(), &[]), sha256);
        promises::hold_at_the_end(&self.stored().unwrap(), &Ledger::read(&self.ledger()));
        assert_eq!(self.files(), ["to/disk.img"], "one image, and nothing left behind");
        assert_eq!(self::sha256(&fs::read(self.path("to/disk.img")).unwrap()), sha256);
        is_undone
    }
    /// What had ended is not executed again.
    fn repeats_nothing(&self, ledger: &Ledger<'_>) {
        for (n, kill) in self.kills.iter().enumerate() {
            let again = ledger.executed_from(kill.ledger).find(|id| kill.ended.contains(*id));
            assert_eq!(again, None, "it had ended before kill {}, and ran again", n + 1);
        }
    }

    /// All files, where images may be.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for folder in ["from", "to"] {
            for entry in fs::read_dir(self.path(folder)).unwrap() {
                files.push(format!("{folder}/{}", entry.unwrap().file_name().display()));
            }
        }
        files
    }
}

impl Kill {
    fn lines_to_come(&self) -> u32 {
        LINES.saturating_sub(u32::try_from(self.ended.len()).unwrap_or(LINES)).max(1)
    }
}

/// Checks that a process ended well, and with which words.
fn has_moved(Ended { status, lines, errors }: &Ended, sha256: &str) {
    assert!(status.success(), "{status}: {lines:#?}\n{errors}");
    let last = lines.last().expect("it says that it is done");
    assert!(last.contains("has SHA-256") || last.contains("was moved before"), "{last}");
    assert!(last.ends_with(sha256), "the target is not the source: {last}");
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
