//! The table of what becomes of a request for locks, asked of the pure decision and of every store.
//!
//! `2` asks for a key. `1` is its parent, `3` its sibling, `4` its child, `9` a stranger. The other
//! one holds the key; or is ahead in line for it, since it waits for another key as well.

use std::sync::Arc;

use super::Fixture;
use super::sample::{Engine, child, exclusive, id, insert, root, step};
use crate::entity::CommandEntity;
use crate::id::CommandId;
use crate::lock::{ConflictReason, Lock, LockMode, LockRequest};
use crate::store::{LockRows, Outcome, Store, Write};
use crate::time::Timestamp;

const TABLE: &str = "
    the other one   it has       I ask for    without wait   with wait

    stranger holds  shared       shared       granted        granted
    stranger holds  shared       exclusive    held           queued
    stranger holds  exclusive    shared       held           queued
    stranger holds  exclusive    exclusive    held           queued
    sibling holds   shared       shared       granted        granted
    sibling holds   shared       exclusive    held           queued
    sibling holds   exclusive    shared       held           queued
    sibling holds   exclusive    exclusive    held           queued
    ancestor holds  shared       shared       granted        granted
    ancestor holds  shared       exclusive    granted        granted
    ancestor holds  exclusive    shared       granted        granted
    ancestor holds  exclusive    exclusive    granted        granted
    child holds     shared       shared       granted        granted
    child holds     shared       exclusive    held           queued
    child holds     exclusive    shared       held           queued
    child holds     exclusive    exclusive    held           queued
    itself holds    shared       shared       granted        granted
    itself holds    shared       exclusive    granted        granted
    itself holds    exclusive    shared       granted        granted
    itself holds    exclusive    exclusive    granted        granted

    stranger ahead  shared       shared       granted        granted
    stranger ahead  shared       exclusive    ahead          queued
    stranger ahead  exclusive    shared       ahead          queued
    stranger ahead  exclusive    exclusive    ahead          queued
    sibling ahead   shared       shared       granted        granted
    sibling ahead   shared       exclusive    ahead          queued
    sibling ahead   exclusive    shared       ahead          queued
    sibling ahead   exclusive    exclusive    ahead          queued
    ancestor ahead  shared       shared       granted        granted
    ancestor ahead  shared       exclusive    ahead          queued
    ancestor ahead  exclusive    shared       ahead          queued
    ancestor ahead  exclusive    exclusive    ahead          queued
    child ahead     shared       shared       granted        granted
    child ahead     shared       exclusive    ahead          queued
    child ahead     exclusive    shared       ahead          queued
    child ahead     exclusive    exclusive    ahead          queued
    itself ahead    shared       shared       granted        granted
    itself ahead    shared       exclusive    granted        granted
    itself ahead    exclusive    shared       granted        granted
    itself ahead    exclusive    exclusive    granted        granted

    shared beside ancestor   shared       shared       granted        granted
    shared beside ancestor   shared       exclusive    shared         shared
    shared beside itself     shared       exclusive    shared         shared
    ancestor in front        exclusive    exclusive    granted        granted
    sibling in front         exclusive    exclusive    held           queued
";

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Case {
    /// The requests before, of which the last may wait.
    pub(crate) before: Vec<LockRequest>,
    /// The request that is asked about, without and with `waits`.
    pub(crate) asked: [LockRequest; 2],
    /// The answers to both.
    pub(crate) answers: [&'static str; 2],
    pub(crate) line: &'static str,
}

/// All lines of the table.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let lines = TABLE.lines().skip(2).filter(|line| !line.trim().is_empty());
    lines.map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [other @ .., theirs, mine, without, with] = &words[..] else { panic!("{line}") };
        let (theirs, mine) = (theirs.parse().expect("a mode"), mine.parse().expect("a mode"));
        let (before, number) = before(&other.join(" "), theirs);
        let asked = |waits| LockRequest { number, waits, ..request(2, 0, &[1], vec![key(mine)]) };
        Case { before, asked: [asked(false), asked(true)], answers: [without, with], line }
    })
}

/// What was asked before, and the number of the request that is asked about.
fn before(other: &str, theirs: LockMode) -> (Vec<LockRequest>, i32) {
    let (of, stands) = other.split_once(' ').expect("two words");
    let holds = |of| who(of, vec![key(theirs)]);
    let ahead = |of| LockRequest { waits: true, ..who(of, vec![key(theirs), exclusive("b")]) };
    let blocker = || request(8, 0, &[], vec![exclusive("b")]);
    let stranger = |mode| LockRequest { waits: true, ..who("stranger", vec![key(mode)]) };
    let requests = match (of, stands) {
        (_, "holds") => vec![holds(of)],
        (_, "ahead") => vec![blocker(), ahead(of)],
        // A stranger shares the lock of my own.
        ("shared", beside) => {
            vec![stranger(LockMode::Shared), holds(beside.rsplit(' ').next().expect("a word"))]
        }
        // My ancestor holds it, and who is in front waits for that.
        ("ancestor", "in front") => vec![holds("ancestor"), stranger(LockMode::Exclusive)],
        ("sibling", "in front") => vec![holds("ancestor"), holds("sibling")],
        _ => panic!("{other}"),
    };
    (requests, if other.ends_with("itself") || of == "itself" { 2 } else { 0 })
}

fn who(of: &str, locks: Vec<Lock>) -> LockRequest {
    match of {
        "stranger" => request(9, 0, &[], locks),
        "sibling" => request(3, 0, &[1], locks),
        "ancestor" => request(1, 1, &[], locks),
        "child" => request(4, 0, &[2, 1], locks),
        "itself" => request(2, 1, &[1], locks),
        other => panic!("{other}"),
    }
}

fn key(mode: LockMode) -> Lock {
    Lock { mode, ..exclusive("a") }
}

fn request(owner: u128, number: i32, ancestors: &[u128], locks: Vec<Lock>) -> LockRequest {
    let ancestors: Vec<CommandId> = ancestors.iter().copied().map(id).collect();
    let (command_type, at) = ("move_disk".into(), Timestamp::from_micros(11));
    let (owner, waits, until) = (id(owner), false, None);
    LockRequest { owner, number, command_type, ancestors, locks, at, waits, until }
}

/// The word of the table for what became of a request.
pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "granted",
        Outcome::Queued { .. } => "queued",
        Outcome::WouldDeadlock(_) => "would deadlock",
        Outcome::Conflict(conflict) => match conflict.reason {
            ConflictReason::Held => "held",
            ConflictReason::Ahead => "ahead",
            ConflictReason::Shared => "shared",
        },
        _ => "something else",
    }
}

/// Each cell of the table: mode by mode, by who the other one is and how it stands, without and
/// with waiting.
pub async fn requests_are_decided_by_the_table(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let grandchild = CommandEntity { parent_command_id: Some(id(2)), ..child(1, 4, 0) };
    let strangers = [root(8), root(9)];
    let tree = [root(1), child(1, 2, 0), child(1, 3, 1), grandchild];
    engine.apply(tree.into_iter().chain(strangers).map(insert)).await;
    for case in cases() {
        for (asked, answer) in case.asked.iter().zip(case.answers) {
            let requests = case.before.iter().chain([asked]);
            let steps: Vec<_> = requests
                .map(|request| {
                    let mut step = step(request.owner, Vec::new());
                    step.root = request.root();
                    step.request = Some(Arc::new(request.clone()));
                    step
                })
                .collect();
            let mut outcomes = Vec::new();
            for step in steps {
                outcomes.extend(engine.commit([step]).await);
            }
            let last = outcomes.last().expect("an answer");
            assert_eq!(word(last), answer, "{}: {outcomes:?}", case.line);
            let everybody = [1, 2, 3, 4, 8, 9].map(|n| {
                let mut step = step(id(n), vec![Write::Release(id(n))]);
                step.root = id(if n < 8 { 1 } else { n });
                step
            });
            engine.apply(everybody).await;
        }
    }
    let left = engine.store.locks(None).await.expect("failed to read the locks");
    assert_eq!(left, LockRows::default());
}
