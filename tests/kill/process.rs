//! A process that may be killed.

use std::io::{BufRead, BufReader};
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
}

impl Ended {
    /// True when it was killed before it ended by itself.
    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }
}

/// Runs `command` and kills it at `moment`, if it lives so long.
pub(crate) fn run(mut command: Command, moment: Option<Moment>) -> Ended {
    let started = Instant::now();
    let mut process = command.stdout(Stdio::piped()).spawn().expect("the example starts");
    let stdout = process.stdout.take().expect("its output is read");
    let (sender, heard) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });

    let mut lines = Vec::new();
    let mut dies_at = match moment {
        Some(Moment::After(time)) => Some(started + time),
        Some(Moment::Lines(0, time)) => Some(started + time),
        _ => None,
    };
    loop {
        let deadline = dies_at.unwrap_or(started + TOO_LONG);
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let printed = lines.len() as u64 + 1;
                dies_at = dies_at.or_else(|| match moment {
                    Some(Moment::Lines(n, then)) if printed == n => Some(Instant::now() + then),
                    Some(Moment::Step(step, then)) if line.starts_with(step) => {
                        Some(Instant::now() + then)
                    }
                    _ => None,
                });
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                process.kill().expect("it can be killed");
                break;
            }
        }
    }
    let status = process.wait().expect("it ends");
    lines.extend(heard);
    reader.join().expect("the reader ends with its pipe");
    assert!(dies_at.is_some() || status.signal().is_none(), "it hung; it printed {lines:#?}");
    Ended { status, lines }
}
