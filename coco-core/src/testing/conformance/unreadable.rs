//! Rows in which a column holds what is not of its type.

use super::Fixture;
use super::sample::{
    Engine, audit, audited, child, compensation, id, insert, once, publish, published, register,
    root, sleep, subscribe, task, write, write_once, write_task,
};
use crate::store::{Store, StoreError, Write};

const TABLES: [&str; 6] = [
    "command_entities",
    "once_results",
    "sleeps",
    "compensations",
    "event_subscriptions",
    "external_tasks",
];

/// A row that cannot be read makes its own tree unreadable, and the page that the tree is in goes
/// on with the others.
pub async fn an_unreadable_row_is_its_trees_only(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in 1..=7 {
        let sleeps = write(n, Write::Sleep(Box::new(sleep(n, 1))));
        engine.apply([insert(root(n)), insert(child(n, n + 10, 3))]).await;
        engine.apply([write_once(once(n, 0)), sleeps, register(compensation(n, 2))]).await;
        engine.apply([subscribe(n, "a"), write_task(task(n, 0))]).await;
    }
    let sound = engine.tree(id(7)).await;
    for (n, table) in (1..).zip(TABLES) {
        let command = if table == "command_entities" { id(n + 10) } else { id(n) };
        if !fixture.spoil(table, command).await {
            continue;
        }
        let tree = engine.tree(id(n)).await.expect("the tree is stored");
        let unreadable = tree.unreadable.expect("a row cannot be read");
        assert_eq!((unreadable.root, unreadable.command), (id(n), command), "{table}");
        let names_both =
            unreadable.reason.contains(&command.to_string()) && unreadable.reason.contains(table);
        assert!(names_both, "no row is named: {}", unreadable.reason);

        let trees = engine.store.open_trees(None, None, 10).await.expect("failed to read");
        let read = trees.iter().map(|tree| (tree.root(), tree.unreadable.is_none()));
        let expected = (1..=7).map(|other| (Some(id(other)), other > n));
        assert!(read.eq(expected), "{table}: {trees:?}");
        assert_eq!(engine.open_roots(Some(id(n)), 1).await, [id(n + 1)]);
        assert_eq!(engine.open_roots(None, 2).await, [id(1), id(2)]);
        assert_eq!(engine.tree(id(7)).await, sound);
    }
}

/// What is asked for by its identity and cannot be read is no passing trouble of the store.
pub async fn an_unreadable_row_is_told_as_such(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply([insert(root(1)), insert(root(2)), audited(audit(1, "why"))]).await;
    engine.apply([audited(audit(2, "why"))]).await;
    if fixture.spoil("command_entities", id(1)).await {
        let read = engine.store.entity(id(1)).await;
        assert!(matches!(read, Err(StoreError::Unreadable(_))), "{read:?}");
        assert_eq!(engine.entity(id(2)).await, Some(root(2)));
    }
    if fixture.spoil("audit", id(1)).await {
        let read = engine.store.audit(id(1)).await;
        assert!(matches!(read, Err(StoreError::Unreadable(_))), "{read:?}");
        assert_eq!(engine.audit(2).await, [audit(2, "why")]);
    }
    for n in [1, 2] {
        engine.apply([subscribe(n, "a"), publish(n, "1", "a")]).await;
    }
    if fixture.spoil("event_deliveries", id(1)).await {
        let read = engine.store.inbox(id(1), 1).await;
        assert!(matches!(read, Err(StoreError::Unreadable(_))), "{read:?}");
        let inbox = engine.store.inbox(id(2), 1).await.expect("failed to read");
        assert_eq!(inbox[0].event, published("1", "a"));
    }
}
