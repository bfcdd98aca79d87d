//! Decisions about requests.

use super::*;
use crate::id::CommandId;
use crate::store::Outcome;
use crate::testing::conformance::decisions::{cases, word};
use crate::time::Timestamp;

pub(super) fn id(n: u128) -> CommandId {
    CommandId::from_uuid(uuid::Uuid::from_u128(n))
}

pub(super) fn lock(key: &str, mode: LockMode) -> Lock {
    Lock { group: "disk".into(), key: key.to_owned(), mode }
}

/// A request of command `owner`, at the time of that number.
pub(super) fn request(owner: u128, ancestors: &[u128], locks: Vec<Lock>) -> LockRequest {
    LockRequest {
        owner: id(owner),
        number: 0,
        command_type: "copy".into(),
        ancestors: ancestors.iter().copied().map(id).collect(),
        locks,
        at: Timestamp::from_micros(i64::try_from(owner).unwrap()),
        waits: false,
        until: None,
    }
}

#[test]
fn who_waits_is_told_who_is_in_the_way() {
    use ConflictReason::{Ahead, Held};
    use LockMode::{Exclusive, Shared};
    let mut table = LockTable::default();
    let waits = |owner, ancestors: &[u128], locks| LockRequest {
        waits: true,
        ..request(owner, ancestors, locks)
    };
    table.ask(&request(1, &[], vec![lock("a", Shared)])).unwrap();
    table.ask(&request(2, &[], vec![lock("a", Shared)])).unwrap();
    table.ask(&request(3, &[], vec![lock("b", Exclusive)])).unwrap();
    table.ask(&waits(4, &[], vec![lock("a", Exclusive)])).unwrap();
    table.ask(&request(8, &[], vec![lock("c", Exclusive)])).unwrap();
    table.ask(&waits(5, &[], vec![lock("a", Shared), lock("c", Exclusive)])).unwrap();
    table.ask(&waits(6, &[3], vec![lock("b", Exclusive)])).unwrap();
    table.ask(&waits(7, &[3], vec![lock("b", Exclusive), lock("a", Exclusive)])).unwrap();
    let told = |owner| {
        let waiting = table.waiting().find(|waiting| waiting.request.owner == id(owner));
        let in_the_way = table.in_the_way_of(waiting.expect("it waits"));
        let one = |it: LockConflict| (it.key, it.mode, it.holder, it.reason, it.since.as_micros());
        in_the_way.into_iter().map(one).collect::<Vec<_>>()
    };
    let told_of = |key: &str, mode, who, reason| {
        (key.to_owned(), mode, id(who), reason, i64::try_from(who).unwrap())
    };
    let sharers = |mode| [1, 2].map(|who| told_of("a", mode, who, Held));
    assert_eq!(told(4), sharers(Exclusive));
    assert_eq!(
        told(5),
        [told_of("a", Shared, 4, Ahead), told_of("c", Exclusive, 8, Held)],
        "not those who share it"
    );
    let ahead = [told_of("a", Exclusive, 4, Ahead), told_of("a", Exclusive, 5, Ahead)];
    assert_eq!(
        told(7),
        [vec![told_of("b", Exclusive, 6, Held)], sharers(Exclusive).into(), ahead.into()].concat(),
        "a sibling, and not the parent"
    );
}

#[test]
fn the_table() {
    for case in cases() {
        for (asked, answer) in case.asked.iter().zip(case.answers) {
            let mut table = LockTable::default();
            for request in &case.before {
                table.ask(request).unwrap_or_else(|error| panic!("{}: {error}", case.line));
            }
            let outcome = match table.ask(asked) {
                Ok(Answer::Granted) => Outcome::Applied,
                Ok(Answer::Waits { until }) => Outcome::Queued { until },
                Err(refusal) => refusal.into(),
            };
            assert_eq!(word(&outcome), answer, "{}", case.line);
        }
    }
}

/// A table of these requests, each by owner, ancestors, number and keys; all of them exclusive,
/// where the key is not written with a small `s` before it, and they wait.
fn asked(requests: &[(u128, &[u128], i32, &[&str])]) -> (LockTable, Vec<&'static str>) {
    let mut table = LockTable::default();
    let answers = requests.iter().map(|(owner, ancestors, number, keys)| {
        let locks = keys.iter().map(|key| match key.strip_prefix("s ") {
            Some(key) => lock(key, LockMode::Shared),
            None => lock(key, LockMode::Exclusive),
        });
        let request = request(*owner, ancestors, locks.collect());
        match table.ask(&LockRequest { number: *number, waits: true, ..request }) {
            Ok(Answer::Granted) => "granted",
            Ok(Answer::Waits { .. }) => "waits",
            Err(LockRefusal::Conflict(_)) => "conflict",
            Err(LockRefusal::WouldDeadlock(_)) => "deadlock",
        }
    });
    let answers = answers.collect();
    (table, answers)
}

#[test]
fn trees_that_would_wait_for_each_other() {
    // Two; the child of each wants what the other has.
    let (_, said) = asked(&[
        (1, &[], 0, &["a"]),
        (2, &[], 0, &["b"]),
        (3, &[1], 0, &["b"]),
        (4, &[2], 0, &["a"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "deadlock"]);
    // Three, and the last one comes late.
    let (_, said) = asked(&[
        (1, &[], 0, &["a"]),
        (2, &[], 0, &["b"]),
        (3, &[], 0, &["c"]),
        (1, &[], 1, &["b"]),
        (2, &[], 1, &["c"]),
        (3, &[], 1, &["a"]),
    ]);
    assert_eq!(said, ["granted", "granted", "granted", "waits", "waits", "deadlock"]);
    // A chain is none.
    let (_, said) = asked(&[
        (1, &[], 0, &["a"]),
        (2, &[], 0, &["b"]),
        (2, &[], 1, &["a"]),
        (3, &[], 0, &["b"]),
        (4, &[], 0, &["b", "a"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "waits", "waits"]);
    // By one who is only ahead in the line: 3 waits for `a` and for `c`, so 2 waits for 3.
    let (_, said) = asked(&[
        (1, &[], 0, &["c"]),
        (2, &[], 0, &["b"]),
        (3, &[], 0, &["a", "c"]),
        (1, &[], 1, &["b"]),
        (2, &[], 1, &["a"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "waits", "deadlock"]);
}

#[test]
fn commands_of_one_tree_that_would_wait_for_each_other() {
    // A sibling that waits is no cycle, and two that take late what the other has are one.
    let (_, said) = asked(&[
        (2, &[1], 0, &["a"]),
        (3, &[1], 0, &["b"]),
        (3, &[1], 1, &["a"]),
        (2, &[1], 1, &["b"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "deadlock"]);
    // Who waits late for what its own child has waits for the end of that; unless that waits for it.
    let (_, said) = asked(&[(2, &[1], 0, &["a"]), (1, &[], 1, &["a"])]);
    assert_eq!(said, ["granted", "waits"]);
    // What an ancestor waits for may be asked for behind it.
    let (mut table, said) =
        asked(&[(9, &[], 0, &["a"]), (1, &[], 1, &["a"]), (2, &[1], 0, &["a"])]);
    assert_eq!(said, ["granted", "waits", "waits"]);
    table.release(id(9));
    let granted: Vec<_> = table.grant().iter().map(|request| request.owner).collect();
    assert_eq!(granted, [id(1), id(2)], "and borrowed as soon as that has it");
}

#[test]
fn an_upgrade_overtakes_only_who_waits_for_it() {
    // 3 waits to share what 1 shares: it waits for 2, which is in line to have it alone.
    let before: [(u128, &[u128], i32, &[&str]); 3] =
        [(1, &[], 0, &["s a"]), (2, &[], 0, &["a"]), (3, &[], 0, &["s a"])];
    let (mut table, said) = asked(&before);
    assert_eq!(said, ["granted", "waits", "waits"]);
    let upgrade =
        LockRequest { number: 1, ..request(1, &[], vec![lock("a", LockMode::Exclusive)]) };
    assert_eq!(table.ask(&upgrade), Ok(Answer::Granted), "all who wait do so for 1");
    // 3 waits for another key, and could share `a` with 1 at any time.
    let (mut table, said) =
        asked(&[(1, &[], 0, &["s a"]), (8, &[], 0, &["b"]), (3, &[], 0, &["s a", "b"])]);
    assert_eq!(said, ["granted", "granted", "waits"]);
    let refused = table.ask(&upgrade).unwrap_err();
    let LockRefusal::Conflict(conflict) = refused else { panic!("{refused}") };
    assert_eq!((conflict.reason, conflict.holder), (ConflictReason::Ahead, id(3)));
}

#[test]
fn refusals_say_who_and_why() {
    let since = Timestamp::from_micros(7);
    let conflict = |reason| LockConflict {
        group: "disk".to_owned(),
        key: "7".to_owned(),
        mode: LockMode::Exclusive,
        holder: id(9),
        command_type: "move_disk".to_owned(),
        since,
        reason,
    };
    let nine = id(9);
    for (reason, way) in [
        (ConflictReason::Held, format!("is locked by move_disk `{nine}`")),
        (ConflictReason::Ahead, format!("is waited for by move_disk `{nine}`")),
        (ConflictReason::Shared, format!("is held shared here and also by move_disk `{nine}`")),
    ] {
        let text = format!("disk `7` {way}, so it cannot be locked exclusive now");
        assert_eq!(conflict(reason).to_string(), text);
    }
    let link = |command, key: &str, holder| WaitsFor {
        command: id(command),
        command_type: "copy".to_owned(),
        group: "disk".to_owned(),
        key: key.to_owned(),
        holder: id(holder),
    };
    let cycle = WouldDeadlock { cycle: vec![link(1, "a", 2), link(2, "b", 1)] };
    let (one, two) = (id(1), id(2));
    let text = format!(
        "to wait for it would never end: copy `{one}` waits for disk `a` of `{two}`, \
         copy `{two}` waits for disk `b` of `{one}`"
    );
    assert_eq!(cycle.to_string(), text);
    let locks = vec![lock("a", LockMode::Shared), lock("b", LockMode::Shared)];
    let text = "it waited for disk `a`, disk `b` longer than it may";
    assert_eq!(LockTimedOut { locks }.to_string(), text);
}

#[test]
fn a_request_that_is_replaced_closes_no_cycle() {
    // 1 waits for `a` of 2, which waits for `b` of 1; then 1 asks for `c` in its stead.
    let before: [(u128, &[u128], i32, &[&str]); 4] =
        [(1, &[], 0, &["b"]), (2, &[], 0, &["a"]), (3, &[], 0, &["c"]), (1, &[], 1, &["a"])];
    let (mut table, said) = asked(&before);
    assert_eq!(said, ["granted", "granted", "granted", "waits"]);
    let waits = |owner, key| LockRequest {
        number: 1,
        waits: true,
        ..request(owner, &[], vec![lock(key, LockMode::Exclusive)])
    };
    assert!(matches!(table.ask(&waits(2, "b")), Err(LockRefusal::WouldDeadlock(_))));
    assert_eq!(table.ask(&waits(1, "c")), Ok(Answer::Waits { until: None }));
    assert_eq!(table.ask(&waits(2, "b")), Ok(Answer::Waits { until: None }));
    assert!(matches!(table.ask(&waits(1, "a")), Err(LockRefusal::WouldDeadlock(_))));
    assert_eq!(table.waiting().count(), 2, "a refusal changes nothing");
}

#[test]
fn a_sibling_waits_behind_a_stranger_that_waits_for_the_first() {
    // The first child ends: then 9 has its turn, or the lock is the parent's and 3 borrows it.
    let (_, said) = asked(&[(2, &[1], 0, &["a"]), (9, &[], 0, &["a"]), (3, &[1], 0, &["a"])]);
    assert_eq!(said, ["granted", "waits", "waits"]);
    // So it is where the stranger wants one key more, and where that is all that the sibling wants.
    for (theirs, mine) in
        [("a", &["a", "b"][..]), ("a", &["b"]), ("s a", &["a", "b"]), ("s a", &["b"])]
    {
        let (mut table, said) = asked(&[
            (2, &[1], 0, &[theirs]),
            (8, &[], 0, &["b"]),
            (9, &[], 0, &["a", "b"]),
            (3, &[1], 0, mine),
        ]);
        assert_eq!(said, ["granted", "granted", "waits", "waits"]);
        let mut granted = |change: fn(&mut LockTable)| {
            change(&mut table);
            table.grant().iter().map(|request| request.owner).collect::<Vec<_>>()
        };
        assert_eq!(granted(|table| table.pass(id(2), id(1), &"copy".into())), []);
        assert_eq!(granted(|table| table.release(id(8))), [id(3)]);
        assert_eq!(granted(|table| table.pass(id(3), id(1), &"copy".into())), []);
        assert_eq!(granted(|table| table.release(id(1))), [id(9)]);
    }
    // In line when the key passes to its parent, it is let in by that.
    let (mut table, said) =
        asked(&[(2, &[1], 0, &["a"]), (9, &[], 0, &["a", "b"]), (3, &[1], 0, &["b"])]);
    assert_eq!(said, ["granted", "waits", "waits"]);
    table.pass(id(2), id(1), &"copy".into());
    let granted: Vec<_> = table.grant().iter().map(|request| request.owner).collect();
    assert_eq!(granted, [id(3)]);
    // But not where the stranger's tree has what the sibling wants: that is not freed before.
    let (_, said) = asked(&[
        (2, &[1], 0, &["a"]),
        (10, &[], 0, &["b"]),
        (9, &[10], 0, &["a"]),
        (3, &[1], 0, &["b"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "deadlock"]);
    // Nor where another one of its tree waits for a key that passes up.
    let (_, said) = asked(&[
        (2, &[1], 0, &["a"]),
        (8, &[], 0, &["b"]),
        (9, &[10], 0, &["b"]),
        (11, &[10], 0, &["a"]),
        (3, &[1], 0, &["b"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "waits", "deadlock"]);
    // Nor where the branch that has the key waits for the sibling.
    let (_, said) = asked(&[
        (2, &[1], 0, &["a"]),
        (3, &[1], 0, &["c"]),
        (2, &[1], 1, &["c"]),
        (8, &[], 0, &["b"]),
        (9, &[], 0, &["a", "b"]),
        (3, &[1], 1, &["b"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "granted", "waits", "deadlock"]);
    // Where the parent itself has the one key, who waits for it gets the other no earlier either.
    let (mut table, said) = asked(&[
        (1, &[], 0, &["a"]),
        (8, &[], 0, &["b"]),
        (9, &[], 0, &["a", "b"]),
        (3, &[1], 0, &["b"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "waits"]);
    table.release(id(8));
    let granted: Vec<_> = table.grant().iter().map(|request| request.owner).collect();
    assert_eq!(granted, [id(3)], "it overtakes who waits for its parent");
}

#[test]
fn a_cycle_over_three_trees_is_told_whole() {
    // Each tree has what a child of the one before it waits for.
    let (mut table, said) = asked(&[
        (1, &[], 0, &["a"]),
        (2, &[], 0, &["b"]),
        (3, &[], 0, &["c"]),
        (11, &[1], 0, &["b"]),
        (12, &[2], 0, &["c"]),
    ]);
    assert_eq!(said, ["granted", "granted", "granted", "waits", "waits"]);
    let last = request(13, &[3], vec![lock("a", LockMode::Exclusive)]);
    let refused = table.ask(&LockRequest { waits: true, ..last }).unwrap_err();
    let [one, two, three] = [1, 2, 3].map(id);
    let [below_one, below_two, below_three] = [11, 12, 13].map(id);
    let text = format!(
        "to wait for it would never end: copy `{below_three}` waits for disk `a` of `{one}`, \
         copy `{below_one}` waits for disk `b` of `{two}`, \
         copy `{below_two}` waits for disk `c` of `{three}`"
    );
    assert_eq!(refused.to_string(), text);
}

#[test]
fn who_is_behind_one_that_may_leave_the_line_is_waited_behind() {
    // 9 waits for `a` of the flow and for `b`; 5 waits for `b` behind it, and a child of 5 for the
    // flow. If the flow's child passed 5 as well, and 9 left the line, both trees would wait.
    let (_, said) = asked(&[
        (1, &[], 0, &["a"]),
        (8, &[], 0, &["b"]),
        (9, &[], 0, &["a", "b"]),
        (5, &[], 0, &["b"]),
        (6, &[5], 0, &["a"]),
        (2, &[1], 0, &["b"]),
    ]);
    assert_eq!(said, ["granted", "granted", "waits", "waits", "waits", "deadlock"]);
}
