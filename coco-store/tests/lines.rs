//! What it costs to wait in line for locks, and to be granted them.

#[path = "support/asking.rs"]
mod asking;
#[path = "support/counted.rs"]
mod counted;
#[allow(dead_code, reason = "each test needs some of it")]
mod support;

use coco_core::lock::LockMode;
use coco_core::store::{Committed, Outcome, Step, Store, Write};
use coco_core::{CommandId, CommandStatus};
use coco_store::Statistics;

use self::asking::{asking, lock, waiting};
use self::counted::{Counted, Kind, on_each_database};
use self::support::{id, insert, progress, step};

on_each_database!(
    a_line_costs_the_same_statements_whatever_its_size,
    a_batch_of_everything_costs_the_same_statements_whatever_its_size,
    a_release_reads_the_head_of_the_line,
);

/// The key of a number.
fn key(n: u128) -> Vec<coco_core::lock::Lock> {
    vec![lock(&n.to_string(), LockMode::Exclusive)]
}

fn nothing(n: u128) -> Step {
    Step { writes: Vec::new(), ..step(n, Write::Release(id(n))) }
}

/// The root `n`, which is stored, waits for a key.
fn waits(n: u128, of: u128) -> Step {
    waiting(nothing(n), n, &[], key(of))
}

/// The root `n` is inserted, if it gets a key.
fn begins(n: u128, of: u128) -> Step {
    asking(insert(n), n, &[], key(of))
}

fn releases(n: u128) -> Step {
    step(n, Write::Release(id(n)))
}

struct Costs(Counted);

impl Costs {
    async fn open(kind: Kind) -> Self {
        Self(Counted::open(kind).await)
    }

    async fn apply(&self, steps: impl IntoIterator<Item = Step>) {
        self.0.cost(steps.into_iter().collect()).await;
    }

    /// What a batch comes to, and what it costs beside the turn.
    async fn commit(&self, steps: impl IntoIterator<Item = Step>) -> (Committed, Statistics) {
        let (committed, cost) = self.0.commit(steps.into_iter().collect()).await;
        (committed, Statistics { statements: cost.statements - self.0.kind.turn(), ..cost })
    }

    /// The statements of a batch whose steps all have this outcome, and the number of grants.
    async fn all(
        &self,
        steps: impl IntoIterator<Item = Step>,
        is_expected: impl Fn(&Outcome) -> bool,
    ) -> (u64, usize) {
        let (committed, cost) = self.commit(steps).await;
        assert!(committed.outcomes.iter().all(is_expected), "{committed:?}");
        (cost.statements, committed.granted.len())
    }
}

fn applied(outcome: &Outcome) -> bool {
    *outcome == Outcome::Applied
}

fn queued(outcome: &Outcome) -> bool {
    *outcome == Outcome::Queued { until: None }
}

async fn a_line_costs_the_same_statements_whatever_its_size(kind: Kind) {
    for size in [1, 2, 256] {
        let costs = Costs::open(kind).await;
        // Each of the first has a key that one of the second waits for.
        let first = 1..=size;
        let second = |n| n + 1000;
        let third = |n| n + 2000;
        costs.apply(first.clone().map(|n| begins(n, n))).await;
        costs.apply(first.clone().map(|n| insert(second(n)))).await;

        // While nobody waits, nothing is read of the line: who holds the keys; who waits, or has.
        let queue = first.clone().map(|n| waits(second(n), n));
        assert_eq!(costs.all(queue.clone(), queued).await, (2, 0), "{size}");
        // The line, who holds the keys.
        assert_eq!(costs.all(queue, queued).await, (2, 0), "{size} that wait already");
        // The line, who holds the keys; the inserts, who has them.
        let others = first.clone().map(|n| begins(third(n), third(n)));
        assert_eq!(costs.all(others, applied).await, (4, 0), "{size} others");
        // The line; what is freed.
        let others = first.clone().map(|n| releases(third(n)));
        assert_eq!(costs.all(others, applied).await, (2, 0), "{size} others");
        // The line, who holds the keys; who leaves it.
        let leave =
            first.clone().map(|n| step(second(n), Write::LeaveLine(id(second(n)), Some(0))));
        assert_eq!(costs.all(leave, applied).await, (3, 0), "{size} that leave");

        let queue = first.clone().map(|n| waits(second(n), n));
        costs.all(queue, queued).await;
        // The line, who holds the keys; what is freed, who leaves the line, what is granted.
        let release = first.clone().map(releases);
        assert_eq!(costs.all(release, applied).await, (5, size as usize), "{size} grants");
        // Nobody waits any more.
        let release = first.clone().map(|n| releases(second(n)));
        assert_eq!(costs.all(release, applied).await, (1, 0), "{size} releases");
        let begin = first.clone().map(|n| asking(nothing(n), n, &[], key(n)));
        let begin: Vec<_> = begin.collect();
        let asked = begin[0].request.clone().expect("a request");
        costs.all(begin, applied).await;
        // What they hold; what is freed.
        let ones = first.map(|n| {
            let (owner, lock, since) = (id(n), key(n).remove(0), asked.at);
            step(n, Write::ReleaseOne { owner, lock, since })
        });
        assert_eq!(costs.all(ones, applied).await, (2, 0), "{size} locks");
    }
}

fn child(n: u128, parent: u128) -> Step {
    let mut step = insert(n);
    step.root = id(parent);
    if let [Write::Insert(entity)] = &mut step.writes[..] {
        entity.parent_command_id = Some(id(parent));
        entity.root_command_id = id(parent);
    }
    step
}

async fn a_batch_of_everything_costs_the_same_statements_whatever_its_size(kind: Kind) {
    for size in [1, 64] {
        let costs = Costs::open(kind).await;
        let ids = 1..=size;
        let kinds = ids.clone().flat_map(|n| (0..8).map(move |kind| n + kind * 1000));
        costs.apply(kinds.map(|n| begins(n, n))).await;
        let others = ids.clone().flat_map(|n| {
            (8..10).map(move |kind| insert(n + kind * 1000)).chain([child(n + 10_000, n)])
        });
        costs.apply(others).await;
        let wait = ids.clone().flat_map(|n| [waits(n + 8000, n + 1000), waits(n + 9000, n + 2000)]);
        costs.all(wait, queued).await;

        // Eight steps for each number: two are let go of, one of them by a pass; two ask, one in
        // vain; one leaves the line and two join it, one of them below a root; one row changes.
        let mixed = ids.clone().flat_map(|n| {
            let below = nothing(n + 10_000);
            let below = Step { root: id(n), ..below };
            let pass =
                Write::Pass { from: id(n + 3000), to: id(n), command_type: "move_disk".into() };
            [
                releases(n + 1000),
                step(n + 3000, pass),
                asking(nothing(n), n, &[], key(n + 20_000)),
                asking(nothing(n + 4000), n + 4000, &[], key(n + 5000)),
                step(n + 9000, Write::LeaveLine(id(n + 9000), None)),
                waits(n + 4000, n + 6000),
                waiting(below, n + 10_000, &[n], key(n + 7000)),
                step(n, Write::Update(id(n), Box::new(progress(CommandStatus::Active)))),
            ]
        });
        let (committed, cost) = costs.commit(mixed).await;
        assert_eq!(committed.granted.len() as u128, size);
        // Read: the line, the holders, what is passed, the trees that wait. Written: what is freed,
        // who leaves the line, the update, what is granted, who joins the line.
        assert_eq!(cost.statements, 4 + 5, "{size} of each: {committed:?}");
        let is = |outcome: &Outcome| committed.outcomes.iter().filter(|it| *it == outcome).count();
        assert_eq!(is(&Outcome::Applied) as u128, 5 * size);
        assert_eq!(is(&Outcome::Queued { until: None }) as u128, 2 * size);
    }
}

const HOT: u128 = 0;
const LINE: u128 = 20_000;

/// Twenty thousand roots that wait for the key of the root 1.
const FILL: &str = "\
WITH RECURSIVE number(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n <= 20000) \
INSERT INTO command_entities (command_id, command_type, root_command_id, position, \
command_parameters, created_at, callback_enabled, status, executed, callback_notified, attempt, \
hook_attempt, deaths, deaths_end_order) \
SELECT ID(n), 'move_disk', ID(n), 0, '{}', 1, false, 'not_started', false, false, 0, 0, 0, 0 \
FROM number; \
INSERT INTO lock_waiters (command_id, number, lock_group, lock_key, position, place, \
root_command_id, command_type, ancestors, mode, since, until) \
SELECT command_id, 0, 'disk', '0', 0, row_number() OVER (ORDER BY command_id), command_id, \
'move_disk', '', 'exclusive', 1, NULL FROM command_entities WHERE status = 'not_started'";

/// Only the head of a line is read, however long it is.
async fn a_release_reads_the_head_of_the_line(kind: Kind) {
    let costs = Costs::open(kind).await;
    costs.apply([begins(1, HOT), insert(LINE + 2)]).await;
    costs.0.say(FILL).await;
    let line = costs.0.store.locks(None).await.unwrap();
    assert_eq!(line.waiting.len() as u128, LINE);

    let (committed, cost) = costs.commit([waits(LINE + 2, HOT)]).await;
    assert!(queued(&committed.outcomes[0]), "{committed:?}");
    assert!(cost.rows <= 2, "{} rows are read to join the line", cost.rows);
    // Who has it, and is granted it next.
    for n in 1..20 {
        let (committed, cost) = costs.commit([releases(n)]).await;
        let granted: Vec<CommandId> = committed.granted.iter().map(|it| it.command).collect();
        assert_eq!(granted, [id(n + 1)]);
        assert!(cost.rows <= 3, "{} rows are read to grant one", cost.rows);
    }
    let leave = |n| step(n, Write::LeaveLine(id(n), Some(0)));
    let (committed, cost) = costs.commit((21..31).map(leave).chain([releases(20)])).await;
    assert_eq!(committed.granted[0].command, id(31));
    assert!(cost.rows <= 24, "{} rows are read for ten that leave", cost.rows);
    let last = costs.0.store.locks(Some(id(LINE + 2))).await.unwrap();
    assert_eq!(last.waiting.len() as u128, LINE + 1 - 30);
}
