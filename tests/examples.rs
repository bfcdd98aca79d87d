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

#[test]
fn the_fan_out_starts_a_second_wave() {
    let (code, lines) = run("fan_out", &folder(), None);
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        ["three pools are asked at the same time", "a copy in platinum, a copy in silver"]
    );
}

const AFTER_THE_SECOND: [&str; 3] =
    ["upgraded host 3", "upgraded host 4", "3 hosts are upgraded; host 2 does not answer"];

#[test]
fn the_next_operation_is_neither_skipped_nor_done_twice_when_the_process_dies() {
    let folder = folder();
    let (code, lines) = run("next_operation", &folder, None);
    assert_eq!(code, Some(0));
    assert_eq!(lines, [&["upgraded host 1"][..], &AFTER_THE_SECOND].concat());

    let (code, lines) = run("next_operation", &folder, Some("die"));
    assert_eq!(code, Some(9));
    assert_eq!(lines, ["upgraded host 1", "died before the upgrade of host 3 was stored"]);
    let (code, lines) = run("next_operation", &folder, None);
    assert_eq!(code, Some(0));
    assert_eq!(lines, AFTER_THE_SECOND);
}

#[test]
fn the_polling_ends_with_what_it_waits_for_or_by_its_time_out() {
    let (code, lines) = run("polling", &folder(), None);
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        ["host 1 is up, after 5 polls", "host 2: `reboot` took longer than its time-out of 1.5s",]
    );
}

#[test]
fn the_events_are_heard_once_and_nobody_polls_meanwhile() {
    let (code, lines) = run("events", &folder(), None);
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        [
            "too early: stored for 0",
            "the storage begins disk 7",
            "50 %: stored for 1",
            "50 % again: stored for 0",
            "100 %: stored for 1",
            "heard: 50 %, 100 %, polled 0 times",
        ]
    );
}

#[test]
fn the_external_task_is_followed_and_a_cancel_stops_it() {
    let (code, lines) = run("external_task", &folder(), None);
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        [
            "copy of disk 1: begun",
            "copy of disk 1: forgotten",
            "disk 1: it is copied",
            "copy of disk 2: begun",
            "copy of disk 2: stopped",
            "copy of disk 2: forgotten",
            "disk 2: it was cancelled",
        ]
    );
}
