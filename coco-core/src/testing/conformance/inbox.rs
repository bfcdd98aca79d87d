//! Events find those who listen, once each, and wait in their inboxes.

use std::sync::Arc;

use super::Fixture;
use super::sample::{
    Engine, asking, child, exclusive, id, insert, is_rejected, locked, publish, published, root,
    step, subscribe, subscription, write,
};
use crate::entity::{Delivery, Published, Subscription};
use crate::id::CommandId;
use crate::store::{Committed, Delivered, Outcome, Step, Store, Write};
use crate::time::Timestamp;

/// The root `n` listens for these keys.
fn listens<const N: usize>(n: u128, keys: [&str; N]) -> Step {
    let writes = keys.map(|key| Write::Subscribe(Box::new(subscription(n, key))));
    step(id(n), writes.into())
}

/// The step at this place gave an event to the root `n`.
fn to(step: usize, n: u128) -> Delivered {
    Delivered { step, root: id(n), command: id(n) }
}

fn handled(n: u128, last: i64) -> Step {
    write(n, Write::Handled(id(n), last))
}

fn unsubscribes(n: u128) -> Step {
    write(n, Write::Unsubscribe(id(n)))
}

impl<S: Store> Engine<S> {
    async fn inbox(&self, command: CommandId, limit: usize) -> Vec<Delivery> {
        self.store.inbox(command, limit).await.expect("failed to read an inbox")
    }

    /// The events that wait for the root `n`.
    async fn waiting(&self, n: u128) -> Vec<Published> {
        self.inbox(id(n), 1000).await.into_iter().map(|delivery| delivery.event).collect()
    }

    /// Commits what must be applied, and gives what was delivered, in an order of its own.
    async fn delivered(&self, steps: impl IntoIterator<Item = Step>) -> Vec<Delivered> {
        let Committed { outcomes, delivered, .. } = self.committed(steps).await;
        let all_applied = outcomes.iter().all(|outcome| *outcome == Outcome::Applied);
        assert!(all_applied, "not all were applied: {outcomes:?}");
        sorted(delivered)
    }
}

fn sorted(mut delivered: Vec<Delivered>) -> Vec<Delivered> {
    delivered.sort_by_key(|one| (one.step, one.command));
    delivered
}

/// An event goes into the inbox of each command that listens for its key, and comes back as it was.
pub async fn an_event_goes_to_who_listens(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), insert(root(3)), insert(child(3, 4, 0))]).await;
    let of_child =
        Subscription { command_id: id(4), root_command_id: id(3), ..subscription(3, "disk|1") };
    let of_child = step(id(3), vec![Write::Subscribe(Box::new(of_child))]);
    engine.apply([listens(1, ["disk|1"]), listens(2, ["disk|2"]), of_child]).await;
    let event = Published {
        payload: r#"{"disk":[1,null,"x"]}"#.into(),
        published_at: Timestamp::from_micros(i64::MAX),
        ..published("event 1", "disk|1")
    };
    let step_of = |event: &Published| step(id(2), vec![Write::Publish(Box::new(event.clone()))]);
    let delivered = engine.delivered([insert(root(5)), step_of(&event)]).await;
    let of_child = Delivered { step: 1, root: id(3), command: id(4) };
    assert_eq!(delivered, [to(1, 1), of_child]);
    for n in [1, 4] {
        assert_eq!(engine.waiting(n).await, std::slice::from_ref(&event), "{n}");
    }
    for n in [2, 3, 5, 99] {
        assert_eq!(engine.waiting(n).await, [], "{n}");
    }
}

/// Whoever begins to listen in a batch hears all events of it, whatever the order of its steps.
pub async fn a_subscription_of_the_same_batch_counts(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let mut both = insert(root(1));
    both.writes.extend(subscribe(1, "disk|1").writes);
    both.writes.extend(publish(1, "event 1", "disk|1").writes);
    let later = publish(1, "event 2", "disk|1");
    let delivered = engine.delivered([both, later, insert(root(2)), subscribe(2, "disk|1")]).await;
    assert_eq!(delivered, [to(0, 1), to(0, 2), to(1, 1), to(1, 2)]);
    let expected = [published("event 1", "disk|1"), published("event 2", "disk|1")];
    assert_eq!(engine.waiting(1).await, expected);
    assert_eq!(engine.waiting(2).await, expected);
}

/// A star stands for one segment, any.
pub async fn a_star_stands_for_any_segment(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply((1..=7).map(|n| insert(root(n)))).await;
    let keys = ["a|b|c", "a|*|c", "*|*|*", "a|*", "*|b|d", "*", "a|b*|c"];
    engine.apply((1..).zip(keys).map(|(n, key)| subscribe(n, key))).await;
    let delivered = engine
        .delivered([
            publish(1, "1", "a|b|c"),
            publish(1, "2", "a|x|c"),
            publish(1, "3", "x|b|d"),
            publish(1, "4", "a|b"),
            publish(1, "5", "a"),
            publish(1, "6", "a|b|c|d"),
        ])
        .await;
    let expected = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (2, 5), (3, 4), (4, 6)];
    assert_eq!(delivered, expected.map(|(step, n)| to(step, n)));
    // Six segments, of which each may be a star.
    let wild = listens(7, ["a|b|c|d|e|f", "*|b|c|d|e|f", "*|*|*|*|*|*"]);
    assert_eq!(engine.delivered([wild, publish(1, "7", "a|b|c|d|e|f")]).await, [to(1, 7)]);
}

/// A command with several subscriptions that match hears an event once.
pub async fn two_subscriptions_deliver_once(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), listens(1, ["a|*", "*|b", "a|b"])]).await;
    assert_eq!(engine.delivered([publish(1, "1", "a|b")]).await, [to(0, 1)]);
    assert_eq!(engine.waiting(1).await, [published("1", "a|b")]);
}

/// A command hears the same event once, however often and with whatever it is published, also
/// after it has handled it; another command hears it all the same.
pub async fn an_event_is_delivered_once(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), listens(1, ["a", "b"])]).await;
    let twice = [publish(1, "1", "a"), publish(2, "1", "a"), publish(2, "1", "b")];
    assert_eq!(engine.delivered(twice).await, [to(0, 1)]);
    let other = Published { payload: "7".into(), ..published("1", "a") };
    let other = || write(2, Write::Publish(Box::new(other.clone())));
    assert_eq!(engine.delivered([other()]).await, []);
    assert_eq!(engine.waiting(1).await, [published("1", "a")]);

    engine.apply([handled(1, i64::MAX)]).await;
    let again = [publish(1, "1", "b"), publish(1, "1", "a"), subscribe(2, "b")];
    assert_eq!(engine.delivered(again).await, [to(0, 2)]);
    assert_eq!(engine.waiting(1).await, []);
    assert_eq!(engine.waiting(2).await, [published("1", "b")]);
    let both =
        Step { writes: [other(), publish(2, "2", "a")].map(|it| it.writes).concat(), ..other() };
    assert_eq!(engine.delivered([both]).await, [to(0, 1)]);
    assert_eq!(engine.waiting(1).await, [published("2", "a")]);
}

/// The events of a command are numbered in the order in which they were published.
pub async fn events_are_numbered_in_their_order(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), listens(1, ["a", "*|b"]), insert(root(2))]).await;
    engine.apply([subscribe(2, "*")]).await;
    let mut expected = Vec::new();
    for batch in 0..5 {
        // Neither the identities nor the keys are in this order.
        let name = |n| format!("{} {batch}", 9 - n);
        let key = |n: u32| if n.is_multiple_of(2) { "a" } else { "x|b" };
        let events = (0..10).map(|n| publish(2, &name(n), key(n)));
        engine.apply(events).await;
        expected.extend((0..10).map(|n| published(&name(n), key(n))));
    }
    let inbox = engine.inbox(id(1), 100).await;
    assert!(inbox.is_sorted_by(|a, b| a.number < b.number), "{inbox:?}");
    assert!(inbox.iter().map(|delivery| &delivery.event).eq(&expected));
    assert_eq!(engine.waiting(2).await.len(), 25);
    let first = engine.inbox(id(1), 3).await;
    assert_eq!(first, inbox[..3]);
    assert_eq!(engine.inbox(id(1), 0).await, []);
    // What is new has a greater number, also when the inbox is empty.
    let last = inbox[49].number;
    engine.apply([handled(1, last)]).await;
    engine.apply([publish(2, "new", "a")]).await;
    assert!(engine.inbox(id(1), 1).await[0].number > last);
}

/// What is handled up to a number waits no more; what came later does, and what others have.
pub async fn what_is_handled_waits_no_more(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in [1, 2] {
        engine.apply([insert(root(n)), subscribe(n, "a")]).await;
    }
    engine.apply(["1", "2", "3", "4"].map(|name| publish(1, name, "a"))).await;
    let inbox = engine.inbox(id(1), 10).await;
    let waiting = async |n| {
        let names = engine.waiting(n).await.into_iter().map(|event| event.event_id.to_string());
        names.collect::<Vec<_>>().join(" ")
    };
    engine.apply([handled(1, inbox[0].number - 1)]).await;
    assert_eq!((waiting(1).await, waiting(2).await), ("1 2 3 4".into(), "1 2 3 4".into()));
    engine.apply([handled(1, inbox[1].number), handled(1, inbox[0].number)]).await;
    assert_eq!((waiting(1).await, waiting(2).await), ("3 4".into(), "1 2 3 4".into()));
    engine.apply([handled(1, inbox[1].number), handled(99, i64::MAX)]).await;
    assert_eq!((waiting(1).await, waiting(2).await), ("3 4".into(), "1 2 3 4".into()));
    // An event of the same batch is not what was handled.
    engine.apply([handled(1, inbox[3].number), publish(1, "5", "a")]).await;
    assert_eq!((waiting(1).await, waiting(2).await), ("5".into(), "1 2 3 4 5".into()));
}

/// Who listens no more has neither subscriptions nor events; what it had heard it can hear again.
pub async fn who_listens_no_more_is_forgotten(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in [1, 2] {
        engine.apply([insert(root(n)), listens(n, ["a", "*|b"])]).await;
    }
    engine.apply([publish(1, "1", "a"), publish(1, "2", "a")]).await;
    let first = engine.inbox(id(1), 1).await[0].number;
    engine.apply([handled(1, first)]).await;
    engine.apply([unsubscribes(1), unsubscribes(99)]).await;
    assert_eq!(engine.tree(id(1)).await.expect("it is stored").subscriptions, []);
    assert_eq!(engine.waiting(1).await, []);
    assert_eq!(engine.waiting(2).await.len(), 2);
    assert_eq!(engine.delivered([publish(1, "3", "a")]).await, [to(0, 2)]);
    let again = [subscribe(1, "a"), publish(1, "1", "a"), publish(1, "2", "a")];
    assert_eq!(engine.delivered(again).await, [to(1, 1), to(2, 1)]);
    // In one batch it hears what is published, and then is no more.
    let last = [unsubscribes(1), publish(1, "4", "a"), subscribe(1, "c"), publish(1, "5", "c")];
    assert_eq!(engine.delivered(last).await, [to(1, 1), to(1, 2), to(3, 1)]);
    assert_eq!(engine.waiting(1).await, []);
    assert_eq!(engine.tree(id(1)).await.expect("it is stored").subscriptions, []);
    assert_eq!(engine.delivered([publish(1, "6", "c")]).await, []);
}

/// An event that nobody listens for is gone.
pub async fn an_event_for_nobody(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), subscribe(2, "b")]).await;
    assert_eq!(engine.delivered([publish(1, "1", "a")]).await, []);
    engine.apply([subscribe(1, "a")]).await;
    assert_eq!((engine.waiting(1).await, engine.waiting(2).await), (vec![], vec![]));
    assert_eq!(engine.delivered([publish(1, "1", "a")]).await, [to(0, 1)]);
}

/// What commands listen for comes back with their trees; to say it again changes nothing.
pub async fn subscriptions_come_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let of_child = Subscription { root_command_id: id(1), ..subscription(2, "a|*") };
    let child_listens = step(id(1), vec![Write::Subscribe(Box::new(of_child.clone()))]);
    engine.apply([insert(root(1)), insert(child(1, 2, 0)), insert(root(3))]).await;
    engine.apply([listens(1, ["b", "a"]), child_listens, subscribe(3, "a")]).await;
    let expected = [subscription(1, "a"), subscription(1, "b"), of_child];
    let stored = async |n| engine.tree(id(n)).await.expect("it is stored").subscriptions;
    assert_eq!(stored(1).await, expected);
    assert_eq!(stored(3).await, [subscription(3, "a")]);
    let later =
        Subscription { created_at: Timestamp::from_micros(i64::MAX), ..subscription(1, "a") };
    let later = || write(1, Write::Subscribe(Box::new(later.clone())));
    engine.apply([later(), later()]).await;
    assert_eq!(stored(1).await, expected);
    let mut trees = engine.store.open_trees(None, None, 10).await.expect("failed to read");
    trees[0].subscriptions.sort_by(|a, b| (a.command_id, &a.key).cmp(&(b.command_id, &b.key)));
    assert_eq!(trees[0].subscriptions, expected);
    assert_eq!(trees[1].subscriptions, [subscription(3, "a")]);
}

/// Nobody listens who is not stored; the other steps are applied, and their events are heard.
pub async fn a_subscription_of_an_absent_command_is_rejected(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2))]).await;
    let beside = step(
        id(2),
        vec![
            Write::Publish(Box::new(published("1", "a"))),
            Write::Subscribe(Box::new(subscription(9, "a"))),
        ],
    );
    let steps =
        [beside, publish(2, "2", "a"), publish(3, "3", "a"), subscribe(8, "a"), subscribe(1, "a")];
    let committed = engine.committed(steps).await;
    let outcomes = &committed.outcomes;
    assert!(is_rejected(&outcomes[0]) && is_rejected(&outcomes[3]), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Skipped);
    assert_eq!((&outcomes[2], &outcomes[4]), (&Outcome::Applied, &Outcome::Applied));
    // The subscription stands behind the event.
    assert_eq!(committed.delivered, [to(2, 1)]);
    assert_eq!(engine.waiting(1).await, [published("3", "a")]);
    assert_eq!((engine.waiting(8).await, engine.waiting(9).await), (vec![], vec![]));
}

/// Events, subscriptions and ends of other steps are as if the one that is rejected were not there.
pub async fn an_event_beside_a_rejected_step(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply((1..=5).map(|n| insert(root(n)))).await;
    engine.apply([subscribe(1, "a"), subscribe(2, "a"), publish(1, "0", "a")]).await;
    let number = engine.inbox(id(1), 1).await[0].number;
    let committed = engine
        .committed([
            publish(3, "1", "a"),
            unsubscribes(2),
            insert(root(5)),
            publish(5, "skipped", "a"),
            publish(4, "2", "a"),
            handled(1, number),
            publish(3, "1", "a"),
            subscribe(3, "a"),
        ])
        .await;
    let outcomes = &committed.outcomes;
    assert!(is_rejected(&outcomes[2]), "{outcomes:?}");
    let is = |what: &Outcome| outcomes.iter().filter(|outcome| *outcome == what).count();
    assert_eq!((is(&Outcome::Skipped), is(&Outcome::Applied)), (1, 6), "{outcomes:?}");
    let expected = [(0, 1), (0, 2), (0, 3), (4, 1), (4, 2), (4, 3)];
    assert_eq!(sorted(committed.delivered), expected.map(|(step, n)| to(step, n)));
    let events = [published("1", "a"), published("2", "a")];
    assert_eq!(engine.waiting(1).await, events);
    assert_eq!(engine.waiting(2).await, []);
    assert_eq!(engine.waiting(3).await, events);
}

/// A step that is refused or waits for a lock publishes nothing, and nobody listens by it.
pub async fn a_refused_step_says_nothing(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let stored = (1..=3).map(|n| insert(root(n)));
    engine.apply(stored.chain([locked(9, vec![exclusive("x")]), subscribe(1, "a")])).await;
    engine.apply([publish(9, "0", "a")]).await;
    let mut refused = asking(publish(2, "1", "a"), &[], vec![exclusive("x")]);
    refused.writes.extend(subscribe(2, "a").writes);
    refused.writes.push(Write::Unsubscribe(id(1)));
    let mut waits = Step { root: id(3), command: id(3), ..refused.clone() };
    if let Some(request) = waits.request.as_mut().map(Arc::make_mut) {
        (request.owner, request.waits) = (id(3), true);
    }
    let committed = engine.committed([refused, waits]).await;
    let outcomes = &committed.outcomes;
    assert!(matches!(outcomes[..], [Outcome::Conflict(_), Outcome::Queued { .. }]), "{outcomes:?}");
    assert_eq!(committed.delivered, []);
    assert_eq!(engine.waiting(1).await, [published("0", "a")]);
    assert_eq!(engine.delivered([publish(1, "1", "a")]).await, [to(0, 1)]);
}

/// Ten thousand events for one command come in batches, and are read and handled in parts.
pub async fn ten_thousand_events_for_one_command(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), subscribe(1, "disk|*")]).await;
    for batch in 0..10 {
        let name = |n: u32| (batch * 1000 + n).to_string();
        let events = (0..1000).map(|n| publish(2, &name(n), &format!("disk|{n}")));
        let delivered = engine.delivered(events).await;
        assert!(delivered.into_iter().eq((0..1000).map(|step| to(step, 1))));
    }
    assert_eq!(engine.inbox(id(1), usize::MAX).await.len(), 10_000);
    for part in 0..10 {
        let inbox = engine.inbox(id(1), 1000).await;
        let names = inbox.iter().map(|delivery| delivery.event.event_id.parse::<usize>());
        assert!(names.map(Result::ok).eq((part * 1000..(part + 1) * 1000).map(Some)));
        engine.apply([handled(1, inbox[999].number)]).await;
    }
    assert_eq!(engine.inbox(id(1), 10).await, []);
}

/// Subscriptions and inboxes are there for the next engine, and so is what was heard before.
pub async fn an_inbox_survives_the_engine(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), subscribe(1, "a|*")]).await;
    engine.apply(["1", "2", "3"].map(|name| publish(1, name, "a|b"))).await;
    let inbox = engine.inbox(id(1), 10).await;
    engine.apply([handled(1, inbox[0].number)]).await;
    drop(engine);
    let engine = Engine::start(fixture).await;
    assert_eq!(engine.inbox(id(1), 10).await, inbox[1..]);
    let again = ["4", "3", "2", "1"].map(|name| publish(1, name, "a|c"));
    assert_eq!(engine.delivered(again).await, [to(0, 1)]);
    let after = engine.inbox(id(1), 10).await;
    assert_eq!((&after[..2], &after[2].event), (&inbox[1..], &published("4", "a|c")));
    assert!(after[2].number > inbox[2].number);
    let stored = engine.tree(id(1)).await.expect("it is stored").subscriptions;
    assert_eq!(stored, [subscription(1, "a|*")]);
}
