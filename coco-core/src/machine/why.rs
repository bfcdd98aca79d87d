//! Why a command does not go on now.
//!
//! Asked of a tree as the machine has it, or as it is stored; who is in the way of a command that
//! waits for locks is told by the lock table.

use std::fmt;

use super::Machine;
use super::flow::{Flow, Phase};
use super::input::{Address, Load};
use super::load::read_failure;
use super::locks::LateLock;
use super::node::Node;
use super::rounds::Rounds;
use super::tree::{Gate, Tree};
use crate::failure::Failure;
use crate::id::CommandId;
use crate::lock::{ConflictReason, Lock, LockConflict, LockTable};
use crate::status::CommandStatus;
use crate::time::Timestamp;

/// Why a command does not go on now, as [`Coordinator::why_waiting`](crate::Coordinator::why_waiting)
/// tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// It does: its code runs, or is about to.
    Runs,
    /// It is in line for locks.
    Locks {
        /// What it asks for, all or none.
        locks: Vec<Lock>,
        /// Since when it waits.
        since: Timestamp,
        /// Until when, where that has an end.
        until: Option<Timestamp>,
        /// Who is in its way: who holds one of them, or came first.
        in_the_way: Vec<LockConflict>,
    },
    /// It waits until a time has come.
    Time {
        /// For what.
        pause: Pause,
        /// The time.
        until: Timestamp,
    },
    /// It waits for an event that it has subscribed to.
    Event {
        /// When it is polled, if none comes.
        until: Timestamp,
    },
    /// All places of its type are taken (`concurrency = …`).
    Place {
        /// Its stored name.
        command_type: String,
        /// How many places there are.
        most: u32,
    },
    /// More trees are open than the engine holds
    /// ([`Builder::most_trees`](crate::Builder::most_trees)), and its tree has still to come.
    Admission,
    /// Engines died while its tree ran. Such trees go on one at a time, and its turn is to come.
    Trial,
    /// It waits for its children.
    Children(Vec<WaitingChild>),
    /// It waits for several of these at a time.
    Several(Vec<Self>),
    /// It cannot go on by itself, or its whole tree cannot, and an operator has to say what is to
    /// become of it.
    Stuck(Failure),
    /// This program, or its store, cannot read its tree, which is left as it is.
    Quarantined {
        /// The command that cannot be read.
        command: CommandId,
        /// Why.
        reason: Failure,
    },
    /// It has ended.
    Ended,
}

/// What happens to a command when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pause {
    /// It begins: [`Coordinator::submit_at`](crate::Coordinator::submit_at).
    Start,
    /// Its next attempt runs: `retry(…)`.
    Attempt,
    /// Its end hook, or what is undone for it, is called again.
    Hook,
    /// Its tasks outside are asked how they stand: [`Context::task`](crate::Context::task).
    Task,
    /// It is polled: [`Polling::poll`](crate::Polling::poll).
    Poll,
    /// Its sleep is over: [`Context::sleep`](crate::Context::sleep).
    Sleep,
}

/// A child that has not ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WaitingChild {
    /// The child.
    pub id: CommandId,
    /// Its stored name.
    pub command_type: String,
    /// Why it does not go on; none where so many are open that nobody looked.
    pub why: Option<Why>,
}

/// How many children the text of a [`Why`] names.
const SHOWN: usize = 10;

impl Machine {
    /// Why a command of a tree that is here does not go on; none when it is not open. `locks`: the
    /// table, or the part of it that is about the command.
    pub(crate) fn why(&mut self, now: Timestamp, at: Address, locks: &LockTable) -> Option<Why> {
        self.trees.get_mut(at.root)?.why(now, at.command, locks)
    }
}

/// The same of a tree that is only stored. `rests`: it was here, and comes back when something
/// happens, or at this time for this command.
pub(crate) fn why_stored(
    now: Timestamp,
    mut load: Load,
    id: CommandId,
    rests: Option<Option<Timestamp>>,
    locks: &LockTable,
) -> Option<Why> {
    let mut tree = Tree::read(&mut load);
    if tree.is_convicted() {
        tree.gate = Gate::Frozen;
    }
    for waiting in locks.waiting() {
        let request = &waiting.request;
        let Some(node) = tree.nodes.get_mut(&request.owner) else { continue };
        match (request.number, request.locks.first()) {
            (0, _) => node.in_line = Some(request.until),
            (number, Some(lock)) => {
                let (lock, in_line) = (lock.clone(), Some(request.until));
                node.late
                    .insert(number, LateLock { lock, ticket: None, in_line, is_of_before: false });
            }
            (_, None) => {}
        }
    }
    for flow in tree.nodes.values_mut().filter_map(|node| node.flow.as_mut()) {
        flow.phase = Phase::Waiting;
    }
    if let Some(rounds) = tree.nodes.get_mut(&id).and_then(|node| node.rounds.as_mut()) {
        rounds.rest_until(rests.flatten());
    }
    let why = tree.why(now, id, locks)?;
    let waits_for_others =
        matches!(why, Why::Runs | Why::Place { .. } | Why::Children(_) | Why::Several(_));
    Some(if waits_for_others && rests.is_none() { Why::Admission } else { why })
}

impl Tree {
    fn why(&self, now: Timestamp, id: CommandId, locks: &LockTable) -> Option<Why> {
        let node = self.nodes.get(&id)?;
        let waits_until = node.progress.wake_at.filter(|when| *when > now);
        let until = |pause| waits_until.map(|until| Why::Time { pause, until });
        match self.gate {
            Gate::Trial => return Some(Why::Trial),
            Gate::Frozen => return self.nodes.get(&self.root).map(|root| root.why_stuck()),
            Gate::Open => {}
        }
        let why = match (node.progress.status, &node.flow) {
            (CommandStatus::Stuck, _) => Some(node.why_stuck()),
            (CommandStatus::NotStarted, _) => until(Pause::Start)
                .or_else(|| node.in_line.and_then(|_| several(lines(id, node, locks))))
                .or_else(|| if node.asked_at.is_none() { node.why_no_place() } else { None }),
            (CommandStatus::Active, _) if node.progress.wake_at.is_some() => {
                until(Pause::Attempt).or_else(|| node.why_no_place())
            }
            _ if node.is_in_rounds() => self.why_rounds(now, id, node, locks),
            (CommandStatus::Active, None) => several(lines(id, node, locks)),
            (CommandStatus::Active, Some(flow)) => self.why_flow(id, node, flow, locks),
            (CommandStatus::ExecutionFailed | CommandStatus::FailedRestarted, _) => {
                self.open_children(id)
            }
            _ if node.ending.is_none() => until(Pause::Hook),
            _ => None,
        };
        Some(why.unwrap_or(Why::Runs))
    }

    fn why_flow(&self, id: CommandId, node: &Node, flow: &Flow, locks: &LockTable) -> Option<Why> {
        let children = self.open_children(id);
        match flow.phase {
            Phase::Starting | Phase::Polling => None,
            Phase::Returned(_) | Phase::Gone => children,
            Phase::Waiting => {
                let sleep = flow.sleeps.values().min().copied();
                let sleep = sleep.map(|until| Why::Time { pause: Pause::Sleep, until });
                let runs = flow.runs_code().then_some(Why::Runs);
                let lines = lines(id, node, locks);
                several(runs.into_iter().chain(lines).chain(children).chain(sleep))
            }
        }
    }

    fn why_rounds(
        &self,
        now: Timestamp,
        id: CommandId,
        node: &Node,
        locks: &LockTable,
    ) -> Option<Why> {
        if node.is_in_round() {
            return several(lines(id, node, locks));
        }
        let next = node.rounds.as_deref().and_then(Rounds::next).filter(|next| *next > now);
        let waits = node.rounds.as_deref().and_then(Rounds::patience).is_some();
        let poll = next.map(|until| match waits {
            _ if node.has_open_tasks() => Why::Time { pause: Pause::Task, until },
            true => Why::Event { until },
            false => Why::Time { pause: Pause::Poll, until },
        });
        let place = node.rounds.as_deref().filter(|rounds| rounds.waits_for_place());
        let place = place.and_then(|_| node.why_no_place());
        several(self.open_children(id).into_iter().chain(poll).chain(place))
    }

    fn open_children(&self, id: CommandId) -> Option<Why> {
        let open = self.nodes.iter().filter(|(_, child)| child.parent == Some(id));
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|(id, child)| (child.position, **id));
        let open = open.into_iter().map(|(id, child)| WaitingChild {
            id: *id,
            command_type: child.spec.name.to_owned(),
            why: None,
        });
        let open: Vec<_> = open.collect();
        (!open.is_empty()).then_some(Why::Children(open))
    }
}

impl Node {
    fn why_stuck(&self) -> Why {
        Why::Stuck(read_failure(self.progress.stuck_reason.as_deref().unwrap_or_default()))
    }

    /// A command that has no place, though its type has a limit, waits for one. Below a command of
    /// its own type it needs none, and does not wait.
    fn why_no_place(&self) -> Option<Why> {
        let most = self.spec.concurrency.filter(|_| !self.has_place)?.get();
        Some(Why::Place { command_type: self.spec.name.to_owned(), most })
    }
}

/// The requests of a command that are in line.
fn lines(id: CommandId, node: &Node, locks: &LockTable) -> Vec<Why> {
    let waits = |number| match number {
        0 => node.in_line.is_some(),
        number => node.late.get(&number).is_some_and(|late| late.in_line.is_some()),
    };
    let own = locks.waiting().filter(|waiting| waiting.request.owner == id);
    let own = own.filter(|waiting| waits(waiting.request.number));
    own.map(|waiting| Why::Locks {
        locks: waiting.request.locks.clone(),
        since: waiting.request.at,
        until: waiting.request.until,
        in_the_way: locks.in_the_way_of(waiting),
    })
    .collect()
}

/// All of them, as one; none of nothing.
fn several(all: impl IntoIterator<Item = Why>) -> Option<Why> {
    let mut all: Vec<_> = all.into_iter().collect();
    if all.len() > 1 { Some(Why::Several(all)) } else { all.pop() }
}

impl Why {
    /// The children that are waited for.
    pub(crate) fn children_mut(&mut self) -> impl Iterator<Item = &mut WaitingChild> {
        let all = match self {
            Self::Several(all) => all.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        all.iter_mut().flat_map(|why| match why {
            Self::Children(children) => children.as_mut_slice(),
            _ => &mut [],
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("its code runs"),
            Self::Locks { locks, since, until, in_the_way } => {
                write!(f, "it waits since {since}")?;
                until.iter().try_for_each(|until| write!(f, ", until {until},"))?;
                for (n, Lock { group, key, mode }) in locks.iter().enumerate() {
                    let and = if n == 0 { "for" } else { "and" };
                    write!(f, " {and} {group} `{key}` {}", mode.as_str())?;
                }
                for (n, conflict) in in_the_way.iter().enumerate() {
                    f.write_str(if n == 0 { ": " } else { ", " })?;
                    let LockConflict { group, key, command_type, holder, since, .. } = conflict;
                    let does = match conflict.reason {
                        ConflictReason::Ahead => "waits for",
                        _ => "holds",
                    };
                    write!(f, "{command_type} `{holder}` {does} {group} `{key}` since {since}")?;
                }
                Ok(())
            }
            Self::Time { pause: Pause::Start, until } => write!(f, "it begins at {until}"),
            Self::Time { pause: Pause::Attempt, until } => {
                write!(f, "it is tried again at {until}")
            }
            Self::Time { pause: Pause::Hook, until } => {
                write!(f, "its end hook, or an undo, is called again at {until}")
            }
            Self::Time { pause: Pause::Task, until } => {
                write!(f, "its tasks outside are asked how they stand at {until}")
            }
            Self::Time { pause: Pause::Poll, until } => write!(f, "it is polled at {until}"),
            Self::Time { pause: Pause::Sleep, until } => write!(f, "it sleeps until {until}"),
            Self::Event { until } => {
                write!(f, "it waits for an event, and is polled at {until} if none comes")
            }
            Self::Place { command_type, most } => {
                write!(f, "it waits for a place: {most} of `{command_type}` run at a time")
            }
            Self::Admission => f.write_str("it waits until the engine has room for its tree"),
            Self::Trial => f.write_str(
                "it waits for its turn: engines died while its tree ran, and such trees go on one \
                 at a time",
            ),
            Self::Children(children) => {
                let shown = children.iter().take(SHOWN);
                f.write_str("it waits for ")?;
                for (n, WaitingChild { id, command_type, why }) in shown.enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{command_type} `{id}`")?;
                    why.iter().try_for_each(|why| write!(f, " ({why})"))?;
                }
                match children.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Several(all) => all.iter().enumerate().try_for_each(|(n, why)| {
                let and = if n == 0 { "" } else { ", and " };
                write!(f, "{and}{why}")
            }),
            Self::Stuck(reason) => write!(f, "it is stuck: {reason}"),
            Self::Quarantined { command, reason } => {
                write!(f, "its tree is quarantined because of `{command}`: {reason}")
            }
            Self::Ended => f.write_str("it has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;
    use crate::lock::LockMode;

    fn id(n: u128) -> CommandId {
        CommandId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn lock(key: &str, mode: LockMode) -> Lock {
        Lock { group: "disk".into(), key: key.to_owned(), mode }
    }

    fn conflict(key: &str, holder: u128, reason: ConflictReason) -> LockConflict {
        LockConflict {
            group: "disk".to_owned(),
            key: key.to_owned(),
            mode: LockMode::Exclusive,
            holder: id(holder),
            command_type: "copy".to_owned(),
            since: Timestamp::from_micros(0),
            reason,
        }
    }

    fn child(n: u128, why: Option<Why>) -> WaitingChild {
        WaitingChild { id: id(n), command_type: "copy".to_owned(), why }
    }

    #[test]
    fn it_reads_well() {
        let (zero, later) = (Timestamp::from_micros(0), Timestamp::from_micros(2_000_000));
        let at_zero = "1970-01-01T00:00:00.000000Z";
        let at_later = "1970-01-01T00:00:02.000000Z";
        let time = |pause| Why::Time { pause, until: later };
        let locks = |until, in_the_way| Why::Locks {
            locks: vec![lock("7", LockMode::Exclusive), lock("8", LockMode::Shared)],
            since: zero,
            until,
            in_the_way,
        };
        let failure = Failure::new(FailureKind::Diverged, "another way");
        let (one, two) = (id(1), id(2));
        let in_the_way =
            vec![conflict("7", 1, ConflictReason::Held), conflict("8", 2, ConflictReason::Ahead)];
        for (why, text) in [
            (Why::Runs, "its code runs".to_owned()),
            (
                locks(None, in_the_way),
                format!(
                    "it waits since {at_zero} for disk `7` exclusive and disk `8` shared: copy `{one}` \
                     holds disk `7` since {at_zero}, copy `{two}` waits for disk `8` since {at_zero}"
                ),
            ),
            (
                locks(Some(later), Vec::new()),
                format!(
                    "it waits since {at_zero}, until {at_later}, for disk `7` exclusive and disk `8` \
                     shared"
                ),
            ),
            (time(Pause::Start), format!("it begins at {at_later}")),
            (time(Pause::Attempt), format!("it is tried again at {at_later}")),
            (
                time(Pause::Hook),
                format!("its end hook, or an undo, is called again at {at_later}"),
            ),
            (
                time(Pause::Task),
                format!("its tasks outside are asked how they stand at {at_later}"),
            ),
            (time(Pause::Poll), format!("it is polled at {at_later}")),
            (time(Pause::Sleep), format!("it sleeps until {at_later}")),
            (
                Why::Event { until: later },
                format!("it waits for an event, and is polled at {at_later} if none comes"),
            ),
            (
                Why::Place { command_type: "copy".to_owned(), most: 4 },
                "it waits for a place: 4 of `copy` run at a time".to_owned(),
            ),
            (Why::Admission, "it waits until the engine has room for its tree".to_owned()),
            (
                Why::Trial,
                "it waits for its turn: engines died while its tree ran, and such trees go on one at a \
                 time"
                    .to_owned(),
            ),
            (
                Why::Children(vec![child(1, Some(Why::Runs)), child(2, None)]),
                format!("it waits for copy `{one}` (its code runs), copy `{two}`"),
            ),
            (
                Why::Several(vec![Why::Runs, Why::Children(vec![child(1, None)])]),
                format!("its code runs, and it waits for copy `{one}`"),
            ),
            (Why::Stuck(failure.clone()), "it is stuck: another way".to_owned()),
            (
                Why::Quarantined { command: one, reason: failure },
                format!("its tree is quarantined because of `{one}`: another way"),
            ),
            (Why::Ended, "it has ended".to_owned()),
        ] {
            assert_eq!(why.to_string(), text);
        }
        let many = (0..13).map(|n| child(n, None)).collect();
        let text = Why::Children(many).to_string();
        assert!(text.ends_with(&format!("copy `{}` and 3 more", id(9))), "{text}");
    }
}
