//! Requests that wait in line: where they are kept, who comes next, and when.

use std::sync::Arc;

use super::Fixture;
use super::sample::{
    Engine, asks, child, conflict, exclusive, id, insert, is_rejected, locked, once, progress,
    release, root, shared, step,
};
use crate::entity::OnceResult;
use crate::lock::{ConflictReason, Grant, Lock, LockMode, LockRequest};
use crate::status::CommandStatus;
use crate::store::{Outcome, Step, Store, Write};
use crate::time::Timestamp;

const QUEUED: Outcome = Outcome::Queued { until: None };

/// The root `n` asks for these locks, and waits for them.
fn waits(n: u128, locks: Vec<Lock>) -> Step {
    patient(asks(n, locks), 0, None)
}

/// The same of a child of the root `parent`.
fn child_waits(parent: u128, n: u128, locks: Vec<Lock>) -> Step {
    let mut step = waits(n, locks);
    let mut request = LockRequest::clone(step.request.as_ref().expect("a request"));
    request.ancestors = vec![id(parent)];
    (step.root, step.request) = (id(parent), Some(Arc::new(request)));
    step
}

fn patient(mut step: Step, number: i32, until: Option<Timestamp>) -> Step {
    let request = LockRequest::clone(step.request.as_ref().expect("a request"));
    step.request = Some(Arc::new(LockRequest { number, waits: true, until, ..request }));
    step
}

fn leaves(n: u128, number: impl Into<Option<i32>>) -> Step {
    step(id(n), vec![Write::LeaveLine(id(n), number.into())])
}

/// `n` was granted what it waited for.
fn grant(n: u128) -> Grant {
    Grant { root: id(n), command: id(n), number: 0 }
}

impl<S: Store> Engine<S> {
    /// Who holds `key`, and who waits for it, in order.
    async fn around(&self, key: &str) -> (Vec<u128>, Vec<u128>) {
        let rows = self.store.locks(None).await.expect("failed to read the locks");
        let number = |id: crate::CommandId| id.as_uuid().as_u128();
        let held = rows.held.iter().filter(|held| held.lock.key == key);
        let mut held: Vec<_> = held.map(|held| number(held.owner)).collect();
        held.sort_unstable();
        let asks = |locks: &[Lock]| locks.iter().any(|lock| lock.key == key);
        let mut waiting: Vec<_> =
            rows.waiting.iter().filter(|waiting| asks(&waiting.request.locks)).collect();
        waiting.sort_unstable_by_key(|waiting| waiting.rank);
        (held, waiting.iter().map(|waiting| number(waiting.request.owner)).collect())
    }

    /// The roots `from` to `to` are stored.
    async fn roots(&self, from: u128, to: u128) {
        self.apply((from..=to).map(|n| insert(root(n)))).await;
    }

    /// What one step makes of the line: the requests that it grants.
    async fn grants(&self, step: Step) -> Vec<Grant> {
        let committed = self.committed([step]).await;
        assert_eq!(committed.outcomes, [Outcome::Applied]);
        let mut granted = committed.granted;
        granted.sort_unstable();
        granted
    }
}

/// Of a step that waits nothing is stored but its order in the line.
pub async fn a_step_that_waits_stores_nothing_else(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")]), insert(root(2))]).await;
    let mut step = waits(2, vec![exclusive("a"), shared("b")]);
    step.writes.push(Write::Update(id(2), Box::new(progress(CommandStatus::Failed))));
    assert_eq!(engine.commit([step.clone()]).await, [QUEUED]);
    assert_eq!(engine.entity(id(2)).await, Some(root(2)));
    assert_eq!(engine.around("a").await, (vec![1], vec![2]));
    assert_eq!(engine.around("b").await, (vec![], vec![2]), "nothing is granted in part");
    assert_eq!(engine.grants(release(1)).await, [grant(2)]);
    assert_eq!(engine.around("b").await, (vec![2], vec![]));
    assert_eq!(engine.commit([step]).await, [Outcome::Applied], "it has what it asks for");
}

/// Who lets go lets in the next, in the same commit and in the order of asking.
pub async fn the_line_moves_in_its_order(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 6).await;
    engine.apply([asks(1, vec![exclusive("a")])]).await;
    for (n, lock) in [(2, shared("a")), (3, shared("a")), (4, exclusive("a")), (5, shared("a"))] {
        assert_eq!(engine.commit([waits(n, vec![lock])]).await, [QUEUED]);
    }
    assert_eq!(engine.grants(release(1)).await, [grant(2), grant(3)], "those who share, together");
    let ahead = engine.commit([asks(6, vec![shared("a")])]).await;
    let ahead = conflict(&ahead[0]);
    assert_eq!((ahead.reason, ahead.holder), (ConflictReason::Ahead, id(4)), "nobody overtakes");
    assert_eq!(engine.grants(release(2)).await, []);
    assert_eq!(engine.grants(release(3)).await, [grant(4)]);
    assert_eq!(engine.grants(release(4)).await, [grant(5)]);
    assert_eq!(engine.around("a").await, (vec![5], vec![]));
}

/// A request waits behind an earlier one on any of its keys, also where another key is free.
pub async fn a_request_waits_on_any_of_its_keys(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 5).await;
    let two = || vec![exclusive("a"), exclusive("b")];
    engine.apply([asks(1, vec![exclusive("a")])]).await;
    let steps = [waits(2, two()), waits(3, vec![exclusive("b")]), waits(4, vec![exclusive("c")])];
    assert_eq!(engine.commit(steps).await, [QUEUED, QUEUED, Outcome::Applied]);
    let left = engine.grants(leaves(2, 0)).await;
    assert_eq!(left, [grant(3)], "who was behind the one that left");
    assert_eq!(engine.around("a").await, (vec![1], vec![]));
}

/// A line outlives the engine, and asking again keeps order and time.
pub async fn a_line_survives_the_engine(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 3).await;
    engine.apply([asks(1, vec![exclusive("a")])]).await;
    let until = Some(Timestamp::from_micros(4711));
    engine.commit([patient(asks(2, vec![exclusive("a")]), 0, until)]).await;
    engine.commit([waits(3, vec![exclusive("a")])]).await;
    drop(engine);
    let engine = Engine::start(fixture).await;
    let later = Some(Timestamp::from_micros(9000));
    let again = [waits(3, vec![exclusive("a")]), patient(asks(2, vec![exclusive("a")]), 0, later)];
    assert_eq!(engine.commit(again).await, [QUEUED, Outcome::Queued { until }]);
    assert_eq!(engine.around("a").await, (vec![1], vec![2, 3]));
    assert_eq!(engine.grants(release(1)).await, [grant(2)]);
}

/// Who asks for something else under the same number does not wait for the first any more.
pub async fn another_request_of_the_same_number_takes_its_place(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 2).await;
    engine.apply([asks(1, vec![exclusive("a"), exclusive("b")])]).await;
    engine.commit([waits(2, vec![exclusive("a")])]).await;
    assert_eq!(engine.commit([waits(2, vec![exclusive("b")])]).await, [QUEUED]);
    assert_eq!(engine.around("a").await, (vec![1], vec![]));
    let other = patient(asks(2, vec![exclusive("a")]), 1, None);
    assert_eq!(engine.commit([other]).await, [QUEUED], "another number is another request");
    assert_eq!(engine.around("a").await, (vec![1], vec![2]));
    assert_eq!(engine.around("b").await, (vec![1], vec![2]));
    engine.apply([leaves(2, 1)]).await;
    assert_eq!(engine.around("a").await, (vec![1], vec![]));
    assert_eq!(engine.around("b").await, (vec![1], vec![2]));
    engine.commit([patient(asks(2, vec![exclusive("a")]), 2, None)]).await;
    engine.apply([leaves(2, None)]).await;
    assert_eq!(engine.around("a").await, (vec![1], vec![]));
    assert_eq!(engine.around("b").await, (vec![1], vec![]));
}

/// What a command has already it neither waits for, nor keeps from those who may borrow it.
pub async fn what_a_command_has_is_not_asked_for_again(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 3).await;
    engine.apply([insert(child(1, 4, 0)), insert(child(1, 5, 1))]).await;
    let two = || vec![shared("a"), exclusive("b")];
    engine.apply([asks(1, vec![exclusive("a")]), asks(2, vec![exclusive("b")])]).await;
    engine.apply([child_waits(1, 4, vec![exclusive("a")])]).await;
    assert_eq!(engine.commit([waits(1, two())]).await, [QUEUED], "its child has borrowed `a`");
    assert_eq!(engine.around("a").await, (vec![1, 4], vec![]));
    assert_eq!(engine.around("b").await, (vec![2], vec![1]));
    assert_eq!(engine.commit([waits(3, vec![exclusive("b")]), waits(1, two())]).await, [QUEUED; 2]);
    assert_eq!(engine.around("b").await, (vec![2], vec![1, 3]), "it keeps its order");
    engine.apply([release(4), child_waits(1, 5, vec![exclusive("a")])]).await;
    assert_eq!(engine.grants(release(2)).await, [grant(1)]);
    assert_eq!(engine.around("a").await, (vec![1, 5], vec![]));
    assert_eq!(engine.around("b").await, (vec![1], vec![3]));
    let held = engine.store.locks(None).await.expect("failed to read the locks").held;
    let kept = held.iter().find(|held| held.owner == id(1) && held.lock.key == "a");
    assert_eq!(kept.expect("it has it").lock, exclusive("a"), "the stronger mode");
    assert_eq!(engine.commit([waits(1, two())]).await, [Outcome::Applied], "it has both");
}

/// A cycle is seen also where it goes through the start of a root that has a lock already.
pub async fn a_start_that_has_a_lock_closes_no_cycle(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 6).await;
    for has in ["a", "z"] {
        let hold = [(1, has), (2, "b"), (3, "c")].map(|(n, key)| asks(n, vec![exclusive(key)]));
        engine.apply(hold).await;
        // 2 waits for who waits for 1, and that one is first in no line.
        let late = patient(asks(2, vec![exclusive("c")]), 1, None);
        let both = vec![exclusive("c"), exclusive(has)];
        let [first, second] = [(4, "c"), (6, has)].map(|(n, key)| waits(n, vec![exclusive(key)]));
        let line = [first, second, waits(5, both), late];
        for step in line {
            assert_eq!(engine.commit([step]).await, [QUEUED]);
        }
        let refused = engine.commit([waits(1, vec![exclusive("a"), exclusive("b")])]).await;
        let [Outcome::WouldDeadlock(cycle)] = &refused[..] else { panic!("{has}: {refused:?}") };
        let cycle: Vec<_> = cycle.cycle.iter().map(|link| (link.command, &*link.key)).collect();
        assert_eq!(cycle, [(id(1), "b"), (id(2), "c"), (id(5), has)]);
        engine.apply((1..=6).map(release)).await;
    }
}

/// Nobody queues behind a request that waits for a command above it, whichever of its keys that has.
pub async fn who_waits_for_an_ancestor_is_passed_on_all_its_keys(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 4).await;
    engine.apply([insert(child(1, 5, 0)), insert(child(1, 6, 1))]).await;
    let (one, nine) = ("1", "9");
    let stranger = || waits(2, vec![exclusive(one), exclusive(nine)]);
    // The flow has a key that the stranger wants, and a third one shares the other.
    engine.apply([asks(1, vec![exclusive(one)]), asks(3, vec![shared(nine)])]).await;
    assert_eq!(engine.commit([stranger()]).await, [QUEUED]);
    let asks_shared = child_waits(1, 5, vec![shared(nine)]);
    assert_eq!(engine.commit([asks_shared]).await, [Outcome::Applied]);
    assert_eq!(engine.commit([child_waits(1, 6, vec![exclusive(nine)])]).await, [QUEUED]);
    assert_eq!(engine.grants(release(5)).await, []);
    let granted = engine.grants(release(3)).await;
    assert_eq!(granted, [Grant { root: id(1), command: id(6), number: 0 }]);
    engine.apply([release(6)]).await;
    assert_eq!(engine.grants(release(1)).await, [grant(2)]);
}

/// Who is behind a request that is passed is not passed with it.
pub async fn who_is_behind_one_that_is_passed_is_ahead(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 3).await;
    engine.apply([insert(child(1, 5, 0)), asks(1, vec![exclusive("1")])]).await;
    for (n, keys) in [(2, vec!["1", "9"]), (3, vec!["9"])] {
        let locks = keys.into_iter().map(exclusive).collect();
        assert_eq!(engine.commit([waits(n, locks)]).await, [QUEUED]);
    }
    let mut impatient = child_waits(1, 5, vec![exclusive("9")]);
    let request = LockRequest::clone(impatient.request.as_ref().expect("a request"));
    impatient.request = Some(Arc::new(LockRequest { waits: false, ..request }));
    let refused = engine.commit([impatient]).await;
    let ahead = conflict(&refused[0]);
    assert_eq!((ahead.reason, ahead.holder), (ConflictReason::Ahead, id(3)));
    let refused = engine.commit([child_waits(1, 5, vec![exclusive("9")])]).await;
    assert!(matches!(&refused[..], [Outcome::WouldDeadlock(_)]), "{refused:?}");
    assert_eq!(engine.grants(release(1)).await, [grant(2)]);
    assert_eq!(engine.grants(release(2)).await, [grant(3)]);
}

/// So it is as well with those who only wait: one may pass the first, and is in the way of another.
pub async fn who_waits_is_passed_with_none_that_it_may_pass(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 4).await;
    engine.apply([insert(child(1, 5, 0)), insert(child(2, 6, 0))]).await;
    engine
        .apply([(1, "1"), (2, "2"), (3, "9")].map(|(n, key)| asks(n, vec![exclusive(key)])))
        .await;
    let all = waits(4, ["9", "1", "2"].map(exclusive).into());
    assert_eq!(engine.commit([all]).await, [QUEUED]);
    // The command above it has what the first wants; so it is with the next one.
    for (parent, n) in [(2, 6), (1, 5)] {
        assert_eq!(engine.commit([child_waits(parent, n, vec![exclusive("9")])]).await, [QUEUED]);
    }
    let held = engine.store.locks(None).await.expect("failed to read the locks").held;
    let taken = held.into_iter().find(|held| held.owner == id(2)).expect("it has its lock");
    let (owner, lock, since) = (taken.owner, taken.lock, taken.since);
    assert_eq!(
        engine.grants(step(id(2), vec![Write::ReleaseOne { owner, lock, since }])).await,
        []
    );
    assert_eq!(engine.grants(release(3)).await, [], "it is behind one that is behind the first");
    let (held, waiting) = engine.around("9").await;
    assert_eq!((held, waiting), (vec![], vec![4, 6, 5]));
}

/// Who ends, or passes its locks on, waits for nothing any more, and who is behind it comes next.
pub async fn who_ends_leaves_the_line(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 4).await;
    engine.apply([insert(child(2, 5, 0)), asks(1, vec![shared("a")])]).await;
    let steps = [child_waits(2, 5, vec![exclusive("a")]), waits(3, vec![shared("a")])];
    assert_eq!(engine.commit(steps).await, [QUEUED, QUEUED]);
    let pass = Write::Pass { from: id(5), to: id(2), command_type: "move_disk".into() };
    assert_eq!(engine.grants(step(id(2), vec![pass])).await, [grant(3)]);
    engine.commit([waits(4, vec![exclusive("a")])]).await;
    assert_eq!(engine.grants(release(4)).await, []);
    assert_eq!(engine.around("a").await, (vec![1, 3], vec![]));
}

/// What passes to a parent is no longer in the way of its other children.
pub async fn a_pass_lets_in_a_sibling(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(child(1, 2, 0)), insert(child(1, 3, 1))]).await;
    let takes = |n| child_waits(1, n, vec![exclusive("a")]);
    assert_eq!(engine.commit([takes(2), takes(3)]).await, [Outcome::Applied, QUEUED]);
    let pass = Write::Pass { from: id(2), to: id(1), command_type: "move_disk".into() };
    let granted = engine.grants(step(id(1), vec![pass])).await;
    assert_eq!(granted, [Grant { root: id(1), command: id(3), number: 0 }]);
    assert_eq!(engine.around("a").await, (vec![1, 3], vec![]));
}

/// One lock that is taken away goes to the next; the others of its owner stay.
pub async fn one_lock_is_taken_away(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 2).await;
    engine.apply([asks(1, vec![exclusive("a"), exclusive("b")])]).await;
    engine.commit([waits(2, vec![exclusive("a")])]).await;
    let takes = |lock, since| {
        let since = Timestamp::from_micros(since);
        step(id(9), vec![Write::ReleaseOne { owner: id(1), lock, since }])
    };
    let held = engine.store.locks(None).await.expect("failed to read the locks").held;
    let since = held[0].since.as_micros();
    for other in [takes(shared("a"), since), takes(exclusive("a"), since - 1)] {
        assert_eq!(engine.grants(other).await, [], "it is another lock");
    }
    assert_eq!(engine.around("a").await, (vec![1], vec![2]));
    assert_eq!(engine.grants(takes(exclusive("a"), since)).await, [grant(2)]);
    assert_eq!(engine.around("b").await, (vec![1], vec![]));
    // It has let go of the lock that is meant, and taken it again, also in the same batch.
    let mut again = asks(1, vec![exclusive("b")]);
    let mut request = LockRequest::clone(again.request.as_ref().expect("a request"));
    request.at = Timestamp::from_micros(since + 1);
    again.request = Some(Arc::new(request));
    let seen = || takes(exclusive("b"), since);
    engine.apply([release(1), again, seen()]).await;
    assert_eq!(engine.around("b").await, (vec![1], vec![]));
    engine.apply([seen()]).await;
    assert_eq!(engine.around("b").await, (vec![1], vec![]));
    engine.apply([takes(exclusive("b"), since + 1)]).await;
    assert_eq!(engine.around("b").await, (vec![], vec![]));
}

/// A request that would close a cycle of waiting trees is refused, and names it.
pub async fn a_cycle_is_refused(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 2).await;
    engine.apply([insert(child(1, 3, 0)), insert(child(2, 4, 0))]).await;
    engine.apply([asks(1, vec![exclusive("a")]), asks(2, vec![exclusive("b")])]).await;
    assert_eq!(engine.commit([child_waits(1, 3, vec![exclusive("b")])]).await, [QUEUED]);
    let refused = engine.commit([child_waits(2, 4, vec![shared("a")])]).await;
    let [Outcome::WouldDeadlock(cycle)] = &refused[..] else { panic!("{refused:?}") };
    let cycle: Vec<_> = cycle.cycle.iter().map(|link| (link.command, &*link.key)).collect();
    assert_eq!(cycle, [(id(4), "a"), (id(3), "b")]);
    assert_eq!(engine.around("a").await, (vec![1], vec![]));
    let both = [release(1), child_waits(2, 4, vec![shared("a")])];
    assert_eq!(engine.commit(both).await, [Outcome::Applied, Outcome::Applied]);
}

/// A request of a command that is not stored is rejected, and does not join the line.
pub async fn who_is_not_stored_does_not_wait(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([locked(1, vec![exclusive("a")])]).await;
    let outcomes = engine.commit([waits(9, vec![exclusive("a")]), insert(root(2))]).await;
    assert!(is_rejected(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Applied);
    assert_eq!(engine.around("a").await, (vec![1], vec![]));
}

/// Beside a step that is rejected the others wait, and are granted, as if it had not been there.
pub async fn a_rejected_step_leaves_the_line_as_it_is(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 4).await;
    engine.apply([asks(1, vec![exclusive("a")]), asks(4, vec![exclusive("b")])]).await;
    engine.commit([waits(2, vec![exclusive("a")])]).await;
    let mut poisoned = release(4);
    poisoned.writes.push(Write::Update(id(77), Box::new(progress(CommandStatus::Failed))));
    let steps = [waits(3, vec![exclusive("b")]), poisoned, release(1)];
    let committed = engine.committed(steps).await;
    assert_eq!((&committed.outcomes[0], &committed.outcomes[2]), (&QUEUED, &Outcome::Applied));
    assert!(is_rejected(&committed.outcomes[1]), "{committed:?}");
    assert_eq!(committed.granted, [grant(2)]);
    assert_eq!(engine.around("a").await, (vec![2], vec![]));
    assert_eq!(engine.around("b").await, (vec![4], vec![3]));
}

/// What is asked about one command is about the keys that it waits for.
pub async fn the_locks_in_the_way_of_one_command(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 4).await;
    engine.apply([asks(1, vec![exclusive("a")]), asks(2, vec![exclusive("b")])]).await;
    engine.commit([waits(3, vec![exclusive("a")]), waits(4, vec![exclusive("b")])]).await;
    let rows = engine.store.locks(Some(id(3))).await.expect("failed to read the locks");
    let held: Vec<_> = rows.held.iter().map(|held| held.owner).collect();
    let waiting: Vec<_> = rows.waiting.iter().map(|waiting| waiting.request.owner).collect();
    assert_eq!((held, waiting), (vec![id(1)], vec![id(3)]));
    let request = &rows.waiting[0].request;
    assert_eq!((request.waits, request.until, request.number), (true, None, 0));
    assert_eq!(request.locks, [exclusive("a")]);
    let none = engine.store.locks(Some(id(1))).await.expect("failed to read the locks");
    assert_eq!(none, crate::store::LockRows::default());
}

/// Keys are compared to the byte, in line as well.
pub async fn hostile_text_waits(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.roots(1, 20).await;
    let texts = ["a|b", "a", "|b", "'; DROP TABLE lock_waiters; --", "ä", "a\u{308}", " ", ""];
    let lock = |text: &str| Lock {
        group: text.to_owned().into(),
        key: text.to_owned(),
        mode: LockMode::Exclusive,
    };
    for (n, text) in (1..).step_by(2).zip(texts) {
        engine.apply([asks(n, vec![lock(text)])]).await;
        assert_eq!(engine.commit([waits(n + 1, vec![lock(text)])]).await, [QUEUED], "{text:?}");
    }
    for (n, text) in (1..).step_by(2).zip(texts) {
        assert_eq!(engine.grants(release(n)).await, [grant(n + 1)], "{text:?}");
    }
}

/// The answer to a request for a lock comes back with the lock.
pub async fn the_answer_to_a_late_request_comes_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let answer = OnceResult { lock: Some(shared("a'\"")), ..once(1, 3) };
    let write = Write::Once(Box::new(answer.clone()));
    engine.apply([insert(root(1)), step(id(1), vec![write])]).await;
    let tree = engine.tree(id(1)).await.expect("it is stored");
    assert_eq!(tree.once_results, [answer]);
}
