//! A process that may be killed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::moment::Moment;

/// Longer than any run.
const TOO_LONG: Duration = Duration::from_secs(120);

/// What became of a process.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) lines: Vec<String>,
    /// What it complained about.
    pub(crate) errors: String,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// As by Ctrl-C.
    Interrupt,
    /// `kill -9`.
    Kill,
}

impl Ended {
    /// True when it was killed before it ended by itself.
    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// True when Ctrl-C came before it listened.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.status.signal() == Some(2)
    }
}

/// Runs `command`, and sends it each signal at its moment, if it lives so long.
pub(crate) fn run(mut command: Command, signals: &[(Signal, Moment)]) -> Ended {
    let started = Instant::now();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the example starts");
    let stdout = process.stdout.take().expect("its output is read");
    let mut stderr = process.stderr.take().expect("its complaints are read");
    let (sender, heard) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });

    let mut lines = Vec::new();
    let mut to_come: Vec<_> = signals
        .iter()
        .map(|(signal, moment)| (*signal, *moment, moment.at_start().map(|time| started + time)))
        .collect();
    let mut was_killed = false;
    loop {
        // Those whose time is known come first.
        to_come.sort_by_key(|(.., due)| (due.is_none(), *due));
        let next = to_come.first().copied().filter(|(.., due)| due.is_some());
        let deadline = next.and_then(|(.., due)| due).unwrap_or(started + TOO_LONG);
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let printed = lines.len() as u64 + 1;
                for (_, moment, due) in &mut to_come {
                    *due = due.or_else(|| {
                        moment.after_line(printed, &line).map(|time| Instant::now() + time)
                    });
                }
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if let Some((Signal::Interrupt, ..)) = next {
                    interrupt(process.id());
                    to_come.remove(0);
                    continue;
                }
                was_killed = next.is_some();
                process.kill().expect("it can be killed");
                break;
            }
        }
    }
    let status = process.wait().expect("it ends");
    lines.extend(heard);
    reader.join().expect("the reader ends with its pipe");
    let mut errors = String::new();
    stderr.read_to_string(&mut errors).expect("it complains in UTF-8");
    let ended = Ended { status, lines, errors };
    assert!(was_killed || !ended.was_killed(), "it hung; it printed {:#?}", ended.lines);
    ended
}

/// Ctrl-C, for a process that may have ended by now.
fn interrupt(process: u32) {
    let kill = format!("kill -INT {process} 2>&1");
    Command::new("sh").args(["-c", &kill]).output().expect("there is a shell");
}
