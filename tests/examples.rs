//! The small examples as their users meet them.

#[path = "kill/binary.rs"]
mod binary;

use std::process::Command;

use tempfile::TempDir;

/// Runs an example in a folder of its own, and gives its exit code and the lines that it prints.
fn run(name: &str, folder: &TempDir, argument: Option<&str>) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(binary::example(name));
    command.args(argument).current_dir(folder.path()).env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (output.status.code(), lines)
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn hello_says_what_the_readme_says() {
    let (code, lines) = run("hello", &folder(), None);
    assert_eq!((code, lines), (Some(0), vec!["web has web-system and web-data".to_owned()]));
}

const BOOKED: [&str; 4] = [
    "charged 900 euros",
    "booked the flight",
    "booked the hotel",
    "made sure that no car is booked",
];
const CANCELLED: [&str; 4] = [
    "cancelled hotel number 7",
    "cancelled flight number 7",
    "gave 900 euros back",
    "no trip: no car is left",
];

#[test]
#[cfg(unix)]
fn the_saga_cancels_what_it_booked_the_newest_first_and_goes_on_after_it_died() {
    let folder = folder();
    let (code, lines) = run("saga", &folder, None);
    assert_eq!(code, Some(0));
    assert_eq!(lines, [BOOKED, CANCELLED].concat());

    let (code, lines) = run("saga", &folder, Some("die"));
    let (last, before) = lines.split_last().unwrap();
    assert_eq!((code, last.as_str()), (Some(9), "died before that was stored"));
    assert_eq!(before, [&BOOKED[..], &CANCELLED[..1]].concat());
    let (code, lines) = run("saga", &folder, None);
    assert_eq!(code, Some(0));
    assert_eq!(lines, CANCELLED);
}

#[test]
fn the_crash_sweep_finds_the_bug_and_says_where() {
    let (code, lines) = run("crash_sweep", &folder(), None);
    assert_eq!(code, Some(0));
    assert_eq!(lines[0], "PayCarelessly fails:");
    assert!(lines[1].starts_with("`pay_carelessly`: crash before commit 2 of 2: "), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "Pay holds in 4 crashes");
}

#[test]
fn the_locks_show_who_waits_for_whom() {
    let (code, lines) = run("locks", &folder(), None);
    assert_eq!(code, Some(0));
    let held = "backup holds disk 17 shared";
    assert_eq!(lines[..4], [held, held, "resize waits", "backup waits"]);
    let why = &lines[4];
    assert!(why.starts_with("the third backup: it waits since "), "{why}");
    assert!(why.contains(" for disk `17` shared: resize `"), "it is behind the resize: {why}");
    assert_eq!(lines[5..], ["disk 17 grows in pool 1"]);
}
