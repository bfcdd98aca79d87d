//! What is asked for on the command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Shown for `--help`, and with every mistake.
pub const USAGE: &str = "\
Moves disk images into a directory, and survives `kill -9` on the way.

usage: move_disk [--rate MIB_PER_S] [--fail-extent N] [--ledger FILE]
       move_disk --db FILE --image FILE [--image FILE …] --to DIR
                 [--rate MIB_PER_S] [--fail-extent N] [--ledger FILE]

  --db FILE         where the commands are stored; made when it is not there; or the
                    address of a database: postgres://user@host/database
  --image FILE      a file to move; any file will do
  --to DIR          the directory to move it to
  --rate MIB_PER_S  copy no faster than so many MiB a second
  --fail-extent N   fail when the extent N, from 0, is copied: the move is undone
  --ledger FILE     append a line for each extent that is worked on:
                    command-id extent attempt

Without --db, --image and --to a sample is made and moved. Started again with the
same --db, it first goes on with what is unfinished there. Ctrl-C cancels what is
being moved, and waits until it is undone.
";

/// What is asked for.
#[derive(Debug, PartialEq)]
pub enum Wish {
    /// To be told what can be asked for.
    Help,
    /// To move something.
    Move(Options),
}

/// What to move and how.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// What to move; a sample, when nothing is said.
    pub job: Option<Job>,
    /// In MiB a second.
    pub rate: Option<u32>,
    /// The extent that cannot be copied.
    pub fail_extent: Option<u64>,
    /// Where each piece of work gets a line.
    pub ledger: Option<PathBuf>,
}

/// What to move.
#[derive(Debug, PartialEq)]
pub struct Job {
    /// The file of the store, or the address of its database.
    pub db: String,
    /// The images.
    pub images: Vec<PathBuf>,
    /// The directory to move them to.
    pub to: PathBuf,
}

impl Job {
    /// Where the commands are stored.
    pub fn address(&self) -> String {
        if self.db.starts_with("postgres://") {
            self.db.clone()
        } else {
            format!("sqlite://{}", self.db)
        }
    }
}

/// Reads the command line.
///
/// # Errors
/// What is wrong with it.
pub fn read(mut words: impl Iterator<Item = OsString>) -> Result<Wish, String> {
    let (mut db, mut images, mut to) = (None, Vec::new(), None);
    let (mut rate, mut fail_extent, mut ledger) = (None, None, None);
    while let Some(word) = words.next() {
        let name = word.to_str().unwrap_or_default();
        if matches!(name, "--help" | "-h") {
            return Ok(Wish::Help);
        }
        if !matches!(name, "--db" | "--image" | "--to" | "--rate" | "--fail-extent" | "--ledger") {
            return Err(format!("`{}` is not known here", word.display()));
        }
        let value = words.next().filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| format!("`{name}` needs a value"))?;
        let is_first = match name {
            "--db" => db.replace(text(&value)?.to_owned()).is_none(),
            "--to" => to.replace(PathBuf::from(value)).is_none(),
            "--rate" => rate.replace(mib_per_second(&value)?).is_none(),
            "--fail-extent" => fail_extent.replace(extent(&value)?).is_none(),
            "--ledger" => ledger.replace(PathBuf::from(value)).is_none(),
            _ => {
                images.push(PathBuf::from(value));
                true
            }
        };
        if !is_first {
            return Err(format!("`{name}` is given twice"));
        }
    }
    let job = match (db, to) {
        (None, None) if images.is_empty() => None,
        (None, _) => return Err("`--db` is missing".to_owned()),
        (_, None) => return Err("`--to` is missing".to_owned()),
        (Some(_), Some(_)) if images.is_empty() => return Err("`--image` is missing".to_owned()),
        (Some(db), Some(to)) => Some(Job { db, images, to }),
    };
    Ok(Wish::Move(Options { job, rate, fail_extent, ledger }))
}

fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| format!("`{}` is not UTF-8", value.display()))
}

fn mib_per_second(value: &OsStr) -> Result<u32, String> {
    let number = text(value)?.parse().ok().filter(|rate| *rate > 0);
    number.ok_or_else(|| {
        format!(
            "`--rate` is a whole number of MiB a second, at least 1, and not `{}`",
            value.display()
        )
    })
}

fn extent(value: &OsStr) -> Result<u64, String> {
    let number = text(value)?.parse();
    number.map_err(|_| {
        format!("`--fail-extent` is the number of an extent, and not `{}`", value.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Wish, String> {
        read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_store_is_a_file_or_a_database() {
        for (db, address) in
            [("a/b.db", "sqlite://a/b.db"), ("postgres://me@host/db", "postgres://me@host/db")]
        {
            let job = Job { db: db.to_owned(), images: Vec::new(), to: PathBuf::new() };
            assert_eq!(job.address(), address);
        }
    }

    #[test]
    fn what_can_be_asked_for() {
        assert_eq!(read_line(""), Ok(Wish::Move(Options::default())));
        assert_eq!(read_line("--rate 5 -h"), Ok(Wish::Help));
        let job = Job { db: "d".to_owned(), images: vec!["a".into(), "b".into()], to: "t".into() };
        let (rate, fail_extent, ledger) = (Some(5), Some(0), Some("l".into()));
        let options = Options { job: Some(job), rate, fail_extent, ledger };
        let line = "--image a --db d --to t --image b --rate 5 --fail-extent 0 --ledger l";
        assert_eq!(read_line(line), Ok(Wish::Move(options)));
    }

    #[test]
    fn a_mistake_is_named() {
        for (line, named) in [
            ("--fast", "`--fast` is not known"),
            ("disk.img", "`disk.img` is not known"),
            ("--db", "`--db` needs a value"),
            ("--db d --image i", "`--to` is missing"),
            ("--image i --to t", "`--db` is missing"),
            ("--db d --to t", "`--image` is missing"),
            ("--db d --db e", "`--db` is given twice"),
            ("--rate 0", "not `0`"),
            ("--rate fast", "not `fast`"),
            ("--fail-extent -1", "not `-1`"),
        ] {
            let mistake = read_line(line).unwrap_err();
            assert!(mistake.contains(named), "{line}: {mistake}");
        }
    }
}
