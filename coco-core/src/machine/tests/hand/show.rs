//! Writes down what comes out of the machine.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::id;
use crate::entity::{Compensation, OnceResult, Progress, Undo};
use crate::erased::Call;
use crate::id::CommandId;
use crate::machine::step::Write;
use crate::machine::{Effect, Output, RunKind, Undoing};
use crate::status::CommandStatus;

/// The path of a command: of a root, of its children or of theirs, up to position 5.
pub(super) fn path(of: CommandId) -> String {
    static KNOWN: LazyLock<HashMap<CommandId, String>> = LazyLock::new(|| {
        let paths = (0..6).flat_map(|n| {
            let below = (0..6).map(move |m| format!("/{n}/{m}"));
            std::iter::once(format!("/{n}")).chain(below)
        });
        let paths: Vec<_> = std::iter::once("/".to_owned()).chain(paths).collect();
        let of_root = |root: &'static str| paths.iter().map(move |path| format!("{root}{path}"));
        let all = ["", "B", "C", "D"].into_iter().flat_map(of_root);
        let name =
            |path: &String| path.strip_suffix('/').filter(|p| !p.is_empty()).map(str::to_owned);
        all.map(|path| (id(&path), name(&path).unwrap_or(path))).collect()
    });
    KNOWN.get(&of).cloned().unwrap_or_else(|| of.to_string())
}

pub(super) fn show(output: &Output) -> String {
    match output {
        Output::Do(effect) => show_effect(effect),
        Output::Store(step, effects) => {
            let locks = if step.request.is_some() { "locks? " } else { "" };
            let writes: Vec<_> = step.writes.iter().map(show_write).collect();
            let effects: Vec<_> = effects.iter().map(show_effect).collect();
            let arrow = if effects.is_empty() { "" } else { " -> " };
            format!("{locks}[{}]{arrow}{}", writes.join(", "), effects.join(", "))
        }
    }
}

fn show_write(write: &Write) -> String {
    match write {
        Write::Insert(row) => {
            format!("insert {} {}", path(row.command_id), show_progress(&row.progress))
        }
        Write::Update(id, progress) => format!("{} {}", path(*id), show_progress(progress)),
        Write::Once(once) => {
            let OnceResult { command_id, position, name, end_order, .. } = &**once;
            let failed = if once.failure.is_some() { " failed" } else { "" };
            format!("once {} {position} {name}{failed} o{end_order}", path(*command_id))
        }
        Write::Sleep(sleep) => format!("sleep {} {}", path(sleep.command_id), sleep.position),
        Write::Register(entry) => {
            let Compensation { command_id, position, command_type, .. } = &**entry;
            format!("register {} {position} {command_type}", path(*command_id))
        }
        Write::Compensated(id, _) => format!("compensated {}", path(*id)),
        Write::Undone(id, position, _) => format!("undone {} {position}", path(*id)),
        Write::Release(id) => format!("release {}", path(*id)),
        Write::LeaveLine(id, Some(number)) => format!("leave {} {number}", path(*id)),
        Write::LeaveLine(id, None) => format!("leave {} all", path(*id)),
        Write::ReleaseOne { owner, lock, .. } => format!("release {} {}", path(*owner), lock.key),
        Write::Pass { from, to, .. } => format!("pass {} to {}", path(*from), path(*to)),
        Write::Subscribe(row) => format!("subscribe {} {}", path(row.command_id), row.key),
        Write::Publish(event) => format!("publish {}", event.key),
        Write::Handled(id, last) => format!("handled {} {last}", path(*id)),
        Write::Unsubscribe(id) => format!("unsubscribe {}", path(*id)),
        Write::Task(task) => format!("task {} {}", path(task.command_id), task.position),
        Write::TaskKept(id, position) => format!("task kept {} {position}", path(*id)),
        Write::TaskEnded(id, position, ..) => format!("task ended {} {position}", path(*id)),
        Write::Audit(audit) => format!("audit {} {}", audit.action, path(audit.command_id)),
    }
}

/// The status, the attempt, that it is active and was executed, and where there are any the end
/// order, the deaths, what undoes it and that it waits or is cancelled.
fn show_progress(progress: &Progress) -> String {
    let order = progress.end_order.map(|order| format!(" o{order}")).unwrap_or_default();
    let deaths = match progress.deaths {
        0 => String::new(),
        deaths => format!(" d{deaths}"),
    };
    let undo = match progress.undo {
        None => "",
        Some(Undo::Own) => " own",
        Some(Undo::Inner) => " inner",
    };
    let waits = if progress.wake_at.is_some() { " waits" } else { "" };
    let cancelled = if progress.cancelled.is_some() { " cancelled" } else { "" };
    let (status, attempt) = (progress.status, progress.attempt);
    let is_in_rounds = progress.executed && status == CommandStatus::Active;
    let executed = if is_in_rounds { " executed" } else { "" };
    format!("{status} a{attempt}{executed}{order}{deaths}{undo}{waits}{cancelled}")
}

fn show_effect(effect: &Effect) -> String {
    match effect {
        Effect::Accept { ticket } => format!("accept {ticket}"),
        Effect::Refuse { ticket, .. } => format!("refuse {ticket}"),
        Effect::Run(run) => {
            let kind = match &run.kind {
                RunKind::Leaf => format!("leaf a{}", run.attempt),
                RunKind::Flow { replaying: true, .. } => format!("replay a{}", run.attempt),
                RunKind::Flow { .. } => format!("flow a{}", run.attempt),
                RunKind::Round(Call::Round(round)) => {
                    let (ended, seen) = round.outcomes.parts();
                    format!("round {seen}/{}", ended.len())
                }
                RunKind::Round(_) => "round".to_owned(),
                RunKind::Inbox(_) => "inbox".to_owned(),
                RunKind::Tasks { open, stop: true } => format!("stop {}", open.len()),
                RunKind::Tasks { open, .. } => format!("tasks {}", open.len()),
                RunKind::Clear(tasks) => format!("clear {}", tasks.len()),
                RunKind::Hook(Call::EndSuccessfully(_)) => "end_successfully".to_owned(),
                RunKind::Hook(Call::Compensate(output)) => {
                    format!("compensate {}", output.as_deref().unwrap_or("-"))
                }
                RunKind::Hook(_) => "end_with_failure".to_owned(),
            };
            format!("run {} {kind}", path(run.at.command))
        }
        Effect::Give { command, outcomes, replay_is_over } => {
            let outcomes: Vec<_> = outcomes
                .iter()
                .map(|(position, ended)| match &ended.result {
                    Ok(value) => format!("{position}={value}"),
                    Err(failure) => format!("{position}!{failure}"),
                })
                .collect();
            let live = if *replay_is_over { "" } else { " of a replay" };
            format!("give {} {}{live}", path(*command), outcomes.join(" "))
        }
        Effect::Turn { at, position, given, .. } => {
            format!("turn {} {position} after {given}", path(at.command))
        }
        Effect::LetRun { command, position } => format!("let run {} {position}", path(*command)),
        Effect::Drop { command } => format!("drop {}", path(*command)),
        Effect::Reload { at, ticket } => {
            let ticket = ticket.map_or("-".to_owned(), |ticket| ticket.to_string());
            format!("reload {} {ticket}", path(at.command))
        }
        Effect::Cancel { command } => format!("cancel {}", path(*command)),
        Effect::Undo(run) => match &run.undoing {
            Undoing::Command(command) => format!("undo {}", path(*command)),
            Undoing::Entry { command, position, entry } => {
                format!("undo {} {position} by {}", path(*command), entry.name)
            }
        },
        Effect::WakeAt { at, when } => format!("wake {} at {}", path(at.command), when.as_micros()),
        Effect::Disarm { command, .. } => format!("disarm {}", path(*command)),
        Effect::NoRoom { root } => format!("no room for {}", path(*root)),
        Effect::Rest { .. } => "rest".to_owned(),
        Effect::Rested { .. } => "rested".to_owned(),
        Effect::Ended { result: Ok(value), .. } => format!("ended {value}"),
        Effect::Ended { result: Err(failure), .. } => format!("ended! {failure}"),
        Effect::Stuck { at, reason } => format!("stuck {}: {reason}", path(at.command)),
        Effect::Unstuck { .. } => "unstuck".to_owned(),
        Effect::Held { hold, .. } => format!("held {hold}"),
    }
}
