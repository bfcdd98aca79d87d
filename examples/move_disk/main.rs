//! `cargo run --example move_disk`: makes a disk image and moves it, a line a command.
//! `cargo run --example move_disk -- --db FILE --image FILE --to DIR --rate 5`: moves yours, at
//! 5 MiB a second. Kill it with `kill -9` and start it again: it goes on where it was. Press Ctrl-C,
//! or add `--fail-extent 7`: what was done is undone.

#![expect(unreachable_pub, reason = "a program exports nothing, so `pub` says enough")]

mod commands;
mod disk;
mod image;
mod interrupt;
mod leaves;
mod options;
mod sample;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::pending;
use std::io::Write;
use std::process::ExitCode;

use coco_core::prelude::*;
use coco_store::SeaOrmStore;

use crate::commands::{MoveDisk, Moved};
use crate::disk::Disk;
use crate::image::Checksum;
use crate::interrupt::Interrupt;
use crate::options::{Job, Options, USAGE, Wish};
use crate::sample::Sample;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match options::read(std::env::args_os().skip(1)) {
        Ok(Wish::Move(options)) => options,
        Ok(Wish::Help) => {
            say(format_args!("{USAGE}"));
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            complain(format_args!("{mistake}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(format_args!("{error:?}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what is asked for. True when all went well.
async fn run(Options { job, rate, fail_extent, ledger }: Options) -> Result<bool> {
    let disk = Disk::open(rate, fail_extent, ledger.as_deref())?;
    if let Some(job) = job {
        return move_all(&job, disk).await;
    }
    let sample = Sample::make()?;
    let job = sample.job();
    say(format_args!(
        "Kill me with `kill -9 {}`, and I go on with\n\
         cargo run --example move_disk -- --db {} --image {} --to {}\n\
         Press Ctrl-C, and I undo what I did.\n",
        std::process::id(),
        job.db,
        job.images[0].display(),
        job.to.display(),
    ));
    let all_well = move_all(&job, disk).await?;
    sample.remove()?;
    Ok(all_well)
}

/// Goes on with what is unfinished, then moves what is not moved yet. True when all went well.
async fn move_all(job: &Job, disk: Disk) -> Result<bool> {
    let interrupt = Interrupt::listen();
    let store = SeaOrmStore::connect(&job.address()).await?;
    let coordinator = Coordinator::builder(store).provide(disk).start().await?;
    let moved = async {
        let went_on = go_on(&coordinator, &interrupt).await?;
        Ok(went_on && begin(&coordinator, job, &interrupt).await?)
    }
    .await;
    coordinator.shutdown().await?;
    moved
}

/// Waits for the moves that an earlier process began.
async fn go_on(coordinator: &Coordinator, interrupt: &Interrupt) -> Result<bool> {
    let report = coordinator.report();
    for tree in &report.quarantined {
        complain(format_args!("{} cannot be read: {}", tree.root, tree.reason));
    }
    let mut moves = Vec::new();
    for &root in &report.resumed {
        say(format_args!("going on with {root}"));
        moves.push(coordinator.handle::<MoveDisk>(root).await?);
    }
    Ok(follow(moves, interrupt).await && report.quarantined.is_empty())
}

/// Submits the moves that are asked for, and waits for them.
async fn begin(coordinator: &Coordinator, job: &Job, interrupt: &Interrupt) -> Result<bool> {
    let (mut moves, mut all_submitted) = (Vec::new(), true);
    for image in &job.images {
        let request = MoveDisk::new(image, &job.to)?;
        let (from, target) = (request.image.clone(), request.target.clone());
        if !from.path().exists() && target.path().exists() {
            let sha256 = Checksum::of(&target.path())?.into_text();
            say(format_args!("{from} was moved before: {target} has SHA-256 {sha256}"));
            continue;
        }
        if interrupt.has_come() {
            complain(format_args!("{from} is not moved: Ctrl-C was pressed"));
            all_submitted = false;
            continue;
        }
        match coordinator.submit(request).await {
            Ok(submitted) => {
                say(format_args!("moving {from} to {target} as {}", submitted.id()));
                moves.push(submitted);
            }
            // A lock that another move holds is refused here; the error names the holder.
            Err(refusal) => {
                complain(format_args!("{from} is not moved: {refusal:?}"));
                all_submitted = false;
            }
        }
    }
    Ok(follow(moves, interrupt).await && all_submitted)
}

/// Waits for moves to end, and says how. Ctrl-C cancels them. True when all went well.
async fn follow(moves: Vec<CommandHandle<MoveDisk>>, interrupt: &Interrupt) -> bool {
    let cancelling = async {
        interrupt.comes().await;
        for one in &moves {
            // Refused by a move that has its outcome already.
            if one.cancel().await.is_ok() {
                say(format_args!("cancelled {}", one.id()));
            }
        }
        pending().await
    };
    tokio::select! {
        all_well = see_to_the_end(&moves) => all_well,
        never = cancelling => never,
    }
}

async fn see_to_the_end(moves: &[CommandHandle<MoveDisk>]) -> bool {
    let mut all_well = true;
    for one in moves {
        match one.output().await {
            Ok(Moved { image, target, sha256 }) => {
                say(format_args!("moved {image}: {target} has SHA-256 {sha256}"));
            }
            Err(error) => {
                let is_over = error.failure().is_some();
                let undone = if is_over { " and is undone" } else { "" };
                complain(format_args!("{} failed{undone}: {error:?}", one.id()));
                all_well = false;
            }
        }
    }
    all_well
}

/// Prints a line. Nothing fails because nobody reads it.
fn say(line: fmt::Arguments<'_>) {
    if !cfg!(test) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn complain(mistake: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "error: {mistake}");
}
