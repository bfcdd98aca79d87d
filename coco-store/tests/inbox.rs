//! What events and tasks outside cost, and what is damaged among them.

#[path = "support/counted.rs"]
mod counted;
mod support;

use coco_core::Timestamp;
use coco_core::entity::{Published, Subscription, Task};
use coco_core::store::{Delivered, Step, Store, Write};

use self::counted::{Counted, Kind, on_each_database};
use self::support::{Place, apply, id, insert, run, step};

on_each_database!(events_and_tasks_cost_the_same_statements_whatever_their_number);

const AT: Timestamp = Timestamp::from_micros(1);

fn subscribe(n: u128, key: &str) -> Step {
    let (command_id, root_command_id) = (id(n), id(n));
    let row = Subscription { command_id, root_command_id, key: key.into(), created_at: AT };
    step(n, Write::Subscribe(Box::new(row)))
}

fn publish(n: u128, event: &str, key: &str) -> Step {
    let payload = "{}".into();
    let event = Published { event_id: event.into(), key: key.into(), payload, published_at: AT };
    step(n, Write::Publish(Box::new(event)))
}

fn task(n: u128) -> Step {
    let row = Task {
        command_id: id(n),
        root_command_id: id(n),
        position: 0,
        task: "{}".into(),
        created_at: AT,
        kept: false,
        ended_at: None,
        failure: None,
    };
    step(n, Write::Task(Box::new(row)))
}

fn kept(n: u128) -> Step {
    step(n, Write::TaskKept(id(n), 0))
}

fn handled(n: u128) -> Step {
    step(n, Write::Handled(id(n), i64::MAX))
}

fn unsubscribe(n: u128) -> Step {
    step(n, Write::Unsubscribe(id(n)))
}

fn ended(n: u128) -> Step {
    step(n, Write::TaskEnded(id(n), 0, AT, None))
}

async fn events_and_tasks_cost_the_same_statements_whatever_their_number(kind: Kind) {
    for size in [1, 2, 500] {
        let counted = Counted::open(kind).await;
        // The statements, how many hear of it, and how many subscriptions were found.
        let cost = async |steps| {
            let (committed, cost) = counted.commit(steps).await;
            (cost.statements, committed.delivered.len(), cost.rows)
        };
        let roots = 1..=size;
        counted.cost(roots.clone().map(insert).collect()).await;
        let key = |n: u128| format!("host|{n}");
        let each = |make: &dyn Fn(u128) -> Step| roots.clone().map(make).collect::<Vec<_>>();
        let publishes = |name: &'static str| each(&|n| publish(n, &format!("{name} {n}"), &key(n)));
        let all = size as usize;
        let count = all as u64;
        for (statements, heard, found, steps) in [
            (1, 0, 0, each(&|n| subscribe(n, &key(n)))),
            (1, 0, 0, each(&|n| subscribe(n, "host|*"))),
            // Who listens is found, and all of them hear of the first.
            (2, all, count + 1, vec![publish(1, "first", &key(1))]),
            // Which of them were new is read.
            (2 + kind.news(), 0, count + 1, vec![publish(1, "first", &key(1))]),
            (1, 0, 0, each(&|n| publish(n, "for nobody", "disk|1"))),
            (1, 0, 0, each(&handled)),
            (1, 0, 0, each(&task)),
            (1, 0, 0, each(&kept)),
            (1, 0, 0, each(&ended)),
            // Its subscriptions, and what is in its inbox.
            (2, 0, 0, each(&unsubscribe)),
            (1, 0, 0, each(&|n| subscribe(n, &key(n)))),
            (2, all, count, publishes("second")),
        ] {
            let what = format!("{size}: {:?}", steps[0]);
            assert_eq!(cost(steps).await, (statements, heard, found), "{what}");
        }
        let everything = [
            each(&|n| insert(n + 1000)),
            each(&|n| subscribe(n + 1000, &key(n))),
            publishes("third"),
            each(&handled),
            each(&|n| task(n + 1000)),
            each(&|n| kept(n + 1000)),
            each(&|n| ended(n + 1000)),
            each(&unsubscribe),
        ];
        // A task that is kept and over in the batch that stores it is one row.
        let cost = cost(everything.concat()).await;
        assert_eq!(cost, (1 + 1 + 2 + 1 + 1 + 2, 2 * all, 2 * count), "{size}");
    }
}

/// A subscription that somebody has spoiled is not heard by; the others are.
#[tokio::test]
async fn a_subscription_that_is_damaged_is_in_nobodys_way() {
    for sql in [
        "UPDATE event_subscriptions SET command_id = x'07' WHERE substr(command_id, 16) = x'01'",
        "UPDATE event_subscriptions SET command_id = zeroblob(16) \
         WHERE substr(command_id, 16) = x'01'",
        "UPDATE event_subscriptions SET root_command_id = 'nobody' \
         WHERE substr(command_id, 16) = x'01'",
        "UPDATE event_subscriptions SET event_key = x'ff' WHERE substr(command_id, 16) = x'01'",
        "DELETE FROM command_entities WHERE substr(command_id, 16) = x'01'",
    ] {
        let place = Place::new();
        let store = place.open().await;
        let lease = store.acquire().await.unwrap();
        apply(&store, &lease, (1..=3).map(insert).collect()).await;
        apply(&store, &lease, [1, 2].map(|n| subscribe(n, "a")).into()).await;
        let mut stranger = place.stranger().await;
        run(&mut stranger, "PRAGMA foreign_keys = OFF").await;
        run(&mut stranger, sql).await;
        // The rejected one makes the batch go in parts.
        for (steps, at) in
            [(vec![publish(3, "1", "a")], 0), (vec![insert(3), publish(2, "2", "a")], 1)]
        {
            let committed = store.commit(&lease, steps.into()).await.unwrap();
            let delivered = Delivered { step: at, root: id(2), command: id(2) };
            assert_eq!(committed.delivered, [delivered], "{sql}");
        }
        assert_eq!(store.inbox(id(2), 10).await.unwrap().len(), 2, "{sql}");
    }
}
