//! Text that is not what one expects.

use super::Fixture;
use super::sample::{
    Engine, asks, audit, audited, compensation, exclusive, full_progress, id, insert, locked, once,
    published, register, root, subscribe, subscription, task, write, write_once, write_task,
};
use crate::entity::{Audit, CommandEntity, Compensation, OnceResult, Progress, Published, Task};
use crate::lock::Lock;
use crate::status::CommandStatus;
use crate::store::{Delivered, Outcome, Store, Write};

/// Each must come back to the byte.
const HOSTILE: [&str; 16] = [
    "",
    " ",
    "'; DROP TABLE command_entities; --",
    "\"quoted\" \\ \\\" \\u0041 \\\\u0000",
    "100 % _like_ ?1 :name @a $1 {} {0}",
    "line\nfeed\r\ntab\t",
    "\u{1}\u{7f}\u{85}\u{2028}\u{feff}",
    "e\u{301} \u{e9} ﬁ İ ß",
    "🦀👩‍👩‍👧‍👦🏴‍☠️",
    "\u{10ffff}\u{fffd}\u{fffe}",
    "null",
    "007",
    "1e400",
    "[1,{\"a\":[]}]",
    "0x00112233445566778899aabbccddeeff",
    "ΑΩ العربية 日本語",
];

/// Hostile text in every column that holds text comes back unchanged.
pub async fn hostile_text_comes_back(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for (n, text) in (1..).zip(HOSTILE) {
        let command = CommandEntity {
            command_type: text.into(),
            command_parameters: text.into(),
            submit_key: Some(text.into()),
            retry: Some(text.into()),
            progress: Progress {
                stuck_reason: Some(text.into()),
                cancelled: Some(text.into()),
                state: Some(text.into()),
                return_value: Some(text.into()),
                failure: Some(text.into()),
                ..full_progress()
            },
            ..root(n)
        };
        let result = OnceResult {
            name: text.into(),
            return_value: Some(text.into()),
            failure: Some(text.into()),
            ..once(n, 0)
        };
        let undo = Compensation {
            command_type: text.into(),
            command_parameters: text.into(),
            ..compensation(n, 1)
        };
        let done = Audit { action: text.into(), ..audit(n, text) };
        engine.apply([insert(command.clone()), write_once(result.clone())]).await;
        engine.apply([register(undo.clone()), audited(done.clone())]).await;
        let tree = engine.tree(id(n)).await.expect("the tree is stored");
        assert_eq!((tree.commands, tree.once_results), (vec![command], vec![result]), "{text:?}");
        assert_eq!((tree.compensations, engine.audit(n).await), (vec![undo], vec![done]));
    }
    engine.apply([insert(root(1000))]).await;
}

/// Hostile text in the group and key of a lock is a lock of its own, and is named as it is.
pub async fn hostile_text_locks(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let lock = |text: &'static str| Lock { group: text.into(), ..exclusive(text) };
    engine.apply((1..).zip(HOSTILE).map(|(n, text)| locked(n, vec![lock(text)]))).await;
    engine.apply([insert(root(1000))]).await;
    for (n, text) in (1..).zip(HOSTILE) {
        match &engine.commit([asks(1000, vec![lock(text)])]).await[..] {
            [Outcome::Conflict(conflict)] => {
                assert_eq!(conflict.holder, id(n), "{text:?}");
                assert_eq!((conflict.group.as_str(), conflict.key.as_str()), (text, text));
            }
            other => panic!("{text:?}: expected a conflict, got {other:?}"),
        }
    }
}

/// Hostile text is a submit key of its own, and is taken as it is.
pub async fn hostile_text_as_submit_keys(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let keyed = |n, key: &str| insert(CommandEntity { submit_key: Some(key.into()), ..root(n) });
    engine.apply((1..).zip(HOSTILE).map(|(n, text)| keyed(n, text))).await;
    let again = engine.commit((101..).zip(HOSTILE).map(|(n, text)| keyed(n, text))).await;
    let expected: Vec<_> = (1..).map(id).map(Outcome::Duplicate).take(HOSTILE.len()).collect();
    assert_eq!(again, expected);
}

/// Hostile text in an event, its subscription and a task comes back unchanged, and an event finds
/// its own subscription.
pub async fn hostile_text_in_events(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for (n, text) in (1..).zip(HOSTILE) {
        let task = Task { task: text.into(), failure: Some(text.into()), ..task(n, 0) };
        engine.apply([insert(root(n)), subscribe(n, text), write_task(task.clone())]).await;
        let tree = engine.tree(id(n)).await.expect("the tree is stored");
        assert_eq!((tree.subscriptions, tree.tasks), (vec![subscription(n, text)], vec![task]));
    }
    for (n, text) in (1..).zip(HOSTILE) {
        let event = Published { payload: text.into(), ..published(text, text) };
        let steps = [write(n, Write::Publish(Box::new(event.clone())))];
        let delivered = engine.committed(steps).await.delivered;
        assert_eq!(delivered, [Delivered { step: 0, root: id(n), command: id(n) }], "{text:?}");
        let inbox = engine.store.inbox(id(n), 10).await.expect("failed to read");
        let events: Vec<_> = inbox.into_iter().map(|delivery| delivery.event).collect();
        assert_eq!(events, [event]);
    }
}

/// An event with a NUL is delivered whole, or its step is rejected and the others are heard.
pub async fn a_nul_in_an_event_is_never_cut_off(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), subscribe(2, "a")]).await;
    let with_nul = Published { payload: "before\0after".into(), ..published("1", "a") };
    let sound = published("2", "a");
    let steps = [(1, &with_nul), (2, &sound)]
        .map(|(n, event)| write(n, Write::Publish(Box::new(event.clone()))));
    let committed = engine.committed(steps).await;
    let delivered = |step| Delivered { step, root: id(2), command: id(2) };
    let inbox = engine.store.inbox(id(2), 10).await.expect("failed to read");
    let events: Vec<_> = inbox.into_iter().map(|delivery| delivery.event).collect();
    assert_eq!(committed.outcomes[1], Outcome::Applied);
    match &committed.outcomes[0] {
        Outcome::Applied => {
            assert_eq!(committed.delivered, [delivered(0), delivered(1)]);
            assert_eq!(events, [with_nul, sound]);
        }
        Outcome::Rejected(_) => {
            assert_eq!(committed.delivered, [delivered(1)]);
            assert_eq!(events, [sound]);
        }
        other => panic!("unexpected {other:?}"),
    }
}

/// A mebibyte of parameters goes in and out, several at once.
pub async fn a_mebibyte_of_parameters(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let large =
        |n| CommandEntity { command_parameters: "\"\\é".repeat(1 << 18).into(), ..root(n) };
    engine.apply((1..=4).map(|n| insert(large(n)))).await;
    for n in 1..=4 {
        assert!(engine.entity(id(n)).await == Some(large(n)), "the parameters of {n} changed");
    }
}

/// A text with a NUL is stored whole or rejected, never cut.
pub async fn a_nul_is_never_cut_off(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let with_nul = CommandEntity { command_parameters: "before\0after".into(), ..root(1) };
    let outcomes = engine.commit([insert(with_nul.clone()), insert(root(2))]).await;
    assert_eq!(outcomes[1], Outcome::Applied);
    let stored = engine.entity(id(1)).await;
    match &outcomes[0] {
        Outcome::Applied => assert_eq!(stored, Some(with_nul)),
        Outcome::Rejected(_) => assert_eq!(stored, None),
        other => panic!("unexpected {other:?}"),
    }
}

/// A status that this program does not know is read as such; its tree is open.
pub async fn a_status_of_a_newer_program_is_unknown(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2))]).await;
    if fixture.write_status(id(1), "paused").await {
        let stored = engine.entity(id(1)).await.map(|row| row.progress.status);
        assert_eq!(stored, Some(CommandStatus::Unknown));
        let trees = engine.store.open_trees(None, None, 10).await.expect("failed to read");
        assert_eq!(trees.len(), 2);
    }
}
