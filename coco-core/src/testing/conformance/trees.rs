//! Trees are read whole, and the open ones by pages.

use super::Fixture;
use super::sample::{
    Engine, audit, child, compensation, exclusive, id, insert, locked, once, progress, publish,
    register, release, root, sleep, subscribe, task, update, write, write_once, write_task,
};
use crate::entity::CommandEntity;
use crate::status::CommandStatus;
use crate::store::{Step, Store, Write};

fn ended(mut entity: CommandEntity) -> CommandEntity {
    entity.progress = progress(CommandStatus::EndedSuccessfully);
    entity
}

/// Pages follow each other by the identity of the root, without gap and without overlap.
pub async fn open_trees_come_page_by_page(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    // Not in the order of their identities, and so that signed or textual order would differ.
    let roots = [0x0200, 0xff << 120, 0x0100, 1, 0x80 << 120, 0x7f << 120, 0x00ff];
    engine.apply(roots.map(|n| insert(root(n)))).await;
    let mut expected = roots.map(id);
    expected.sort();

    let mut seen = Vec::new();
    loop {
        let page = engine.open_roots(seen.last().copied(), 3).await;
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
        assert!(seen.len() <= expected.len(), "a page repeats: {seen:?}");
    }
    assert_eq!(seen, expected);
    assert_eq!(engine.open_roots(None, 0).await, []);
    assert_eq!(engine.open_roots(Some(id(2)), 1).await, [id(0x00ff)]);
}

/// A root in a terminal status is not open, whether it was inserted so or became so.
pub async fn ended_roots_are_not_open(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine.apply((1..=6).map(|n| insert(root(n)))).await;
    engine
        .apply([
            update(1, progress(CommandStatus::EndedSuccessfully)),
            update(3, progress(CommandStatus::EndedWithFailure)),
            update(4, progress(CommandStatus::Stuck)),
            update(5, progress(CommandStatus::NotStarted)),
            update(6, progress(CommandStatus::Failed)),
            insert(ended(root(7))),
        ])
        .await;
    assert_eq!(engine.open_roots(None, 10).await, [id(2), id(4), id(5), id(6)]);
    assert_eq!(engine.tree(id(7)).await.map(|tree| tree.commands), Some(vec![ended(root(7))]));
}

/// An open tree comes with all of its rows, those of ended children and `once` steps included.
pub async fn open_trees_bring_their_ended_children(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let grandchild = CommandEntity { parent_command_id: Some(id(3)), ..child(1, 4, 0) };
    let commands = vec![root(1), ended(child(1, 2, 0)), child(1, 3, 1), ended(grandchild)];
    engine.apply(commands.iter().cloned().map(insert)).await;
    engine.apply([write_once(once(1, 2)), insert(root(9))]).await;

    let mut trees = engine.store.open_trees(None, None, 10).await.expect("failed to read");
    assert_eq!(trees.len(), 2);
    trees[0].commands.sort_by_key(|entity| entity.command_id);
    assert_eq!(trees[0].commands, commands);
    assert_eq!(trees[0].once_results, [once(1, 2)]);
    assert_eq!(trees[1].commands, [root(9)]);
}

/// An open tree comes with its sleeps and with what undoes it, and with none of its neighbours'.
pub async fn open_trees_bring_sleeps_and_compensations(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    for n in [1, 2, 3] {
        let sleeps = write(n, Write::Sleep(Box::new(sleep(n, 0))));
        engine.apply([insert(root(n)), sleeps, register(compensation(n, 1))]).await;
    }
    engine.apply([update(2, progress(CommandStatus::EndedSuccessfully))]).await;
    let trees = engine.store.open_trees(None, None, 10).await.expect("failed to read");
    assert_eq!(trees.len(), 2);
    for (tree, n) in trees.iter().zip([1, 3]) {
        assert_eq!(tree.sleeps, [sleep(n, 0)]);
        assert_eq!(tree.compensations, [compensation(n, 1)]);
    }
    let ended = engine.tree(id(2)).await.expect("the tree is stored");
    assert_eq!((ended.sleeps.len(), ended.compensations.len()), (1, 1));
}

/// What is not stored is not there, and a child is no root of a tree.
pub async fn absent_trees_and_commands(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    assert_eq!(engine.open_roots(None, 10).await, []);
    engine.apply([insert(root(1)), insert(child(1, 2, 0))]).await;
    assert_eq!(engine.entity(id(3)).await, None);
    assert_eq!(engine.tree(id(3)).await, None);
    assert_eq!(engine.tree(id(2)).await, None);
}

/// A tree has its own rows and none of its neighbours'.
pub async fn trees_keep_apart(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    engine
        .apply([
            insert(root(1)),
            insert(root(2)),
            insert(child(2, 4, 0)),
            insert(child(1, 3, 0)),
            write_once(once(2, 1)),
            write_once(once(1, 1)),
        ])
        .await;
    for n in [1, 2] {
        let tree = engine.tree(id(n)).await.expect("the tree is stored");
        assert_eq!(tree.commands, [root(n), child(n, n + 2, 0)]);
        assert_eq!(tree.once_results, [once(n, 1)]);
    }
}

/// A thousand steps of every kind of write go through in one batch.
pub async fn a_thousand_steps_in_one_batch(fixture: &impl Fixture) {
    let engine = Engine::start(fixture).await;
    let first = (1..=1000).map(|n| locked(n, vec![exclusive(&n.to_string())]));
    engine.apply(first).await;
    let second = (1..=1000).map(|n: u128| -> Step {
        let mut step = update(n, progress(CommandStatus::Succeeded));
        step.writes.push(Write::Insert(Box::new(child(n, n + 10_000, 0))));
        step.writes.push(Write::Once(Box::new(once(n, 1))));
        step.writes.push(Write::Sleep(Box::new(sleep(n, 2))));
        step.writes.push(Write::Register(Box::new(compensation(n, 3))));
        step.writes.push(Write::Audit(Box::new(audit(n, "all at once"))));
        step.writes.extend(release(n).writes);
        let key = n.to_string();
        step.writes.extend(subscribe(n, &key).writes);
        step.writes.extend(publish(n, &key, &key).writes);
        step.writes.extend(write_task(task(n, 4)).writes);
        step
    });
    engine.apply(second).await;
    let trees = engine.store.open_trees(None, None, 1000).await.expect("failed to read");
    assert_eq!(trees.len(), 1000);
    assert!(trees.iter().all(|tree| (tree.commands.len(), tree.once_results.len()) == (2, 1)));
    engine.apply((2001..=3000).map(|n| locked(n, vec![exclusive(&(n - 2000).to_string())]))).await;
}
