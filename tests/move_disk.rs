//! The example `move_disk` as its user meets it.
#![cfg(unix)]

#[path = "kill/binary.rs"]
mod binary;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use coco_store::TestDatabase;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| binary::example("move_disk"));

/// A folder with a directory to move to.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("to")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        fs::write(self.path(name), &bytes).unwrap();
        bytes
    }

    /// To move these images.
    fn command(&self, images: &[&str]) -> Command {
        let mut command = Command::new(&*EXAMPLE);
        command.arg("--db").arg(self.path("coco.db")).arg("--to").arg(self.path("to"));
        for image in images {
            command.arg("--image").arg(self.path(image));
        }
        command
    }

    fn run(&self, images: &[&str]) -> (i32, String, String) {
        said(&self.command(images).output().unwrap())
    }
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn sha256(file: &Path) -> String {
    let digest = Sha256::digest(fs::read(file).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_of_any_size_and_name_are_moved_and_a_second_time_there_is_nothing_to_do() {
    let extent = 4 << 20;
    for (name, size) in [
        ("empty", 0),
        ("one byte", 1),
        ("an extent?.img", extent),
        ("größer %20.img", 5 * extent / 2),
        ("'65' extents", 65 * extent + 1),
    ] {
        let folder = Folder::new();
        let bytes = folder.image(name, size);
        let (code, out, err) = folder.run(&[name]);
        assert_eq!((code, err.as_str()), (0, ""), "{name}: {out}");
        let target = folder.path("to").join(name);
        assert!(fs::read(&target).unwrap() == bytes, "{name} has changed");
        assert!(!folder.path(name).exists(), "{name} is still there");
        let last = format!("has SHA-256 {}\n", sha256(&target));
        assert!(out.ends_with(&last), "{name}: {out}");

        let (code, out, _) = folder.run(&[name]);
        assert_eq!((code, out.lines().count()), (0, 1), "{out}");
        assert!(out.contains("was moved before") && out.ends_with(&last), "{name}: {out}");
    }
}

/// Killed when it has begun, and started again: the engine that was killed is known to be dead.
#[tokio::test]
async fn a_move_that_is_stored_in_a_database_of_a_server_survives_kill_9() {
    let (folder, database) = (Folder::new(), TestDatabase::create().await);
    let bytes = folder.image("disk.img", 9 << 20);
    let command = || {
        let mut command = Command::new(&*EXAMPLE);
        command.arg("--db").arg(database.address()).arg("--to").arg(folder.path("to"));
        command.arg("--image").arg(folder.path("disk.img"));
        command
    };
    let ledger = folder.path("ledger");
    let mut killed =
        command().args(["--rate", "1", "--ledger"]).arg(&ledger).spawn().expect("it starts");
    while fs::read(&ledger).is_ok_and(|lines| lines.is_empty()) || !ledger.exists() {
        tokio::task::yield_now().await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!folder.path("to").join("disk.img").exists());
    let (code, out, err) = said(&command().output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(fs::read(folder.path("to").join("disk.img")).unwrap() == bytes, "it has changed");
}

#[test]
fn several_images_are_moved_side_by_side_but_none_twice() {
    let folder = Folder::new();
    folder.image("a", 9 << 20);
    folder.image("b", 5);
    let (code, out, err) = folder.run(&["a", "a", "b"]);
    assert_eq!(code, 1, "{out}");
    let holder = out.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap();
    let refused = format!("is locked by move_disk `{holder}`");
    assert!(err.contains(&refused), "{err} does not contain: {refused}");
    assert_eq!(fs::metadata(folder.path("to/a")).unwrap().len(), 9 << 20);
    assert_eq!(fs::metadata(folder.path("to/b")).unwrap().len(), 5);
}

#[test]
fn what_cannot_be_moved_stays_as_it_is() {
    let folder = Folder::new();
    folder.image("disk.img", 5);
    fs::write(folder.path("to/disk.img"), "another").unwrap();
    let (code, _, err) = folder.run(&["disk.img"]);
    assert_eq!(code, 1);
    assert!(err.contains("to/disk.img exists already"), "{err}");
    assert_eq!(fs::read(folder.path("to/disk.img")).unwrap(), b"another");
    assert_eq!(fs::metadata(folder.path("disk.img")).unwrap().len(), 5);

    for (image, why) in [
        ("absent.img", "absent.img: No such file"),
        ("no/disk.img", "no: No such file"),
        ("to", "to is not a regular file"),
        ("disk.img/..", "names no file"),
    ] {
        let (code, _, err) = folder.run(&[image]);
        assert_eq!(code, 1, "{image}");
        assert!(err.contains(why), "{image}: {err}");
    }
}

#[test]
fn a_mistake_in_the_arguments_is_told_with_the_usage() {
    for arguments in [&["--fast"][..], &["--db", "coco.db"], &["--rate", "0"], &["--to"]] {
        let (code, out, err) = said(&Command::new(&*EXAMPLE).args(arguments).output().unwrap());
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.starts_with("error: `--") && err.contains("usage: move_disk"), "{err}");
    }
    let (code, out, _) = said(&Command::new(&*EXAMPLE).arg("--help").output().unwrap());
    assert!(code == 0 && out.contains("usage: move_disk"), "{out}");
}

#[test]
fn a_second_process_is_told_who_works_on_the_database_and_goes_on_when_that_one_is_dead() {
    let folder = Folder::new();
    folder.image("disk.img", 64 << 20);
    let mut first = folder.command(&["disk.img"]);
    let mut first = first.args(["--rate", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("copied"))).unwrap().unwrap();

    let (code, out, err) = folder.run(&["disk.img"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let holder = format!("in use by process {}", first.id());
    assert!(err.contains(&holder), "{err} does not contain: {holder}");

    first.kill().unwrap();
    first.wait().unwrap();
    let (code, out, err) = folder.run(&["disk.img"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("going on with ") && !out.contains("recorded extent"), "{out}");
}

#[test]
fn a_move_that_fails_is_undone() {
    let folder = Folder::new();
    let bytes = folder.image("disk.img", 21 << 20);
    let output = folder.command(&["disk.img"]).args(["--fail-extent", "4"]).output().unwrap();
    let (code, out, err) = said(&output);
    assert_eq!(code, 1, "{out}");
    assert!(err.contains("failed and is undone: extent 4 fails, as was asked for"), "{err}");
    let undone: Vec<_> = out.lines().filter(|line| line.starts_with("undone")).collect();
    let (last, copies) = undone.split_last().unwrap();
    assert_eq!((copies.len(), *last), (6, "undone: the room is given back"), "{out}");
    assert!(fs::read(folder.path("disk.img")).unwrap() == bytes, "the image has changed");
    assert_eq!(fs::read_dir(folder.path("to")).unwrap().count(), 0, "a copy was left behind");

    let (code, out, err) = folder.run(&["disk.img"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
}

#[test]
fn ctrl_c_cancels_all_moves_and_waits_until_they_are_undone() {
    let folder = Folder::new();
    folder.image("a", 21 << 20);
    folder.image("b", 64 << 20);
    let mut process = folder.command(&["a", "b"]);
    let process = process.args(["--rate", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = process.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("copied"))).unwrap().unwrap();
    Command::new("sh").arg("-c").arg(format!("kill -INT {}", process.id())).output().unwrap();
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    let (code, _, err) = said(&process.wait_with_output().unwrap());
    assert_eq!(code, 1, "{rest:#?}");
    assert_eq!(rest.iter().filter(|line| line.starts_with("cancelled ")).count(), 2, "{rest:#?}");
    assert_eq!(err.matches("failed and is undone: it was cancelled").count(), 2, "{err}");
    assert_eq!(fs::read_dir(folder.path("to")).unwrap().count(), 0, "a copy was left behind");
    assert_eq!(fs::metadata(folder.path("a")).unwrap().len(), 21 << 20);
}
